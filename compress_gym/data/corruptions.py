"""Images made harder, for robustness: pruned networks lose it first. After Hendrycks and Dietterich (2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compress_gym.data.dataset import Split
from compress_gym.support.errors import unknown_name

# Of the range of pixel values (0 to 255); in pixels.
NOISE = 0.06
BLUR = 0.8


def gaussian_noise(split: Split) -> Split:
    """Adds normal noise to every pixel value; its seed is fixed."""
    noise = np.random.default_rng(0).normal(0.0, NOISE * 255, size=split.pixels.shape).astype(np.float32)
    return _bytes(split, split.pixels.astype(np.float32) + noise)


def gaussian_blur(split: Split) -> Split:
    """Blurs every image by a Gaussian kernel."""
    from scipy.ndimage import gaussian_filter

    return _bytes(split, gaussian_filter(split.pixels.astype(np.float32), sigma=(0, 0, BLUR, BLUR), mode="nearest"))


def _bytes(split: Split, pixels: np.ndarray) -> Split:
    return replace(split, pixels=np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


CORRUPTIONS: dict[str, Callable[[Split], Split]] = {"noise": gaussian_noise, "blur": gaussian_blur}


def corrupted(split: Split, name: str) -> Split:
    """Returns the corrupted images of a split that holds bytes.

    Raises:
        KeyError: The corruption is not known.
        ValueError: The images are not stored as bytes.
    """
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS)
    if split.pixels.dtype != np.uint8:
        raise ValueError(f"corruption={name!r} needs images of bytes; these are {split.pixels.dtype}")
    return CORRUPTIONS[name](split)
