"""Compares the native vector environment with Gymnasium's loop over scalar ones, bit for bit."""

from __future__ import annotations

import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from compress_gym import CompressionEnv


def assert_equal(native, looped, seed, steps):
    """Steps both side by side with the same seeds and actions."""
    native.action_space.seed(seed)
    first, second = native.reset(seed=seed), looped.reset(seed=seed)
    assert data_equivalence(plain(first), plain(second), exact=True)
    for step in range(steps):
        actions = native.action_space.sample()
        first, second = native.step(actions), looped.step(actions)
        assert data_equivalence(plain(first), plain(second), exact=True), step


def plain(result):
    """Object arrays of arrays and infos in one order, so that they can be compared."""
    if isinstance(result, dict):
        return {key: plain(result[key]) for key in sorted(result)}
    if isinstance(result, tuple):
        return tuple(map(plain, result))
    if isinstance(result, np.ndarray) and result.dtype == object:
        return tuple(result.tolist())
    return result


def looped(problem, count, mode=AutoresetMode.NEXT_STEP, **settings):
    return SyncVectorEnv([lambda: CompressionEnv(problem, **settings)] * count, autoreset_mode=mode)
