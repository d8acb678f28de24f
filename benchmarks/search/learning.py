"""Do the learners learn: where the optimum is known, their regret against random search's, with intervals.

Random search is compared by `RANDOM_RUNS` runs of it: in a table of accuracies they take a second, and among ten runs
some reach the optimum by chance, so that no learner could be told from them.

Also in the report: whether learning from the executed action differs from learning from the raw one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from agents.statistics import difference_interval, paired_difference_interval
from benchmarks.search.scores import Estimate, Results
from benchmarks.search.suites import CHECKPOINTS, DIGITS, LEARNERS
from benchmarks.search.versions import build

EVALUATIONS = CHECKPOINTS[-1]
RAW, EXECUTED = "ddpg", "ddpg-executed"
RANDOM_RUNS = 200


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
    """Compares each learner with random search on `digits-cnn`; empty where the suite lacks it."""
    if DIGITS.name not in results.problems:
        return []
    rows, best = [], results.references[DIGITS.name].best
    by_chance = 100 * (best - random_bests())
    for method in (m for m in LEARNERS if m in results.methods):
        regret = results.regret_points(DIGITS.name, method, EVALUATIONS)
        if regret is None:
            continue
        difference = Estimate(float(np.median(regret) - np.median(by_chance)), *difference_interval(regret, by_chance))
        finals = [r.final_policy for r in results.records[DIGITS.name, method] if r.final_policy is not None]
        final = 100 * (best - float(np.median(finals))) if finals else float("nan")
        rows.append(Learned(method, float(np.median(regret)), difference, final))
    return rows


@cache
def random_bests() -> NDArray[np.float64]:
    """Returns the best accuracies that runs of random search reach on `digits-cnn`, `[RANDOM_RUNS]`."""
    problem, rng = build(DIGITS), np.random.default_rng(0)
    return np.array([problem.accuracy(problem.random(rng, EVALUATIONS)).max() for _ in range(RANDOM_RUNS)])


def replay_difference(results: Results, problem: str) -> Estimate | None:
    """Returns by how many points DDPG's median regret is higher where it learns from executed actions.

    Returns:
        `None` where the suite lacks one of the two.
    """
    if RAW not in results.methods or EXECUTED not in results.methods:
        return None
    executed, raw = (results.regret_points(problem, name, EVALUATIONS) for name in (EXECUTED, RAW))
    if executed is None or raw is None:
        return None
    value = float(np.median(executed) - np.median(raw))
    return Estimate(value, *paired_difference_interval(executed, raw))


def learning_section(results: Results) -> list[str]:
    """Writes the report's lines."""
    rows = learned(results)
    if not rows:
        return []
    by_chance = 100 * (results.references[DIGITS.name].best - np.median(random_bests()))
    lines = [
        f"## Learning on {DIGITS.name}",
        "",
        f"Regret in points at {EVALUATIONS} evaluations, medians over {results.runs} runs; the difference from",
        f"{RANDOM_RUNS} runs of random search (median {by_chance:.2f}) with the 95 % interval of a bootstrap of both.",
        "A learner is said to learn where the whole interval is below 0.",
        "",
        "| learner | best evaluated | difference from random | learns | final policy |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        shown, learns = _shown(row.difference), "yes" if row.learns else "not shown"
        lines.append(f"| {row.method} | {row.regret:.2f} | {shown} | {learns} | {row.final_regret:.2f} |")
    lines.append("")
    replays = [(problem, replay_difference(results, problem)) for problem in results.problems]
    if any(difference is not None for _, difference in replays):
        lines += [
            "DDPG that learns from the action that was executed, less DDPG that learns from the one it asked for:",
            "median regrets in points, intervals over pairs of runs of the same seed (whose first 100 evaluations are",
            "the same).",
            "",
            *(f"- `{problem}`: {_shown(found)}" for problem, found in replays if found is not None),
            "",
        ]
    return lines


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
