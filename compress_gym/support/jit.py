"""The one place that says how kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What kernels read and write.
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])


def inlined(function: Function) -> Function:
    """Compiles a small kernel into each of its callers: handing over many arrays would take longer than running it."""
    return cast(Function, njit(nogil=True, forceinline=True)(function))


def jit(function: Function) -> Function:
    """Compiles a kernel with numba, cached on disk where some cache folder is writable.

    No `fastmath`: sums keep their order, so the same strategy always costs the same, bit for bit.
    """
    try:
        compiled = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available", no folder can be written
        compiled = njit(nogil=True)(function)
    return cast(Function, compiled)
