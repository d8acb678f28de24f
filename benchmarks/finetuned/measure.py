"""Fine-tunes random strategies and scores them before and after, in pieces on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.kinds import Case
from compress_gym.live.scorer import ImageScorer
from compress_gym.making.scoring import identity
from compress_gym.support.cards import write_arrays
from compress_gym.support.processor import torch_device_name
from compress_gym.support.resume import claim
from compress_gym.support.workers import results_of

# A strategy counts as being at the budget within this fraction of it.
TOLERANCE = 0.05
# The cheap recoveries, and the fine-tuned network.
PARTS = ("before", "after")
# A process's own.
_scorers: list[ImageScorer] = []


@dataclass(frozen=True)
class FinetuningPlan:
    """What is measured.

    Attributes:
        strategies: How many random strategies.
        epochs: Epochs of fine-tuning.
        budget: The fraction of the MACs that they have, to within a twentieth.
        seed: Of the strategies.
    """

    strategies: int = 60
    epochs: int = 2
    budget: float = 0.5
    seed: int = 0


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        correct: Correct images of even and of odd number, int64 `[strategies, conditions, 2]`.
        scored_on: Processors that scored the networks before fine-tuning.
        fine_tuned_on: Devices that fine-tuned them.
    """

    correct: NDArray[np.int64]
    scored_on: tuple[str, ...]
    fine_tuned_on: tuple[str, ...]


def conditions_of(case: Case, plan: FinetuningPlan) -> tuple[str, ...]:
    """Returns the names of what is scored: the task's recoveries, then the fine-tuned network."""
    return (*case.task.declared.recoveries, f"adaptive-bn+finetune-{plan.epochs}")


def random_strategies(case: Case, plan: FinetuningPlan) -> NDArray[np.int64]:
    """Draws independent uniform choices and keeps those at the budget, int64 `[strategies, T]`."""
    decisions, terms = case.decisions(), case.cost_terms()
    rng, kept = np.random.default_rng(plan.seed), np.empty((0, len(decisions)), dtype=np.int64)
    whole = terms.evaluate(decisions.uncompressed[None])[0, terms.column("macs")]
    while len(kept) < plan.strategies:
        rows = rng.integers(decisions.sizes, size=(10_000, len(decisions)))
        ratio = terms.evaluate(rows)[:, terms.column("macs")] / whole
        kept = np.concatenate([kept, rows[np.abs(ratio / plan.budget - 1) <= TOLERANCE]])
    return kept[: plan.strategies]


def measure(
    case: Case, plan: FinetuningPlan, folder: Path, workers: int, device: str = "cpu", only: str | None = None
) -> Measured | None:
    """Scores every strategy under every condition; what is on disk is not measured again.

    Args:
        case: The task, pruned.
        plan: What is measured.
        folder: Where each finished piece lies.
        workers: Processes, one thread each.
        device: Where networks are fine-tuned, `cpu` or `cuda`; everything else runs on the processor.
        only: `before` or `after` fine-tuning; `None`: both. The two can be measured on different machines.

    Returns:
        What was measured; `None` while pieces are missing.
    """
    rows, conditions = random_strategies(case, plan), list(conditions_of(case, plan))
    claim(folder, {**asdict(plan), "conditions": conditions, **identity(case, case.scorer())})
    parts = [part for part in PARTS if only in (None, part)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        for part in parts:
            missing = [n for n in range(len(rows)) if not _piece(folder, n, part).exists()]
            bar = progress.add_task(f"{part} fine-tuning", total=len(rows), completed=len(rows) - len(missing))
            jobs = [(rows[n],) for n in missing]
            for job, correct in results_of(_count, jobs, workers, _prepare, (case, plan, part, device)):
                hardware = torch_device_name(device if part == "after" else "cpu")
                write_arrays(_piece(folder, missing[job], part), correct=correct, hardware=np.array(hardware))
                progress.advance(bar)
    if not all(_piece(folder, n, part).exists() for n in range(len(rows)) for part in PARTS):
        return None
    read = {part: [_read(_piece(folder, n, part)) for n in range(len(rows))] for part in PARTS}
    counts = np.array([np.concatenate([read[part][n][0] for part in PARTS]) for n in range(len(rows))])
    return Measured(counts, *(tuple(sorted({name for _, name in read[part]})) for part in PARTS))


def _piece(folder: Path, number: int, part: str) -> Path:
    return folder / f"{number:04d}-{part}.npz"


def _read(path: Path) -> tuple[NDArray[np.int64], str]:
    with np.load(path, allow_pickle=False) as file:
        return file["correct"], str(file["hardware"])


def _prepare(case: Case, plan: FinetuningPlan, part: str, device: str) -> None:
    images, conditions = len(case.task.split("validation").labels), conditions_of(case, plan)
    chosen = conditions[-1:] if part == "after" else conditions[:-1]
    _scorers[:] = [case.scorer(recovery=name, images=images, device=device) for name in chosen]


def _count(row: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([scorer.measure(row, ())["correct"] for scorer in _scorers])
