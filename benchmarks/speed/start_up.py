"""How long a first episode takes in a new process, before any kernel is compiled and after."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from compress_gym.kinds import KINDS
from compress_gym.kinds.shared.registry import NAMESPACE

REPETITIONS = 5
HERE = Path(__file__).parents[2]
_EPISODE = """
import gymnasium as gym, compress_gym
env = gym.make({name!r})
env.reset(seed=0)
terminated = False
while not terminated:
    *_, terminated, _, _ = env.step(env.action_space.sample())
"""


def first_episode(name: str, cache: Path, checkout: Path = HERE) -> tuple[float, float]:
    """Runs a first episode in a process of its own, and returns what all of it took.

    Args:
        name: The environment's id.
        cache: Where compiled kernels lie.
        checkout: The state of the repository that is run.

    Returns:
        Seconds by the clock, and of a processor.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(checkout)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", _EPISODE.format(name=name)]
    subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True)
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(before: Path | None = None, repetitions: int = REPETITIONS) -> list[dict[str, Any]]:
    """Times first episodes of every id, in turns, so that a machine that slows down slows all of them.

    Args:
        before: Another checkout that is compared with this one.
        repetitions: Turns.

    Returns:
        One entry an id and checkout: medians of seconds by the clock and of a processor, with an empty kernel cache and
        with a filled one; and how many times as much processor time a cold start takes as before.
    """
    checkouts = {"before": before.resolve(), "now": HERE} if before is not None else {"now": HERE}
    names = [f"{NAMESPACE}{kind}" for kind in KINDS]
    seconds = np.empty((repetitions, len(names), len(checkouts), 2, 2))
    for turn in track(range(repetitions), description="starting"):
        for n, name in enumerate(names):
            for c, checkout in enumerate(checkouts.values()):
                with tempfile.TemporaryDirectory() as cache:
                    seconds[turn, n, c] = [first_episode(name, Path(cache), checkout) for _ in ("cold", "warm")]
    rows = []
    for n, name in enumerate(names):
        for c, checkout_name in enumerate(checkouts):
            (cold, cold_processor), (warm, warm_processor) = np.median(seconds[:, n, c], axis=0).round(2).tolist()
            row = {"environment": name, "checkout": checkout_name, "cold_seconds": cold, "warm_seconds": warm}
            row |= {"cold_processor_seconds": cold_processor, "warm_processor_seconds": warm_processor}
            ratio = np.median(seconds[:, n, c, 0, 1] / seconds[:, n, 0, 0, 1])
            rows.append({**row, "times_before": round(float(ratio), 2)} if before is not None else row)
    return rows
