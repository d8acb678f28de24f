"""Timing on machines that others share: of many visits, spread over minutes, the fastest call is kept.

A shared machine changes its speed by tens of percent within seconds, and a session that is opened anew lies elsewhere
in memory. Both only ever slow a call down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compress_gym.support.statistics import kendall_tau

# Runs something once.
Timed: TypeAlias = Callable[[], object]
WARMUP = 3


def sample_us(run: Timed, repetitions: int) -> NDArray[np.float64]:
    """Times single calls, after a warm-up.

    Returns:
        Microseconds of each call, float64 `[repetitions]`.
    """
    for _ in range(WARMUP):
        run()
    times = np.empty(repetitions)
    for i in range(repetitions):
        start = time.perf_counter_ns()
        run()
        times[i] = (time.perf_counter_ns() - start) / 1000
    return times


def agreement(visits: NDArray[np.float64]) -> dict[str, Any]:
    """States how well two measurements of the same things agree: the fastest of every second visit each.

    Args:
        visits: Fastest call of each visit in microseconds, float64 `[N, visits]`.
    """
    first, second = (visits[:, start::2].min(axis=1) for start in (0, 1))
    ratio = first / second
    return {
        "kendall_tau": round(kendall_tau(first, second), 4),
        "median_absolute_difference": round(float(np.median(np.abs(ratio / np.median(ratio) - 1))), 4),
    }
