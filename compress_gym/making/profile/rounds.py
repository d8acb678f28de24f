"""The profiler's loop: everything is visited in rounds, in random order, so that drift of the machine hits all alike.

A round that is finished is on disk: killed at any moment, the profile goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from compress_gym.support.resume import load_arrays, save_array

# Measures one thing once and returns its samples, of the same shape each time.
Visit = Callable[[], NDArray[np.float64]]


def missing_rounds(work: Path, rounds: int) -> int:
    """Returns how many rounds are still to be measured."""
    return sum(not _round(work, number).exists() for number in range(rounds))


def measure(visits: Sequence[Visit], rounds: int, seed: int, work: Path, told: str = "measuring") -> None:
    """Visits everything once a round, in random order, and writes the round's samples."""
    with Progress() as progress:
        bar = progress.add_task(told, total=rounds * len(visits))
        for number in range(rounds):
            if _round(work, number).exists():
                progress.advance(bar, len(visits))
                continue
            samples: dict[int, NDArray[np.float64]] = {}
            for i in np.random.default_rng([seed, number]).permutation(len(visits)).tolist():
                samples[i] = visits[i]()
                progress.advance(bar)
            save_array(_round(work, number), np.stack([samples[i] for i in range(len(visits))]))


def measured(work: Path, rounds: int, axis: int) -> NDArray[np.float64]:
    """Returns the samples of all rounds, joined along an axis."""
    return load_arrays([_round(work, number) for number in range(rounds)], axis=axis)


def _round(work: Path, number: int) -> Path:
    return work / f"round-{number:02d}.npy"
