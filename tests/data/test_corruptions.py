from __future__ import annotations

import numpy as np
import pytest

from compress_gym.data import Split
from compress_gym.data.corruptions import BLUR, CORRUPTIONS, NOISE, corrupted

RNG = np.random.default_rng(0)
SPLIT = Split(RNG.integers(60, 196, size=(20, 3, 32, 32), dtype=np.uint8), np.zeros(20, dtype=np.int64))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_repeat_and_keep_shape_and_type(name):
    first, second = corrupted(SPLIT, name), corrupted(SPLIT, name)
    assert first.pixels.dtype == np.uint8 and first.pixels.shape == SPLIT.pixels.shape
    assert np.array_equal(first.pixels, second.pixels) and not np.array_equal(first.pixels, SPLIT.pixels)
    assert np.array_equal(first.labels, SPLIT.labels)


def test_noise_has_the_stated_strength():
    difference = corrupted(SPLIT, "noise").pixels.astype(float) - SPLIT.pixels
    assert abs(difference.std() - NOISE * 255) < 0.5 and abs(difference.mean()) < 0.5


def test_blur_is_a_gaussian():
    point = np.zeros((1, 1, 15, 15), dtype=np.uint8)
    point[0, 0, 7, 7] = 255
    blurred = corrupted(Split(point, np.zeros(1, dtype=np.int64)), "blur").pixels[0, 0].astype(float)
    assert abs(blurred[7, 8] / blurred[7, 7] - np.exp(-0.5 / BLUR**2)) < 0.02


def test_bad_input_is_told():
    with pytest.raises(KeyError, match="Did you mean 'noise'"):
        corrupted(SPLIT, "noize")
    floats = Split(SPLIT.pixels.astype(np.float32), SPLIT.labels)
    with pytest.raises(ValueError, match="needs images of bytes"):
        corrupted(floats, "blur")
