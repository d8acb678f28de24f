"""`python -m benchmarks.fidelity TASK`: fits the task's surrogate and states how true it is, on its card."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.fidelity.exploitation import gap
from benchmarks.fidelity.refit import (
    BUDGETS,
    METHODS,
    SEEDS,
    decides_bits,
    found_within,
    live_scores,
    measured_conditions,
    other_device_problem,
    refit_round,
    surrogate_problems,
)
from benchmarks.fidelity.report import GAPS, write_report, write_tables
from benchmarks.fidelity.transfer import transfer_curve
from compress_gym.cli import with_env
from compress_gym.kinds import Case, get_case
from compress_gym.making.collect import write_strategies
from compress_gym.making.fit_case import FittedColumn, baseline_of, facts_of, fit_column, surrogate_card
from compress_gym.problem.scores.model import ACCURACY_COLUMN, columns_of
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import provenance, read_card, read_json, write_card
from compress_gym.support.commands import run_command
from compress_gym.tasks import get_task

# No refit has seen any of these.
UNSEEN_METHOD, UNSEEN_BUDGET, UNSEEN_SEEDS = "annealing", 0.4, range(100, 120)
UNSEEN_CHEAP_BUDGET = 0.1
RESULTS = Path(__file__).parents[1] / "results" / "fidelity"


@click.command()
@click.argument("name", metavar="TASK")
@with_env
@click.option("--rounds", type=click.IntRange(0), default=0, show_default=True, help="Refit so often first.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of unfinished scores [default: TASK-fidelity].")
@click.option("--check/--no-check", default=True, help="Search the final surrogate and score what is found live.")
@click.option("--fit/--no-fit", default=True, help="--no-fit only checks the surrogate that is there.")
def main(name: str, env: str | None, rounds: int, workers: int, work: Path | None, check: bool, fit: bool) -> None:
    """Fits TASK's surrogate to its measured strategies, checks it, and writes surrogate, card and report."""
    if not fit and (rounds or not check):
        raise click.UsageError("--no-fit only checks: it goes with neither --rounds nor --no-check")
    case = get_case(env or get_task(name).declared.kinds[0], name)
    work = work or Path(f"{case.name}-fidelity")
    command = shlex.join(["python -m benchmarks.fidelity", *sys.argv[1:]]).replace("'", "")
    if not fit:
        _check_shipped(case, work, workers, command)
        return
    if rounds and case.strategies().correct is None:
        raise ValueError(f"--rounds {rounds}: strategies are added where images are counted, not to those of {name}")
    history: list[dict[str, Any]] = []
    for _ in range(rounds):
        facts_of_round = _refit(case, case.strategies(), work, workers, command)
        if facts_of_round is None:
            click.echo("searches find nothing that is not measured")
            break
        history.append(facts_of_round)
    measured = case.strategies()
    fitted, facts = _fitted(case, measured, history)
    path, source = case.asset("surrogate"), case.asset("strategies")
    if check:
        others = case.surrogate().others if path.exists() else {}
        facts |= _exploitation(case, replace(fitted.surrogate, others=others), work, workers)
    fitted.surrogate.save(path)
    error = {key: facts[key] for key in ("held_out", "front", *GAPS) if key in facts}
    write_card(path, surrogate_card(case, source, measured, ACCURACY_COLUMN, fitted, error, command))
    write_report(case.name, facts, fitted.predicted, measured, RESULTS)
    click.echo((RESULTS / f"{case.name}.md").read_text())


def _fitted(
    case: Case, measured: MeasuredStrategies, history: list[dict[str, Any]]
) -> tuple[FittedColumn, dict[str, Any]]:
    """Fits the surrogate of accuracies, and states how true it is beside what the rounds of refitting found."""
    baseline = baseline_of(case, measured, ACCURACY_COLUMN)
    fitted = fit_column(case, measured, ACCURACY_COLUMN, baseline, "network")
    facts = facts_of(case, measured, fitted, baseline) | {
        "refits": {
            "methods": METHODS,
            "budgets": BUDGETS,
            "seeds": f"{SEEDS.start}-{SEEDS.stop - 1}",
            "rounds": [*_reported(case.name).get("refits", {"rounds": []})["rounds"], *history],
        },
    }
    if case.kind.sampling.mixed:
        facts["transfer"] = transfer_curve(case, measured, baseline)
    return fitted, facts


def _check_shipped(case: Case, work: Path, workers: int, command: str) -> None:
    """Checks the surrogate that is shipped, which stays: what was searched with it stays true."""
    path = case.asset("surrogate")
    card, facts = read_card(path), _reported(case.name)
    if "held_out" not in facts:  # the surrogate was fitted by another command
        facts = _fitted(case, case.strategies(), [])[1]
    gaps = _exploitation(case, case.surrogate(), work, workers)
    errors = {key: value for key, value in card["stated_error"].items() if key not in GAPS}
    checked = provenance(command, ["torch", "numpy"])
    write_card(path, {**card, "stated_error": errors | gaps, "checked": checked})
    write_tables(case.name, {key: value for key, value in facts.items() if key not in GAPS} | gaps, RESULTS)
    click.echo((RESULTS / f"{case.name}.md").read_text())


def _refit(case: Case, measured: MeasuredStrategies, work: Path, workers: int, command: str) -> dict[str, Any] | None:
    number = int(measured.rounds.max()) + 1
    path, conditions = case.asset("strategies"), measured_conditions(case)
    longer, facts, hardware = refit_round(case, measured, conditions, work / f"round-{number}", workers)
    if facts is None:
        return None
    card = read_card(path)
    scored_on = tuple(sorted({*card["scored_on"], *hardware}))
    write_strategies(case, longer, path, conditions, scored_on, [*card["commands"], command])
    click.echo(json.dumps(facts))
    return facts


def _reported(report: str) -> dict[str, Any]:
    path = RESULTS / f"{report}.json"
    return read_json(path) if path.exists() else {}


def _exploitation(case: Case, surrogate: SurrogateAccuracy, work: Path, workers: int) -> dict[str, Any]:
    """States the gap of an unseen search within each of the costs, under a name of its own.

    Beside that of accuracies stand those of other score columns, negated where less is better.
    """
    problems = surrogate_problems(case, surrogate, UNSEEN_BUDGET)
    if decides_bits(case):
        problems["exploitation_other_device_cheap"] = other_device_problem(case, surrogate, UNSEEN_CHEAP_BUDGET)
    found = [found_within(case, problem, UNSEEN_METHOD, UNSEEN_SEEDS) for problem in problems.values()]
    rows = np.concatenate(found)
    folder = work / f"check-{hashlib.sha256(rows.tobytes()).hexdigest()[:8]}"
    live, predicted = live_scores(case, rows, folder, workers), surrogate.scores(rows, columns_of(surrogate))
    signs = {name: 1 if link == "x" else -1 for name, (link, _) in surrogate.others.items()}
    gaps, ends = {}, np.cumsum([len(rows) for rows in found])
    for (key, problem), own, end in zip(problems.items(), found, ends, strict=True):
        part = slice(end - len(own), end)
        gaps[key] = {
            "method": UNSEEN_METHOD,
            "budget": round(problem.budget, 3),
            "cost": problem.cost,
            **problem.origin,  # the device, if the cost is of one
            "seeds": f"{UNSEEN_SEEDS.start}-{UNSEEN_SEEDS.stop - 1}",
            **gap(predicted[ACCURACY_COLUMN][part], live.accuracy[part]),
            **{n: gap(sign * predicted[n][part], sign * live.column(n)[part]) for n, sign in signs.items()},
        }
    return gaps


if __name__ == "__main__":
    run_command(main, "benchmarks.fidelity")
