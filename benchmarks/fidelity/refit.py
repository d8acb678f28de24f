"""Rounds of refitting: what searches find by maximising the surrogate is scored live and added to its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.exploitation import found_by_search, gap
from compress_gym.devices import load_device
from compress_gym.kinds import Case
from compress_gym.making.collect import add_round
from compress_gym.making.fit import fit_surrogate
from compress_gym.making.fit_case import baseline_of
from compress_gym.making.scoring import score
from compress_gym.problem import Problem
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.decisions import BIT_KINDS
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import read_card
from compress_gym.tasks.conditions import Conditions

# The refits see these; the held-out check uses others (see __main__).
METHODS = ("random", "hill-climb", "evolution")
BUDGETS = (0.3, 0.5, 0.7)
# More of the other accelerator's: HAQ's budgets are at the cheap end, where accuracies fall.
CHEAP_BUDGETS = (0.05, 0.15)
SEEDS = range(10)
BEST = 2
LATENCY = "latency_ms"
# Its bits are few (2, 4 and 8), so that samples of all bits hardly tell of its strategies.
OTHER_BITS_DEVICE = "bitfusion"


def decides_bits(case: Case) -> bool:
    """Returns whether bits are decided, so that another accelerator's latency tells something else."""
    return any(d.kind in BIT_KINDS for d in case.decisions().decisions)


def measured_conditions(case: Case) -> Conditions:
    """Returns how the case's strategies were scored."""
    card = read_card(case.asset("strategies"))
    return Conditions(card.get("recovery"), precision=card.get("precision", "fp32"))


def live_scores(case: Case, rows: NDArray[np.int64], folder: Path, workers: int) -> MeasuredStrategies:
    """Scores strategies live, as those were that the case's surrogate is fitted to; unfinished scores are kept."""
    columns = score(case, rows, measured_conditions(case), folder, workers).columns
    rounds, images = np.zeros(len(rows), dtype=np.int64), case.strategies().images
    return MeasuredStrategies(rows, rounds, columns, columns.get("correct"), images)


def surrogate_problems(case: Case, surrogate: SurrogateAccuracy, budget: float) -> dict[str, Problem]:
    """Builds the problems of the highest predicted accuracy within a budget, one for each cost that is searched.

    They are the cost over whose range strategies were sampled; since other shapes fit it, the latency that the
    environment bounds by default, where the task has a device and something fits the budget; and, where bits are
    chosen, the latency of another accelerator.

    Returns:
        The problems, by the names of the gaps that are found within them, of `benchmarks.fidelity.report.GAPS`.
    """
    decisions, default = case.decisions(), case.default_device()
    terms, sampled = case.sampled_cost

    def problem(terms: CostTerms, cost: str, budget: float, device: str | None) -> Problem:
        origin = {} if device is None else {"device": device}
        return Problem(decisions, terms, surrogate, origin=origin, cost=cost, budget=budget, reward="accuracy")

    problems = {"exploitation": problem(terms, sampled, budget, default if sampled == LATENCY else None)}
    if default is not None and sampled != LATENCY:
        whole = problem(case.cost_terms(device=load_device(default)), LATENCY, 1.0, default)
        if _cheapest(whole) <= budget:
            problems["exploitation_latency_ms"] = whole.replace(budget=budget)
    if decides_bits(case):
        problems["exploitation_other_device"] = other_device_problem(case, surrogate, budget)
    return problems


def other_device_problem(case: Case, surrogate: SurrogateAccuracy, budget: float) -> Problem:
    """Builds the problem of the highest predicted accuracy within a budget of the other accelerator's latency.

    Args:
        case: One that chooses bits.
        surrogate: Of the case's decisions.
        budget: Since what is cheapest there costs much: the share of the way from the cheapest strategy to the
            uncompressed network.
    """
    hardware = load_device(OTHER_BITS_DEVICE)
    decisions = case.decisions(**case.kind.restricted(case.task.options, {}, hardware))
    terms, model = case.cost_terms(decisions, hardware), surrogate.restricted(decisions)
    origin = {"device": OTHER_BITS_DEVICE}
    whole = Problem(decisions, terms, model, origin=origin, cost=LATENCY, budget=1.0, reward="accuracy")
    least = _cheapest(whole)
    return whole.replace(budget=least + budget * (1 - least))


def found_within(case: Case, problem: Problem, method: str, seeds: range, best: int = 1) -> NDArray[np.int64]:
    """Returns the best strategies that a search's runs find for a problem, as the case encodes them, int64 `[N, T]`."""
    decisions = case.decisions()
    found = found_by_search(problem, method, seeds, best)
    return np.array([decisions.encode(problem.describe(row)) for row in found], dtype=np.int64)


def refit_round(
    case: Case, measured: MeasuredStrategies, conditions: Conditions, folder: Path, workers: int
) -> tuple[MeasuredStrategies, dict[str, Any] | None, tuple[str, ...]]:
    """Fits, searches, scores what was found into shards in a folder, and adds it to the measured rows.

    Returns:
        The longer table, what the round found out (`None`: nothing that was not measured), and the processors that
        scored it.
    """
    decisions, baseline = case.decisions(), baseline_of(case, measured, ACCURACY_COLUMN)
    surrogate = fit_surrogate(decisions, measured.strategies, measured.accuracy, baseline)
    problems = [p for budget in BUDGETS for p in surrogate_problems(case, surrogate, budget).values()]
    cheap = CHEAP_BUDGETS if decides_bits(case) else ()
    problems += [other_device_problem(case, surrogate, budget) for budget in cheap]
    found = [found_within(case, p, method, SEEDS, BEST) for method in METHODS for p in problems]
    rows = np.unique(np.concatenate(found), axis=0)
    longer, hardware = add_round(case, measured, rows, conditions, folder, workers)
    new = longer.rounds > measured.rounds.max()
    if not new.any():
        return longer, None, hardware
    facts = {
        "round": int(longer.rounds.max()),
        **({"cheap_budgets": list(cheap)} if cheap else {}),
        "strategies_added": int(new.sum()),
        **gap(surrogate(longer.strategies[new]), longer.accuracy[new]),
    }
    return longer, facts, hardware


def _cheapest(whole: Problem) -> float:
    return float(whole.costs(whole.cheapest)[whole.cost][0]) / whole.baseline_costs[whole.cost]
