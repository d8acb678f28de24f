"""Rounds of refitting: what searches find by maximising the surrogate is scored live and added to its rows."""

from __future__ import annotations

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
from compress_gym.costs.terms import CostTerms
from compress_gym.decisions import BitValues, DecisionSpace
from compress_gym.devices import load_device
from compress_gym.problem import Problem
from compress_gym.tasks import DEFAULT_BITS_DEVICE, Task

# The refits see these; the held-out check uses others (see __main__).
METHODS = ("random", "hill-climb", "evolution")
BUDGETS = (0.3, 0.5, 0.7)
SEEDS = range(10)
BEST = 2
LATENCY = "latency_ms"
# Its bits are few (2, 4 and 8), so that samples of all bits hardly tell of its strategies.
OTHER_BITS_DEVICE = "bitfusion"


def surrogate_problems(task: Task, env: str, surrogate: SurrogateAccuracy, budget: float) -> dict[str, Problem]:
    """Builds the problems of the highest predicted accuracy within a budget, one for each cost that is searched.

    They are the cost over whose range strategies were sampled; since other shapes fit it, the latency that the
    environment bounds by default, where the task has a device and something fits the budget; and, where bits are
    chosen, the latency of another accelerator. What is cheapest there costs much, so a budget of it is the share of
    the way from the cheapest strategy to the uncompressed network.

    Returns:
        The problems, by the names of the gaps that are found within them, of `benchmarks.fidelity.report.GAPS`.
    """
    decisions, network = task.decisions(env), task.network()
    terms, sampled = searched_cost(task, env)
    default = task.device if env == "ChannelPrune" else DEFAULT_BITS_DEVICE

    def problem(decisions: DecisionSpace, terms: CostTerms, cost: str, budget: float, device: str | None) -> Problem:
        model = surrogate if decisions == task.decisions(env) else surrogate.restricted(decisions)
        origin = {} if device is None else {"device": device}
        return Problem(decisions, terms, model, origin=origin, cost=cost, budget=budget, reward="accuracy")

    problems = {"exploitation": problem(decisions, terms, sampled, budget, default if sampled == LATENCY else None)}
    if default is not None and sampled != LATENCY:
        whole = problem(decisions, network_cost_terms(network, decisions, load_device(default)), LATENCY, 1.0, default)
        if _cheapest(whole) <= budget:
            problems["exploitation_latency_ms"] = whole.replace(budget=budget)
    if env != "ChannelPrune":
        hardware = load_device(OTHER_BITS_DEVICE)
        assert hardware.bit_values is not None
        few = task.decisions(env, BitValues(tuple(b for b in hardware.bit_values.values if b in task.bits)))
        whole = problem(few, network_cost_terms(network, few, hardware), LATENCY, 1.0, OTHER_BITS_DEVICE)
        least = _cheapest(whole)
        problems["exploitation_other_device"] = whole.replace(budget=least + budget * (1 - least))
    return problems


def found_within(task: Task, env: str, problem: Problem, method: str, seeds: range, best: int = 1) -> NDArray[np.int64]:
    """Returns the best strategies that a search's runs find for a problem, as the task encodes them, int64 `[N, T]`."""
    decisions = task.decisions(env)
    found = found_by_search(problem, method, seeds, best)
    return np.array([decisions.encode(problem.describe(row)) for row in found], dtype=np.int64)


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
        found_within(task, env, problem, method, SEEDS, BEST)
        for method in METHODS
        for budget in BUDGETS
        for problem in surrogate_problems(task, env, surrogate, budget).values()
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


def _cheapest(whole: Problem) -> float:
    return float(whole.costs(whole.reference)[whole.cost][0]) / whole.baseline_costs[whole.cost]
