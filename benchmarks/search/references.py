"""Where normalised scores are 0 and 1 on each problem.

0 is the uniform strategy. 1 is the true optimum where every strategy was scored; elsewhere the strategy with the
highest live score among those within the budget, as frozen in `references.json` for a release. Its value is what the
problem's own accuracy model says of it, since that is what the scores are made of.

`python -m benchmarks.search.references --runs runs/benchmark` makes the file: the best strategies of the runs are
scored live beside the task's measured ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from agents.statistics import LEAST_GAP
from benchmarks.fidelity.refit import live_scores
from benchmarks.fidelity.stated import stated
from benchmarks.search.suites import PROBLEMS, BenchmarkProblem
from benchmarks.search.versions import build
from compress_gym.kinds import get_case
from compress_gym.problem import Problem
from compress_gym.problem.scores import MeasuredAccuracy
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.cards import provenance, read_card, read_json, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.errors import AssetError

FILE = Path(__file__).parent / "references.json"
# So many strategies that the runs found are scored live.
SCORED = 20


@dataclass(frozen=True)
class Reference:
    """The two ends of a problem's scale.

    Attributes:
        uniform: Accuracy of the uniform strategy, fraction of 1.
        best: Accuracy of the best strategy known.
        kind: `true optimum` or `best live-scored`.
        signal: Where the problem's accuracies come from, and their stated error.
        live: What that strategy scored live, where the problem's accuracy is predicted.
    """

    uniform: float
    best: float
    kind: str
    signal: str = "measured"
    live: float | None = None

    @property
    def normalises(self) -> bool:
        """Whether the two are far enough apart to divide by."""
        return self.best - self.uniform >= LEAST_GAP


def reference(problem: BenchmarkProblem) -> Reference:
    """Returns a problem's reference.

    Raises:
        AssetError: It is neither enumerated nor in `references.json`, or was frozen for other assets.
    """
    built = build(problem)
    uniform = float(built.accuracy(built.uniform())[0])
    if isinstance(built.accuracy_model, MeasuredAccuracy):
        return Reference(uniform, float(built.accuracy(built.optimum())[0]), "true optimum")
    frozen = read_json(FILE)["problems"].get(problem.name)
    if frozen is None or any(frozen.get(key) != value for key, value in _made_for(problem).items()):
        raise AssetError(
            f"{FILE}: has no reference for {problem.name} at {problem.budget} with these assets and this device; "
            "make it with: python -m benchmarks.search.references --runs RUNS"
        )
    best = built.decisions.encode(frozen["strategy"])
    predicted = float(built.accuracy(best)[0])
    return Reference(uniform, predicted, "best live-scored", _signal(problem), frozen["live_accuracy"])


def _made_for(problem: BenchmarkProblem) -> dict[str, object]:
    """Returns what a frozen reference depends on."""
    origin = build(problem).origin
    return {"asset_hash": origin["asset_hash"], "device_hash": origin["device_hash"], "budget": problem.budget}


def _signal(problem: BenchmarkProblem) -> str:
    case = get_case(problem.env, problem.task)
    of = "" if case.kind.metric == ACCURACY_COLUMN else f"{case.kind.metric} by a "
    return f"{of}surrogate; {stated(read_card(case.asset('surrogate')))}"


def freeze(problem: BenchmarkProblem, runs: Path, work: Path, workers: int) -> dict[str, object]:
    """Finds the strategy with the highest live score of a problem that is not enumerated.

    Args:
        problem: The problem.
        runs: Folder of the benchmark's runs.
        work: Folder for live scores.
        workers: Processes that score.

    Raises:
        ValueError: There are no runs of the problem.
    """
    built, found = build(problem), best_found(build(problem), runs / problem.name)
    if not len(found):
        raise ValueError(f"--runs {runs} holds no run of {problem.name} that found a strategy within the budget")
    case = get_case(problem.env, problem.task)
    measured, identity = case.strategies(), hashlib.sha256(found.tobytes()).hexdigest()[:8]
    rows, live = measured.strategies[measured.scored()], measured.accuracy[measured.scored()]
    live_of_found = live_scores(case, found, work / f"{problem.env}-{problem.task}-{identity}", workers).accuracy
    fitting = built.costs(rows)[built.cost] <= built.cost_limit
    rows, live = np.concatenate([rows[fitting], found]), np.concatenate([live[fitting], live_of_found])
    best = int(np.argmax(live))
    return {
        **_made_for(problem),
        "live_accuracy": float(live[best]),
        "found_by": "the broad sample" if best < int(fitting.sum()) else "the benchmark's runs",
        "scored_live": len(live),
        "strategy": built.describe(rows[best]),
    }


def best_found(problem: Problem, folder: Path) -> NDArray[np.int64]:
    """Returns the `SCORED` best distinct strategies within the budget of a problem's runs `[N, T]`, best first."""
    found: dict[tuple[int, ...], float] = {}
    for path in sorted(folder.glob("*/seed-*/best_strategy.json")):
        best = read_json(path)
        strategy: Mapping[str, int] = best["strategy"]
        row = problem.decisions.encode(strategy)
        # Runs of an earlier budget or device may lie there.
        if problem.costs(row)[problem.cost][0] <= problem.cost_limit:
            found[tuple(row.tolist())] = best["accuracy"]
    rows = sorted(found, key=lambda row: -found[row])[:SCORED]
    return np.array(rows, dtype=np.int64).reshape(-1, len(problem.decisions))


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/benchmark"), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/references"), show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
def main(runs: Path, work: Path, workers: int) -> None:
    """Freezes the references of problems that are not enumerated."""
    problems = [p for p in PROBLEMS if not isinstance(build(p).accuracy_model, MeasuredAccuracy)]
    frozen = {problem.name: freeze(problem, runs, work, workers) for problem in problems}
    data = {"problems": frozen, **provenance("python -m benchmarks.search.references --runs RUNS", ["numpy", "torch"])}
    text = json.dumps(data, indent=1) + "\n"
    write_atomically(FILE, lambda p: p.write_text(text))
    click.echo(json.dumps({p.name: asdict(reference(p)) for p in problems}, indent=1))


if __name__ == "__main__":
    run_command(main, "benchmarks.search.references")
