"""APQ's transfer: how many rows a joint surrogate saves that starts from the weights of a pruning surrogate."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.progress import track

from compress_gym.kinds import Case, get_case
from compress_gym.making.fit import fit_surrogate
from compress_gym.making.folds import FOLDS, errors
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import SurrogateAccuracy

SIZES = (60, 125, 250, 500, 1000)
FITS = 2
# Rows of an enumerated space that a pruning surrogate is fitted to where none is shipped.
PRUNING_ROWS = 4000


def transfer_curve(case: Case, measured: MeasuredStrategies, baseline: float, seed: int = 0) -> dict[str, Any]:
    """Compares surrogates of `JointPQ` that start from nothing and from a pruning surrogate.

    Args:
        case: One that decides channels and bits.
        measured: Its rows.
        baseline: Accuracy of the uncompressed network.
        seed: Of the fifth that is held out, and of the first of the fits.

    Returns:
        What the pruning surrogate was fitted to; for each number of rows, the held-out Kendall tau of both, means over
        fits; and how many rows the one from nothing would need for the tau of the other, `None` where it never has it.
    """
    start, fitted_to = _pruning_surrogate(case, baseline)
    decisions, accuracy = case.decisions(), measured.accuracy
    broad = np.random.default_rng(seed).permutation(np.flatnonzero(measured.rounds == 0))
    unseen, seen = broad[: len(broad) // FOLDS], broad[len(broad) // FOLDS :]
    curve = []
    for rows in track([n for n in SIZES if n < len(seen)], description="transfer"):
        taus: dict[str, list[float]] = {"from_nothing": [], "from_pruning": []}
        for fit in range(FITS):
            chosen = np.random.default_rng([seed, fit]).permutation(seen)[:rows]
            for name, begun in (("from_nothing", None), ("from_pruning", start)):
                surrogate = fit_surrogate(
                    decisions, measured.strategies[chosen], accuracy[chosen], baseline, seed=seed + fit, start=begun
                )
                taus[name].append(errors(surrogate(measured.strategies[unseen]), accuracy[unseen])["kendall_tau"])
        curve.append({"rows": rows, **{name: round(float(np.mean(found)), 4) for name, found in taus.items()}})
    needed = rows_for([int(p["rows"]) for p in curve], [p["from_nothing"] for p in curve])
    for point in curve:
        point["rows_from_nothing"] = needed(point["from_pruning"])
    return {"pruning_surrogate": fitted_to, "fits": FITS, "curve": curve}


def rows_for(rows: list[int], taus: list[float]) -> Any:
    """Returns a function from a tau to the rows at which a learning curve first reaches it.

    Between points the curve is a straight line over the logarithm of rows; what it has at its first point needs no
    more than those rows, and what it never reaches is `None`.
    """
    highest = np.maximum.accumulate(taus)

    def needed(tau: float) -> int | None:
        if tau > highest[-1]:
            return None
        n = int(np.searchsorted(highest, tau))
        if n == 0:
            return rows[0]
        part = (tau - highest[n - 1]) / (highest[n] - highest[n - 1])
        return round(float(np.exp(np.log(rows[n - 1]) + part * np.log(rows[n] / rows[n - 1]))))

    return needed


def _pruning_surrogate(case: Case, baseline: float) -> tuple[SurrogateAccuracy, str]:
    channels = get_case("ChannelPrune-v0", case.task)
    if channels.asset("surrogate").exists():
        return channels.surrogate(), "the shipped surrogate of ChannelPrune"
    table, decisions = channels.measured(), channels.decisions()
    rows = decisions.enumerate()[np.random.default_rng(0).permutation(decisions.count)[:PRUNING_ROWS]]
    fitted = fit_surrogate(decisions, rows, table(rows), baseline)
    return fitted, f"{len(rows):,} strategies of ChannelPrune"
