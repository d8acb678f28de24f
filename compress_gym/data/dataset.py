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
        pixels: `[N, channels, height, width]`, as stored: bytes, or floats that are normalised already.
        labels: int64 `[N]`.
        mean: float32 `[channels]`, of the training pixels; `None` where pixels are normalised already.
        std: float32 `[channels]`, of the training pixels.
    """

    pixels: NDArray[np.generic]
    labels: NDArray[np.int64]
    mean: NDArray[np.float32] | None = None
    std: NDArray[np.float32] | None = None

    @property
    def images(self) -> NDArray[np.float32]:
        """The normalised images, float32 `[N, channels, height, width]`, made anew at each call."""
        return self.normalised(self.pixels)

    def normalised(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Normalises pixels as this split's are."""
        if self.mean is None or self.std is None:
            return pixels.astype(np.float32, copy=False)
        images = pixels.astype(np.float32)
        images -= self.mean[:, None, None]
        images /= self.std[:, None, None]
        return images

    def take(self, count: int) -> Split:
        """Returns the first `count` images."""
        return self.part(slice(count))

    def part(self, chosen: slice | NDArray[np.int64]) -> Split:
        """Returns some of the images."""
        return Split(self.pixels[chosen], self.labels[chosen], self.mean, self.std)

    def digest(self) -> str:
        """Returns the SHA-256 of pixels and labels, 16 hex digits."""
        sha = hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes())
        sha.update(np.ascontiguousarray(self.labels).tobytes())
        return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """A data set. Test images are for reporting alone: nothing may be chosen by them."""

    name: str
    train: Split
    validation: Split
    test: Split
