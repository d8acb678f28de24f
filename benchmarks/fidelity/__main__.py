"""`python -m benchmarks.fidelity TASK`: fits the task's surrogate and states how true it is, on its card."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.fidelity.exploitation import gap
from benchmarks.fidelity.folds import errors, held_out_predictions, learning_curve
from benchmarks.fidelity.front import front_order, label_ceiling
from benchmarks.fidelity.refit import (
    BUDGETS,
    METHODS,
    SEEDS,
    found_within,
    other_device_problem,
    refit_round,
    surrogate_problems,
)
from benchmarks.fidelity.report import GAPS, write_report, write_tables
from benchmarks.fidelity.transfer import transfer_curve
from compress_gym.making.collect import searched_cost, write_strategies
from compress_gym.making.fit import FitSettings, fit_surrogate
from compress_gym.making.scoring import Conditions, score
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import provenance, read_card, read_json, write_card
from compress_gym.support.commands import run_command
from compress_gym.tasks import ENDINGS, Task, get_task

# No refit has seen any of these.
UNSEEN_METHOD, UNSEEN_BUDGET, UNSEEN_SEEDS = "annealing", 0.4, range(100, 120)
UNSEEN_CHEAP_BUDGET = 0.1
RESULTS = Path(__file__).parents[1] / "results" / "fidelity"


@click.command()
@click.argument("name", metavar="TASK")
@click.option(
    "--env", type=click.Choice(sorted(ENDINGS)), default="ChannelPrune", show_default=True, help="Whose decisions."
)
@click.option("--rounds", type=click.IntRange(0), default=0, show_default=True, help="Refit so often first.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of unfinished scores [default: TASK-fidelity].")
@click.option("--check/--no-check", default=True, help="Search the final surrogate and score what is found live.")
@click.option("--fit/--no-fit", default=True, help="--no-fit only checks the surrogate that is there.")
def main(name: str, env: str, rounds: int, workers: int, work: Path | None, check: bool, fit: bool) -> None:
    """Fits TASK's surrogate to its measured strategies, checks it, and writes surrogate, card and report."""
    if not fit and (rounds or not check):
        raise click.UsageError("--no-fit only checks: it goes with neither --rounds nor --no-check")
    task, work = get_task(name), work or Path(f"{name}{ENDINGS[env]}-fidelity")
    command = shlex.join(["python -m benchmarks.fidelity", *sys.argv[1:]]).replace("'", "")
    if not fit:
        _check_shipped(task, env, work, workers, command)
        return
    history: list[dict[str, Any]] = []
    for _ in range(rounds):
        measured = task.strategies(env)
        facts_of_round = _refit(task, env, measured, work, workers, command)
        if facts_of_round is None:
            click.echo("searches find nothing that is not measured")
            break
        history.append(facts_of_round)
    measured = task.strategies(env)
    decisions, baseline = task.decisions(env), measured.baseline_correct / measured.images
    predicted, uncertain = held_out_predictions(decisions, measured, baseline)
    spread = float(np.sqrt(((predicted - measured.accuracy) ** 2).mean() / (uncertain**2).mean()))
    final = replace(fit_surrogate(decisions, measured.strategies, measured.accuracy, baseline), spread=spread)
    terms, metric = searched_cost(task, env)
    cost = terms.evaluate(np.concatenate([measured.strategies, decisions.uncompressed[None]]))[:, terms.column(metric)]
    broad, report = measured.rounds == 0, f"{name}{ENDINGS[env]}"
    facts: dict[str, Any] = {
        "task": name,
        "env": env,
        "cost": metric,
        "rows": len(measured.strategies),
        "broad_rows": int(broad.sum()),
        "held_out": {
            "how": "5-fold cross-validation; every row predicted by a fit that did not see it",
            "broad_sample": {
                **errors(predicted[broad], measured.accuracy[broad]),
                **label_ceiling(measured.halves[broad]),
            },
            "all_rows": errors(predicted, measured.accuracy),
        },
        "learning_curve": learning_curve(decisions, measured, baseline),
        "front": front_order(predicted, measured.accuracy, measured.halves, cost[:-1] / cost[-1]),
        "refits": {
            "methods": METHODS,
            "budgets": BUDGETS,
            "seeds": f"{SEEDS.start}-{SEEDS.stop - 1}",
            "rounds": [*_earlier_rounds(report), *history],
        },
    }
    if env == "JointPQ":
        facts["transfer"] = transfer_curve(task, measured, baseline)
    if check:
        facts |= _exploitation(task, env, final, work, workers)
    path = task.asset("surrogate", env)
    final.save(path)
    write_card(path, _card(task, env, measured, facts, spread, command))
    write_report(report, facts, predicted, measured, RESULTS)
    click.echo((RESULTS / f"{report}.md").read_text())


def _check_shipped(task: Task, env: str, work: Path, workers: int, command: str) -> None:
    """Checks the surrogate that is shipped, which stays: what was searched with it stays true."""
    path, report = task.asset("surrogate", env), f"{task.name}{ENDINGS[env]}"
    card, facts = read_card(path), read_json(RESULTS / f"{report}.json")
    gaps = _exploitation(task, env, task.surrogate(env), work, workers)
    errors = {key: value for key, value in card["stated_error"].items() if key not in GAPS}
    checked = provenance(command, ["torch", "numpy"])
    write_card(path, {**card, "stated_error": errors | gaps, "checked": checked})
    write_tables(report, {key: value for key, value in facts.items() if key not in GAPS} | gaps, RESULTS)
    click.echo((RESULTS / f"{report}.md").read_text())


def _refit(
    task: Task, env: str, measured: MeasuredStrategies, work: Path, workers: int, command: str
) -> dict[str, Any] | None:
    number = int(measured.rounds.max()) + 1
    path, conditions = task.asset("strategies", env), _conditions(task, env)
    longer, facts, hardware = refit_round(task, measured, conditions, work / f"round-{number}", workers)
    if facts is None:
        return None
    card = read_card(path)
    scored_on = tuple(sorted({*card["scored_on"], *hardware}))
    write_strategies(task, longer, path, conditions, scored_on, [*card["commands"], command])
    click.echo(json.dumps(facts))
    return facts


def _conditions(task: Task, env: str) -> Conditions:
    """Returns how the task's strategies were scored."""
    card = read_card(task.asset("strategies", env))
    return Conditions(card["recovery"], precision=card["precision"], env=env)


def _earlier_rounds(report: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{report}.json"
    return list(read_json(path)["refits"]["rounds"]) if path.exists() else []


def _exploitation(task: Task, env: str, surrogate: Any, work: Path, workers: int) -> dict[str, Any]:
    """States the gap of an unseen search within each of the costs, under a name of its own."""
    problems = surrogate_problems(task, env, surrogate, UNSEEN_BUDGET)
    if env != "ChannelPrune":
        cheap = other_device_problem(task, env, surrogate, UNSEEN_CHEAP_BUDGET)
        problems["exploitation_other_device_cheap"] = cheap
    found = [found_within(task, env, problem, UNSEEN_METHOD, UNSEEN_SEEDS) for problem in problems.values()]
    rows = np.concatenate(found)
    folder = work / f"check-{hashlib.sha256(rows.tobytes()).hexdigest()[:8]}"
    scores = score(task, rows, _conditions(task, env), folder, workers)
    live = np.split(scores.correct.sum(1) / task.strategies(env).images, np.cumsum([len(rows) for rows in found])[:-1])
    gaps = {}
    for (key, problem), rows, accuracies in zip(problems.items(), found, live, strict=True):
        gaps[key] = {
            "method": UNSEEN_METHOD,
            "budget": round(problem.budget, 3),
            "cost": problem.cost,
            **problem.origin,  # the device, if the cost is of one
            "seeds": f"{UNSEEN_SEEDS.start}-{UNSEEN_SEEDS.stop - 1}",
            **gap(surrogate(rows), accuracies),
        }
    return gaps


def _card(
    task: Task, env: str, measured: MeasuredStrategies, facts: dict[str, Any], spread: float, command: str
) -> dict[str, Any]:
    strategies = read_card(task.asset("strategies", env))
    kept = ("task", "task_version", "weights_sha256", "recovery", "precision")
    calibration = ("calibration_images", "calibration_augmentation", "calibration_digest")
    return {
        "what": f"surrogate of live validation accuracy of {env} on task {task.name}",
        **{key: strategies[key] for key in (*kept, *calibration)},
        "validation_images": measured.images,
        "fitted_to": {
            "file": task.asset("strategies", env).name,
            "sha256": strategies["sha256"],
            "rows": len(measured.strategies),
        },
        "settings": asdict(FitSettings()),
        "spread": round(spread, 3),
        "stated_error": {key: facts[key] for key in ("held_out", "front", *GAPS) if key in facts},
        **provenance(command, ["torch", "numpy"]),
    }


if __name__ == "__main__":
    run_command(main, "benchmarks.fidelity")
