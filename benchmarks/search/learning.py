"""Do the learners learn: where the optimum is known, their regret against random search's, with intervals.

Also in the report: whether learning from the executed action differs from learning from the raw one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.scores import Estimate, Results
from benchmarks.search.statistics import difference_interval
from benchmarks.search.suites import CHECKPOINTS, DIGITS, LEARNERS

EVALUATIONS = CHECKPOINTS[-1]
RAW, EXECUTED = "ddpg", "ddpg-executed"


@dataclass(frozen=True)
class Learned:
    """What one learner reached.

    Attributes:
        method: Its name.
        regret: Median regret of the best evaluated strategy, in points.
        difference: That less random search's; below 0 is better.
        final_regret: Median regret of the final deterministic policy's strategy.
    """

    method: str
    regret: float
    difference: Estimate
    final_regret: float

    @property
    def learns(self) -> bool:
        """Whether the whole interval of the difference is below 0."""
        return self.difference.high < 0


def learned(results: Results) -> list[Learned]:
    """Compares each learner with random search on `digits-cnn`; empty where the suite lacks one of them."""
    if DIGITS.name not in results.problems or "random" not in results.methods:
        return []
    rows, best = [], results.references[DIGITS.name].best
    for method in (m for m in LEARNERS if m in results.methods):
        difference = regret_difference(results, DIGITS.name, method, "random")
        regret = results.regret_points(DIGITS.name, method, EVALUATIONS)
        if difference is None or regret is None:
            continue
        finals = [r.final_policy for r in results.records[DIGITS.name, method] if r.final_policy is not None]
        final = 100 * (best - float(np.median(finals))) if finals else float("nan")
        rows.append(Learned(method, float(np.median(regret)), difference, final))
    return rows


def regret_difference(results: Results, problem: str, method: str, other: str) -> Estimate | None:
    """Returns the difference of two methods' median regrets in points, `None` where runs are missing."""
    if method not in results.methods or other not in results.methods:
        return None
    pair = [results.regret_points(problem, name, EVALUATIONS) for name in (method, other)]
    first, second = pair
    if first is None or second is None:
        return None
    return Estimate(_median_difference(first, second), *difference_interval(first, second))


def learning_section(results: Results) -> list[str]:
    """Writes the report's lines."""
    rows = learned(results)
    if not rows:
        return []
    lines = [f"## Learning on {DIGITS.name}", ""]
    lines += [f"Regret in points at {EVALUATIONS} evaluations, medians over {results.runs} runs; the difference from"]
    lines += ["random search's with the 95 % interval of a bootstrap of both. A learner is said to learn where the"]
    lines += ["whole interval is below 0.", ""]
    lines += ["| learner | best evaluated | difference from random | learns | final policy |", "|---|---|---|---|---|"]
    for row in rows:
        shown, learns = _shown(row.difference), "yes" if row.learns else "not shown"
        lines.append(f"| {row.method} | {row.regret:.2f} | {shown} | {learns} | {row.final_regret:.2f} |")
    lines.append("")
    for problem in results.problems:
        replay = regret_difference(results, problem, EXECUTED, RAW)
        if replay is not None:
            lines.append(
                f"Learning from the executed action instead of the raw one changes DDPG's median regret on `{problem}` "
                f"by {_shown(replay)} points."
            )
    return [*lines, ""]


def _median_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.median(first) - np.median(second))


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
