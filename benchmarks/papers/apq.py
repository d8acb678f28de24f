"""APQ's comparison: channels and bits searched together beside one after the other, at equal latency or energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.galen import pruning_alone
from benchmarks.papers.live_scores import PaperScores
from benchmarks.papers.winners import (
    SPLITS,
    exceeds,
    held,
    in_order,
    points,
    require_fast,
    searches_folder,
    spread,
    told_by,
    verdict,
    winner,
    within,
)
from compress_gym.kinds import Case, get_case
from compress_gym.problem import Problem

KIND = "JointPQ-v0"
# An allowance that both approaches have; APQ's search has 500 iterations of 100.
EVALUATIONS, SEEDS = 1000, 10
METHOD = "evolution"  # APQ searches by evolution
LATENCIES, ENERGIES = (0.5, 0.4), (0.4, 0.3, 0.2)
PUBLISHED = (
    "APQ (the README of its release): 6.11 ms / 9.14 mJ / 72.8 %; 8.45 / 11.81 / 73.8; 8.40 / 12.18 / 74.1; "
    "12.17 / 14.14 / 75.1 on ImageNet and BitFusion, architectures searched too. What its paper found for searches in "
    "sequence (ProxylessNAS, AMC and HAQ) is not at hand."
)
APPROACHES = ("joint", "in sequence")
# Powers of the budget to which the network is pruned, until channels can and bits can do the rest.
PRUNING_POWERS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class APQPlan:
    """What is compared.

    Attributes:
        task: Name of the task.
        device: Name of the device.
        method: The search.
        evaluations: What each approach may ask in all.
        seeds: Searches of each approach, at each budget.
        latencies: Shares of the latency that are budgets.
        energies: Shares of the energy that are.
    """

    task: str = "digits-cnn"
    device: str = "bitfusion"
    method: str = METHOD
    evaluations: int = EVALUATIONS
    seeds: int = SEEDS
    latencies: tuple[float, ...] = LATENCIES
    energies: tuple[float, ...] = ENERGIES

    @property
    def case(self) -> Case:
        """The task, pruned and quantised."""
        return get_case(KIND, self.task)

    @property
    def budgets(self) -> list[tuple[str, float]]:
        """Costs and their shares."""
        return [*(("latency_ms", b) for b in self.latencies), *(("energy_mj", b) for b in self.energies)]


def compare(plan: APQPlan, work: Path, workers: int = 1) -> list[dict[str, Any]]:
    """Compares at each budget; what is finished is read from the folder; so many workers search and score.

    Returns:
        One row for each budget and approach: how many seeds found something that fits, and the accuracies, latency and
        energy of that.
    """
    case, rows = plan.case, list[dict[str, Any]]()
    searches = searches_folder(work, case, plan.evaluations)
    for cost, budget in plan.budgets:
        whole = case.problem(plan.device, cost=cost, budget=1.0, reward="accuracy")
        require_fast(case, whole)
        live = PaperScores(case, whole.decisions, work / "live", workers)
        problem = within(whole, budget)
        for approach in APPROACHES:
            folder = searches / f"{cost}-{budget:g}" / approach.replace(" ", "-")
            told = f"{approach} at {budget:.0%} of {cost}"
            search = together if approach == "joint" else in_sequence
            jobs = [(problem, plan, seed, folder) for seed in range(plan.seeds)] if problem is not None else []
            found = [f for f in in_order(search, jobs, told, workers) if f is not None]
            rows.append({"cost": cost, "budget": budget, "approach": approach, "fit": len(found)})
            if not found:
                continue
            strategies = [f["strategy"] for f in found]
            costs = whole.costs([whole.decisions.encode(s) for s in strategies])
            rows[-1] |= {
                "predicted": spread([f["accuracy"] for f in found]),
                **{split: spread(live.all(strategies, split)) for split in SPLITS},
                **{name: float(costs[name].mean()) for name in ("latency_ms", "energy_mj")},
            }
    return rows


def together(problem: Problem, plan: APQPlan, seed: int, folder: Path) -> dict[str, Any]:
    """Searches for channels and bits together."""
    path = folder / f"{plan.method}-{seed}.json"
    return winner(problem, plan.method, plan.evaluations, seed, KIND, path)


def in_sequence(problem: Problem, plan: APQPlan, seed: int, folder: Path) -> dict[str, Any] | None:
    """Prunes first, then quantises what is left, each with half of the evaluations.

    Both take the same factor of the cost, the square root of the budget. Where channels alone cannot keep that, or bits
    the budget after it, the network is pruned to the next power of the budget; further evaluations are not counted.

    Returns:
        What was found; `None` where no power leaves anything that fits.
    """
    half = plan.evaluations // 2
    for power in PRUNING_POWERS:
        channels = pruning_alone(plan.case, problem.replace(budget=problem.budget**power))
        if channels is None:
            continue
        path = folder / f"{plan.method}-{seed}-pruned-{power}.json"
        pruned = winner(channels, plan.method, half, seed, KIND, path)
        kept = {d.name: pruned["strategy"][d.name] for d in problem.decisions.decisions if d.kind == "channels"}
        quantised = held(plan.case, problem, kept)
        if quantised is not None:
            path = folder / f"{plan.method}-{seed}.json"
            return winner(quantised, plan.method, plan.evaluations - half, seed, KIND, path)
    return None


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """States how much better joint search is, on the means, at each budget where both find something."""
    stated = []
    for joint, sequence in zip(rows[::2], rows[1::2], strict=True):
        stated.append({"cost": joint["cost"], "budget": joint["budget"]})
        if joint["fit"] and sequence["fit"]:
            stated[-1] |= {split: exceeds(joint[split], sequence[split]) for split in SPLITS}
    return stated


def table(facts: Mapping[str, Any], plan: APQPlan) -> str:
    """Writes the Markdown tables."""
    rows = facts["rows"]
    lines = [
        f"## APQ: joint search on {plan.task}, {plan.device}",
        "",
        f"Channels and bits searched together, or pruned first and then quantised; {plan.method}, {plan.evaluations}",
        f"evaluations in all, {plan.seeds} seeds (mean ± standard deviation); accuracies in percent. In sequence, both",
        "take the square root of the budget; where channels cannot, or bits cannot do the rest, the network is pruned",
        "again, to another share, which is not counted.",
        "",
        PUBLISHED,
        *told_by(facts),
        "",
        "| bounded | share | approach | seeds that fit | predicted | validation | test | latency, ms | energy, mJ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['cost']} | {row['budget']:.2f} | {row['approach']} | {row['fit']} of {plan.seeds} "
        if row["fit"]:
            numbers = " | ".join(points(row[key]) for key in ("predicted", *SPLITS))
            lines.append(f"{head}| {numbers} | {row['latency_ms']:.4f} | {row['energy_mj']:.4f} |")
        else:
            lines.append(f"{head}| | | | | |")
    lines += [
        "",
        "| bounded | share | joint is better by, points (validation / test) | by more than the spread |",
        "|---|---|---|---|",
    ]
    for d in differences(rows):
        told = verdict(d) if "test" in d else "not both fit | "
        lines.append(f"| {d['cost']} | {d['budget']:.2f} | {told} |")
    return "\n".join([*lines, ""])


def series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float, float]]]:
    """Returns what is drawn: accuracies on test images over the budgets of latency."""
    return {
        approach: [
            (row["budget"], row["test"]["mean"], row["test"]["std"])
            for row in rows
            if row["approach"] == approach and row["cost"] == "latency_ms" and row["fit"]
        ]
        for approach in APPROACHES
    }
