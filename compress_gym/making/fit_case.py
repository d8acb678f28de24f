"""Fits the surrogates of a case to its measured strategies, and states on their cards how true they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.kinds import Case
from compress_gym.making.additive import fit_additive
from compress_gym.making.fit import FitSettings, fit_surrogate
from compress_gym.making.folds import errors, held_out_predictions, learning_curve
from compress_gym.making.front import front_order, label_ceiling
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import LINKS, SurrogateAccuracy
from compress_gym.support.cards import provenance, read_card, write_card
from compress_gym.support.errors import unknown_name
from compress_gym.support.processor import one_thread

Fit = Callable[..., SurrogateAccuracy]
WAYS: dict[str, Fit] = {"network": fit_surrogate, "additive": fit_additive}
# From so many rows on a network is better wherever both were tried.
_MANY = 1000
_HOW = "5-fold cross-validation; every row predicted by a fit that did not see it"
# What surrogates of strategies say they were made with, as the strategies do.
_SAME = ("task", "task_version", "weights_sha256", "recovery", "precision", "calibration_images")
_ALSO_SAME = ("calibration_augmentation", "calibration_digest", "sentences", "sentences_digest")


@dataclass(frozen=True, eq=False)
class FittedColumn:
    """A surrogate of one score column.

    Attributes:
        surrogate: Fitted to all rows.
        way: A name of `WAYS`.
        rows: Which of the measured strategies have a score, bool `[N]`.
        predicted: Held-out predictions of those, float64.
        targets: What was to be predicted of them, float64.
    """

    surrogate: SurrogateAccuracy
    way: str
    rows: NDArray[np.bool_]
    predicted: NDArray[np.float64]
    targets: NDArray[np.float64]


def fit_column(
    case: Case, measured: MeasuredStrategies, column: str, baseline: float, way: str = "auto"
) -> FittedColumn:
    """Fits a surrogate of a score column to all rows that have it, and predicts each by a fit that did not see it.

    The way is a name of `WAYS`, or `auto`: the better one in cross-validation where rows are few, else `network`. The
    baseline is the column of the uncompressed network, or its accuracy.

    Raises:
        KeyError: Another way.
        ValueError: Too few rows to hold some out.
    """
    if way not in ("auto", *WAYS):
        raise unknown_name("model", way, ("auto", *WAYS))
    decisions, rows = case.decisions(), measured.scored(column)
    strategies, targets = measured.strategies[rows], _linked(case, measured, column)
    if len(targets) < 10:
        raise ValueError(f"{len(targets)} strategies of {case.name} have the column {column!r}; at least 10 are needed")
    tried = ("network",) if way == "auto" and len(targets) >= _MANY else WAYS if way == "auto" else (way,)
    found = {name: held_out_predictions(decisions, strategies, targets, baseline, WAYS[name]) for name in tried}
    best = min(found, key=lambda name: np.abs(found[name][0] - targets).mean())
    predicted, uncertain = found[best]
    spread = float(np.sqrt(((predicted - targets) ** 2).mean() / max((uncertain**2).mean(), 1e-12)))
    final = replace(WAYS[best](decisions, strategies, targets, baseline), spread=spread)
    return FittedColumn(final, best, rows, predicted, targets)


def _linked(case: Case, measured: MeasuredStrategies, column: str) -> NDArray[np.float64]:
    """Returns what a surrogate of a column predicts, of the rows that have it."""
    link = LINKS[case.task.declared.columns[column].link][0]
    return link(measured.column(column)[measured.scored(column)])


def facts_of(case: Case, measured: MeasuredStrategies, fitted: FittedColumn, baseline: float) -> dict[str, Any]:
    """States how true a surrogate is: held out, against the number of rows, and near the front."""
    decisions, (terms, metric) = case.decisions(), case.sampled_cost
    rows, broad = measured.strategies[fitted.rows], measured.rounds[fitted.rows] == 0
    cost = terms.evaluate(np.concatenate([rows, decisions.uncompressed[None]]))[:, terms.column(metric)]
    halves = None if measured.halves is None else measured.halves[fitted.rows]
    ceiling = {} if halves is None else label_ceiling(halves[broad])
    return {
        "task": case.task.name,
        "env": case.kind.name,
        "cost": metric,
        "rows": len(rows),
        "broad_rows": int(broad.sum()),
        "held_out": {
            "how": _HOW,
            "broad_sample": {**errors(fitted.predicted[broad], fitted.targets[broad]), **ceiling},
            "all_rows": errors(fitted.predicted, fitted.targets),
        },
        "learning_curve": learning_curve(decisions, rows[broad], fitted.targets[broad], baseline, WAYS[fitted.way]),
        "front": front_order(fitted.predicted, fitted.targets, halves, cost[:-1] / cost[-1]),
    }


def baseline_of(case: Case, measured: MeasuredStrategies, column: str) -> float:
    """Returns what is said of the uncompressed network: its accuracy as trained, else its score among the measured.

    Where it was not measured, the best one's score stands for it.
    """
    if column == ACCURACY_COLUMN and measured.correct is not None:
        return measured.baseline_correct / measured.images
    rows, targets = measured.strategies[measured.scored(column)], _linked(case, measured, column)
    uncompressed = (rows == case.decisions().uncompressed).all(axis=1)
    return float(targets[uncompressed if uncompressed.any() else slice(None)].max())


def surrogate_card(
    case: Case,
    source: Path,
    measured: MeasuredStrategies,
    column: str,
    fitted: FittedColumn,
    stated_error: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    """Returns a surrogate's card."""
    strategies = read_card(source)
    link = case.task.declared.columns[column].link.replace("x", column)
    of = f"live validation {column}" if column == ACCURACY_COLUMN else f"{column}, as {link}"
    return {
        "what": f"surrogate of {of} of {case.kind.name} on task {case.task.name}",
        **{key: strategies[key] for key in (*_SAME, *_ALSO_SAME) if key in strategies},
        **({"validation_images": measured.images} if measured.images else {}),
        "fitted_to": {"file": source.name, "sha256": strategies["sha256"], "rows": int(fitted.rows.sum())},
        "model": fitted.way,
        **({"settings": asdict(FitSettings())} if fitted.way == "network" else {}),
        "spread": round(fitted.surrogate.spread, 3),
        "stated_error": stated_error,
        **provenance(command, ["torch", "numpy"]),
    }


def fit_case(
    case: Case, out: Path, command: str, source: Path | None = None, way: str = "auto"
) -> dict[str, dict[str, Any]]:
    """Fits the surrogates of all score columns and writes them with their cards; see `fit_column` for the ways.

    Without a source they are fitted to the task's own measured strategies.

    Returns:
        What is stated of each column's surrogate.

    Raises:
        AssetError: The strategies are missing, damaged, or were measured with other weights.
    """
    path = source or case.asset("strategies")
    case.task.check_made_for(path, f"compress-gym collect {case.task.name} --env {case.kind.name}")
    measured = MeasuredStrategies.load(path, case.decisions())
    stated = {}
    for name, column in case.task.declared.columns.items():
        if name != ACCURACY_COLUMN and name not in measured.columns:
            continue
        baseline = baseline_of(case, measured, name)
        with one_thread():  # the matrices are small: threads would wait for each other
            fitted = fit_column(case, measured, name, baseline, way)
            stated[name] = facts_of(case, measured, fitted, baseline)
        written = out / case.asset(column.surrogate).name
        fitted.surrogate.save(written)
        error = {key: stated[name][key] for key in ("held_out", "front")}
        write_card(written, surrogate_card(case, path, measured, name, fitted, error, command))
    return stated
