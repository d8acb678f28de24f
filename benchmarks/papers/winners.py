"""Winners of searches, one a seed, and their live scores: what the comparisons of HAQ, Galen and APQ share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from agents.hyperparams import read_hyperparameters
from agents.learners import ALGORITHMS, build, train
from agents.runs import Run, run_config
from agents.search import METHODS, search
from compress_gym.envs.compression import CompressionEnv
from compress_gym.kinds import Case
from compress_gym.problem import Problem
from compress_gym.problem.budgets import TOLERANCE
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores import MeasuredAccuracy
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.errors import unknown_name
from compress_gym.support.workers import results_of

SPLITS = ("validation", "test")


def within(problem: Problem, budget: float) -> Problem | None:
    """Returns the same problem within another budget; `None` where no strategy keeps it."""
    cheapest = float(problem.costs(problem.cheapest)[problem.cost][0])
    allowed = budget * problem.baseline_costs[problem.cost] * (1 + TOLERANCE)
    return problem.replace(budget=budget) if cheapest <= allowed else None


def require_fast(case: Case, problem: Problem) -> None:
    """Refuses a problem whose accuracies would be scored live: searches ask for hundreds of thousands.

    Raises:
        ValueError: They would be.
    """
    if problem.accuracy_model.source == "live":
        task, env = case.task.name, case.kind.name
        raise ValueError(
            f"--task {task}: accuracies of {env} on device={problem.origin['device']!r} are neither measured nor "
            f"predicted; first: compress-gym collect {task} --env {env} --out {case.task.folder}, then "
            f"python -m benchmarks.fidelity {task} --env {env}"
        )


def require_methods(methods: Sequence[str]) -> None:
    """Makes sure, before anything is searched, that methods are known and that none is asked for twice.

    Raises:
        KeyError: Unknown method.
        ValueError: A method stands there twice.
    """
    for method in methods:
        if method not in (*METHODS, *ALGORITHMS):
            raise unknown_name("method", method, (*METHODS, *ALGORITHMS))
    if len(set(methods)) < len(methods):
        raise ValueError(f"--method {list(methods)} names one twice; name each once")


def asked(methods: Sequence[str], evaluations: int, longer: int) -> list[tuple[str, int]]:
    """Returns methods with what each search may ask.

    Args:
        methods: Learners and searches.
        evaluations: What each may ask.
        longer: What searches without learning, whose evaluations cost least, may ask as well: with the same seeds, so
            that they begin alike and go on; 0: they do not.

    Raises:
        KeyError: Unknown method.
        ValueError: A method stands there twice, `longer` is not more than `evaluations`, or nothing searches longer.
    """
    require_methods(methods)
    if 0 < longer <= evaluations:
        raise ValueError(f"--longer {longer} must be more than --evaluations {evaluations}")
    more = [(m, longer) for m in methods if m in METHODS] if longer else []
    if longer and not more:
        raise ValueError(f"--longer {longer} is for searches without learning, and --method {list(methods)} has none")
    return [*((m, evaluations) for m in methods), *more]


def name_of(method: str, evaluations: int) -> str:
    """Writes a method and what it may ask."""
    return f"{method} ({evaluations:,})"


def held(case: Case, problem: Problem, values: Mapping[str, int | str]) -> Problem | None:
    """Returns the same problem with some decisions made: they keep one value, and the budget is the same cost.

    Args:
        case: What the problem was made of.
        problem: The problem.
        values: Decision name to the value that it keeps.

    Returns:
        The problem; `None` where no strategy that is left keeps the budget.
    """
    chosen = [
        replace(d, values=(values[d.name],), reference=None) if d.name in values else d
        for d in problem.decisions.decisions
    ]
    decisions, model = DecisionSpace(tuple(chosen)), problem.accuracy_model
    if isinstance(model, (MeasuredAccuracy, SurrogateAccuracy)):
        model = model.restricted(decisions)
    else:
        model = case.scorer(decisions, threads=None)
    whole = float(problem.costs(problem.decisions.encode(_uncompressed(decisions)))[problem.cost][0])
    rest = case.assembled(
        decisions,
        model,
        problem.origin["device"],
        problem.origin,
        cost=problem.cost,
        budget=1.0,
        budget_rule=problem.budget_rule,
        reward=problem.reward,
    )
    return within(rest, min(1.0, problem.budget * problem.baseline_costs[problem.cost] / whole))


def searches_folder(work: Path, case: Case, evaluations: int) -> Path:
    """Returns the folder of what was searched with the accuracies that the case has now, and with this allowance."""
    return work / case.asset_hash() / str(evaluations)


def told_by(facts: Mapping[str, Any]) -> list[str]:
    """Returns lines that say so where searches were made before reports held the digest of their accuracies."""
    return [] if "asset_hash" in facts else ["", "Searches were told by an earlier surrogate, not by the shipped one."]


def winner(problem: Problem, method: str, evaluations: int, seed: int, env_id: str, path: Path) -> dict[str, Any]:
    """Searches for the best strategy within the budget; a finished search is read from its file.

    Args:
        problem: What is searched.
        method: A name of `agents.search.METHODS` or of `agents.learners.ALGORITHMS`.
        evaluations: The allowance.
        seed: Of everything random.
        env_id: Whose hyper-parameters a learner has, for instance `MixedQuant-v0`.
        path: A JSON file.

    Returns:
        The strategy, the accuracy that the search saw, all costs, and evaluations and seconds that were used.

    Raises:
        KeyError: Unknown method.
    """
    if path.exists():
        return read_json(path)
    require_methods([method])
    started = time.perf_counter()
    if method in METHODS:
        scored = list(search(problem, method, evaluations, seed))
    else:
        env = CompressionEnv(problem)
        model = build(method, env, read_hyperparameters(method, env_id), seed)
        config = run_config("learner", method, env_id, {}, env, seed, evaluations)
        with Run(path.parent / f"{path.stem}-run-{int(time.time())}", config) as run:
            train(model, run, evaluations)
        scored = run.scored
    best = max((s for s in scored if s.feasible), key=lambda s: s.reward)
    found = {
        "strategy": dict(best.strategy),
        "accuracy": best.accuracy,
        "costs": dict(best.costs),
        "evaluations": len(scored),
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_atomically(path, lambda p: p.write_text(json.dumps(found, indent=1) + "\n"))
    return found


def winners(
    problem: Problem,
    method: str,
    evaluations: int,
    env_id: str,
    files: Sequence[Path],
    told: str,
    workers: int,
) -> list[dict[str, Any]]:
    """Returns the winner of each seed, from 0 on; see `winner`.

    Args:
        problem: What is searched.
        method: A search or a learner.
        evaluations: The allowance of each.
        env_id: Whose hyper-parameters a learner has.
        files: A JSON file each.
        told: What the progress bar says.
        workers: Processes.
    """
    jobs = [(problem, method, evaluations, seed, env_id, path) for seed, path in enumerate(files)]
    return in_order(winner, jobs, told, workers)


def in_order(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], told: str, workers: int) -> list[Any]:
    """Returns the results of jobs, in their order, however many workers there are."""
    found = dict(track(results_of(function, jobs, min(workers, len(jobs))), told, len(jobs)))
    return [found[number] for number in range(len(jobs))]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns mean and standard deviation over seeds of accuracies, as fractions of 1."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def epochs(count: int) -> str:
    """Writes a number of epochs."""
    return "1 epoch" if count == 1 else f"{count} epochs"


def points(values: Mapping[str, float]) -> str:
    """Writes a mean and its standard deviation in points (percent)."""
    return f"{100 * values['mean']:.2f} ± {100 * values['std']:.2f}"


def exceeds(mean: Mapping[str, float], other: Mapping[str, float]) -> dict[str, Any]:
    """Returns by how much one mean is above another, and whether that is more than the larger of their spreads."""
    difference, wide = mean["mean"] - other["mean"], max(mean["std"], other["std"])
    return {"difference": difference, "more_than_the_spread": bool(difference > wide)}


def verdict(stated: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes two cells: differences in points on validation and test images, and whether spreads are exceeded."""
    both = [stated[split] for split in SPLITS]
    gained = " / ".join(f"{100 * s['difference']:+.2f}" for s in both)
    return f"{gained} | {' / '.join('yes' if s['more_than_the_spread'] else 'no' for s in both)}"


def draw(series: Mapping[str, Sequence[tuple[float, float, float]]], x: str, title: str, path: Path) -> None:
    """Draws accuracies over budgets.

    Args:
        series: Name to points: budget, mean and standard deviation of accuracies, fractions of 1.
        x: What the budget is a share of.
        title: Above the picture.
        path: The PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for name, given in ((name, given) for name, given in series.items() if given):
        budgets, means, stds = np.array(sorted(given)).T
        axes.errorbar(budgets, 100 * means, 100 * stds, marker="o", capsize=3, label=name)
    axes.set(xlabel=x, ylabel="accuracy on test images, %", title=title)
    axes.legend()
    write_atomically(path, lambda p: figure.savefig(p, dpi=110, format="png"))
    plt.close(figure)


def _uncompressed(decisions: DecisionSpace) -> dict[str, Any]:
    return decisions.describe(decisions.uncompressed)
