"""The type of a search method."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SearchMethod: TypeAlias = Generator[NDArray[np.int64], NDArray[np.float64], None]
