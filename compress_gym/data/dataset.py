"""A labelled image data set with three fixed splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Attributes:
        images: float32 `[N, channels, height, width]`, normalised.
        labels: int64 `[N]`.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def take(self, count: int) -> Split:
        """Returns the first `count` images."""
        return Split(self.images[:count], self.labels[:count])

    def digest(self) -> str:
        """Returns the SHA-256 of images and labels, 16 hex digits."""
        sha = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        sha.update(np.ascontiguousarray(self.labels).tobytes())
        return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """A data set. Test images are for reporting alone: nothing may be chosen by them."""

    name: str
    train: Split
    validation: Split
    test: Split
