"""scikit-learn's `load_digits`: 1,797 real handwritten digits (UCI, Alpaydin and Kaynak), upsampled to 16x16.

Shuffled once with a fixed seed: 400 images are test, 400 validation, 997 train.
"""

from __future__ import annotations

import numpy as np

from compress_gym.data.dataset import Dataset, Split
from compress_gym.support.errors import needing

TEST = 400
VALIDATION = 400
_SHUFFLE_SEED = 0


def load() -> Dataset:
    """Reads the data set from the installed scikit-learn; nothing is downloaded."""
    with needing("scikit-learn", "live", "the data set 'digits'"):
        from sklearn.datasets import load_digits
    raw = load_digits()
    pixels = (raw.images / 16.0).astype(np.float32)
    images = pixels.repeat(2, axis=1).repeat(2, axis=2)[:, None]
    labels = raw.target.astype(np.int64)
    order = np.random.RandomState(_SHUFFLE_SEED).permutation(len(labels))
    images, labels = images[order], labels[order]
    train = slice(TEST + VALIDATION, None)
    mean, std = images[train].mean(), images[train].std()
    images = (images - mean) / std
    splits = [slice(0, TEST), slice(TEST, TEST + VALIDATION), train]
    test, validation, training = (Split(np.ascontiguousarray(images[s]), labels[s]) for s in splits)
    return Dataset("digits", training, validation, test)
