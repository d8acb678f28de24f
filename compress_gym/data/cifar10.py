"""CIFAR-10 (Krizhevsky 2009) in its official binary format: 60,000 colour images of 32x32 pixels in ten classes.

The first 45,000 training images train, the last 5,000 validate, the 10,000 test images are for reporting alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_gym.data.archives import ARCHIVES, archive_folder
from compress_gym.data.dataset import Dataset, Split

TRAIN = 45_000
_RECORD = 1 + 3 * 32 * 32


def load() -> Dataset:
    """Reads the data set from the data root.

    Raises:
        FileNotFoundError: There is no data root, or the archive is not in it.
        ValueError: A file of the archive is incomplete or altered.
    """
    folder = archive_folder("cifar10")
    names = sorted(name for name in ARCHIVES["cifar10"].files if name.startswith("data_batch"))
    batches = [_read(folder / name) for name in names]
    pixels = np.concatenate([b[0] for b in batches])
    labels = np.concatenate([b[1] for b in batches])
    # Moments from counts of byte values: exact sums, so that every machine normalises alike.
    values = np.arange(256, dtype=np.float64)
    counts = np.stack([np.bincount(pixels[:TRAIN, c].reshape(-1), minlength=256) for c in range(3)])
    total = counts.sum(1)
    mean = counts @ values / total
    std = np.sqrt(counts @ values**2 / total - mean**2)
    moments = mean.astype(np.float32), std.astype(np.float32)
    test = _read(folder / "test_batch.bin")
    return Dataset(
        "cifar10",
        Split(pixels[:TRAIN], labels[:TRAIN], *moments),
        Split(pixels[TRAIN:], labels[TRAIN:], *moments),
        Split(*test, *moments),
    )


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    records = np.fromfile(path, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
