"""Fine-tunes random strategies and scores them before and after, in pieces on disk."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.accuracy.collect import CHEAP_RECOVERIES
from compress_gym.accuracy.live import LiveAccuracy
from compress_gym.accuracy.scoring import identity
from compress_gym.cards import write_arrays
from compress_gym.costs.build import network_cost_terms
from compress_gym.processor import processor_name
from compress_gym.resume import claim, end_with_parent
from compress_gym.tasks import Task

# A strategy counts as being at the budget within this fraction of it.
TOLERANCE = 0.05
_evaluators: list[LiveAccuracy] = []


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        strategies: How many random strategies.
        epochs: Epochs of fine-tuning.
        budget: The fraction of the MACs that they have, to within a twentieth.
        seed: Of the strategies.
        device: Where they are fine-tuned, `cpu` or `cuda`.
    """

    strategies: int = 60
    epochs: int = 2
    budget: float = 0.5
    seed: int = 0
    device: str = "cpu"

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of what is scored: the cheap recoveries, then the fine-tuned network."""
        return (*CHEAP_RECOVERIES, f"adaptive-bn+finetune-{self.epochs}")


def random_strategies(task: Task, plan: Plan) -> NDArray[np.int64]:
    """Draws independent uniform choices and keeps those at the budget, int64 `[strategies, T]`."""
    decisions = task.channel_decisions()
    terms = network_cost_terms(task.network(), decisions)
    rng, kept = np.random.default_rng(plan.seed), np.empty((0, len(decisions)), dtype=np.int64)
    whole = terms.evaluate(decisions.sizes[None] - 1)[0, terms.column("macs")]
    while len(kept) < plan.strategies:
        rows = rng.integers(decisions.sizes, size=(10_000, len(decisions)))
        ratio = terms.evaluate(rows)[:, terms.column("macs")] / whole
        kept = np.concatenate([kept, rows[np.abs(ratio / plan.budget - 1) <= TOLERANCE]])
    return kept[: plan.strategies]


def measure(task: Task, plan: Plan, folder: Path, workers: int) -> NDArray[np.int64]:
    """Scores every strategy under every condition; a finished strategy is on disk and not measured again.

    Returns:
        Correct images of even and of odd number, int64 `[strategies, conditions, 2]`.
    """
    rows = random_strategies(task, plan)
    claim(folder, {**asdict(plan), **identity(task, task.live(images=None))})
    missing = [n for n in range(len(rows)) if not _piece(folder, n).exists()]
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")
    with Progress("fine-tuning", *columns) as progress:
        bar = progress.add_task("", total=len(rows), completed=len(rows) - len(missing))
        with ProcessPoolExecutor(workers, context, _start_worker, (task, plan)) as pool:
            for n, correct in pool.map(_measure_one, [(n, rows[n]) for n in missing]):
                write_arrays(_piece(folder, n), correct=correct, hardware=np.array(processor_name()))
                progress.advance(bar)
    return np.stack([np.load(_piece(folder, n), allow_pickle=False)["correct"] for n in range(len(rows))])


def _piece(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.npz"


def _start_worker(task: Task, plan: Plan) -> None:
    end_with_parent()
    import torch

    torch.set_num_threads(1)
    images = len(task.dataset_splits().validation.labels)
    _evaluators.extend(task.live(recovery=name, images=images, training_device=plan.device) for name in plan.conditions)


def _measure_one(piece: tuple[int, NDArray[np.int64]]) -> tuple[int, NDArray[np.int64]]:
    hits = np.concatenate([evaluator.hits(piece[1]) for evaluator in _evaluators])
    return piece[0], np.stack([hits[:, 0::2].sum(1), hits[:, 1::2].sum(1)], axis=1)
