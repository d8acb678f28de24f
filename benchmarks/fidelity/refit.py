"""Rounds of refitting: what searches find by maximising the surrogate is scored live and added to its rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.exploitation import found_by_search, gap
from compress_gym.accuracy.collect import add_round, searched_cost
from compress_gym.accuracy.fit import fit_surrogate
from compress_gym.accuracy.scoring import Conditions
from compress_gym.accuracy.strategies import MeasuredStrategies
from compress_gym.accuracy.surrogate import SurrogateAccuracy
from compress_gym.costs.build import network_cost_terms
from compress_gym.devices import load_device
from compress_gym.problem import Problem
from compress_gym.tasks import DEFAULT_BITS_DEVICE, Task

# The refits see these; the held-out check uses others (see __main__).
METHODS = ("random", "hill-climb", "evolution")
BUDGETS = (0.3, 0.5, 0.7)
SEEDS = range(10)
BEST = 2


def surrogate_problems(task: Task, env: str, surrogate: SurrogateAccuracy, budget: float) -> list[Problem]:
    """Builds the problems of the highest predicted accuracy within a budget, one for each cost that is searched.

    They are the cost over whose range strategies were sampled and, since other shapes fit it, the latency that the
    environment bounds by default, where the task has a device and something fits the budget.
    """
    terms, sampled = searched_cost(task, env)
    problem = partial(Problem, task.decisions(env), accuracy_model=surrogate, budget=budget, reward="accuracy")
    problems = [problem(cost_terms=terms, cost=sampled)]
    device = task.device if env == "ChannelPrune" else DEFAULT_BITS_DEVICE
    if device is not None and sampled != "latency_ms":
        on_device = network_cost_terms(task.network(), task.decisions(env), load_device(device))
        whole = problem(cost_terms=on_device, cost="latency_ms", budget=1.0)
        cheapest = float(whole.costs(whole.reference)["latency_ms"][0]) / whole.baseline_costs["latency_ms"]
        if cheapest <= budget:
            problems.append(replace(whole, budget=budget))
    return problems


def found_within(
    task: Task, env: str, surrogate: SurrogateAccuracy, budget: float, method: str, seeds: range, best: int = 1
) -> NDArray[np.int64]:
    """Returns the best strategies that a search's runs find within each of the costs, int64 `[N, T]`."""
    problems = surrogate_problems(task, env, surrogate, budget)
    return np.concatenate([found_by_search(problem, method, seeds, best) for problem in problems])


def refit_round(
    task: Task, measured: MeasuredStrategies, conditions: Conditions, folder: Path, workers: int
) -> tuple[MeasuredStrategies, dict[str, Any] | None, tuple[str, ...]]:
    """Fits, searches, scores what was found, and adds it.

    Args:
        task: The task.
        measured: The rows so far.
        conditions: How strategies are scored.
        folder: Holds the round's shards.
        workers: Processes, one thread each.

    Returns:
        The longer table, what the round found out (`None`: nothing that was not measured), and the processors that
        scored it.
    """
    env = conditions.env
    decisions = task.decisions(env)
    baseline = measured.baseline_correct / measured.images
    surrogate = fit_surrogate(decisions, measured.strategies, measured.accuracy, baseline)
    found: list[NDArray[np.int64]] = [
        found_within(task, env, surrogate, budget, method, SEEDS, BEST) for method in METHODS for budget in BUDGETS
    ]
    rows = np.unique(np.concatenate(found), axis=0)
    longer, hardware = add_round(task, measured, rows, conditions, folder, workers)
    new = longer.rounds > measured.rounds.max()
    if not new.any():
        return longer, None, hardware
    facts = {
        "round": int(longer.rounds.max()),
        "strategies_added": int(new.sum()),
        **gap(surrogate(longer.strategies[new]), longer.accuracy[new]),
    }
    return longer, facts, hardware
