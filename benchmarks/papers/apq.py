"""APQ's comparison: channels and bits searched together beside one after the other, at equal latency or energy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.galen import pruning_alone
from benchmarks.papers.winners import LiveScores, held, in_order, points, spread, winner
from compress_gym.envs.joint_pq import joint_pq_problem
from compress_gym.problem import Problem
from compress_gym.tasks import get_task

# An allowance that both approaches have; APQ's search has 500 iterations of 100.
EVALUATIONS, SEEDS = 1000, 10
METHOD = "evolution"  # APQ searches by evolution
LATENCIES, ENERGIES = (0.5, 0.4), (0.4, 0.3, 0.2)
PUBLISHED = (
    "APQ (the README of its release): 6.11 ms / 9.14 mJ / 72.8 %; 8.45 / 11.81 / 73.8; 8.40 / 12.18 / 74.1; "
    "12.17 / 14.14 / 75.1 on ImageNet and BitFusion, architectures searched too."
)
APPROACHES = ("joint", "in sequence")
# Powers of the budget to which the network is pruned, until bits can do the rest.
PRUNING_POWERS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Plan:
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
    def budgets(self) -> list[tuple[str, float]]:
        """Costs and their shares."""
        return [*(("latency_ms", b) for b in self.latencies), *(("energy_mj", b) for b in self.energies)]


def compare(plan: Plan, work: Path, workers: int = 1) -> list[dict[str, Any]]:
    """Compares at each budget; what is finished is read from the folder; so many workers search and score.

    Returns:
        One row for each budget and approach: accuracies, latency and energy of what was found.
    """
    task, rows = get_task(plan.task), []
    for cost, budget in plan.budgets:
        problem = joint_pq_problem(plan.task, plan.device, cost=cost, budget=budget, reward="accuracy")
        live = LiveScores(task, problem.decisions, work / "live.json", workers)
        for approach in APPROACHES:
            folder = work / f"{cost}-{budget:.2f}" / approach.replace(" ", "-")
            told = f"{approach} at {budget:.0%} of {cost}"
            search = together if approach == "joint" else in_sequence
            row: dict[str, Any] = {"cost": cost, "budget": budget, "approach": approach}
            rows.append(row)
            try:
                found = in_order(search, [(problem, plan, s, folder) for s in range(plan.seeds)], told, workers)
            except ValueError as error:
                row["error"] = str(error)
                continue
            strategies = [f["strategy"] for f in found]
            costs = problem.costs([problem.decisions.encode(s) for s in strategies])
            row |= {
                "predicted": spread([f["accuracy"] for f in found]),
                "validation": spread(live.all(strategies)),
                "test": spread(live.all(strategies, "test")),
                **{name: float(costs[name].mean()) for name in ("latency_ms", "energy_mj")},
            }
    return rows


def together(problem: Problem, plan: Plan, seed: int, folder: Path) -> dict[str, Any]:
    """Searches for channels and bits together."""
    return winner(problem, plan.method, plan.evaluations, seed, "JointPQ-v0", folder / f"{seed}.json")


def in_sequence(problem: Problem, plan: Plan, seed: int, folder: Path) -> dict[str, Any]:
    """Prunes first, then quantises what is left, each with half of the evaluations.

    Both take the same factor of the cost, the square root of the budget. Where bits cannot keep the budget after that,
    the network is pruned again, further; those evaluations are not counted.

    Raises:
        ValueError: Channels alone cannot go as far as bits would need.
    """
    half, quantised = plan.evaluations // 2, None
    for power in PRUNING_POWERS:
        channels = pruning_alone(problem.replace(budget=problem.budget**power))
        path = folder / f"{seed}-pruned-{power}.json"
        pruned = winner(channels, plan.method, half, seed, "JointPQ-v0", path)
        kept = {d.name: pruned["strategy"][d.name] for d in problem.decisions.decisions if d.kind == "channels"}
        try:
            quantised = held(problem, kept)
            break
        except ValueError:
            continue
    if quantised is None:
        raise ValueError(f"no pruned network can be quantised to {problem.budget} of {problem.cost}")
    rest = plan.evaluations - half
    return winner(quantised, plan.method, rest, seed, "JointPQ-v0", folder / f"{seed}.json")


def table(rows: list[dict[str, Any]], plan: Plan) -> str:
    """Writes the Markdown table."""
    lines = [
        f"## APQ: joint search on {plan.task}, {plan.device}",
        "",
        f"Channels and bits searched together, or pruned first and then quantised; {plan.method}, {plan.evaluations}",
        f"evaluations in all, {plan.seeds} seeds (mean ± standard deviation); accuracies in percent.",
        "",
        PUBLISHED,
        "",
        "| bounded | share | approach | predicted | validation | test | latency, ms | energy, mJ |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['cost']} | {row['budget']:.2f} | {row['approach']} "
        if "error" in row:
            lines.append(f"{head}| nothing fits | | | | |")
            continue
        numbers = " | ".join(points(row[key]) for key in ("predicted", "validation", "test"))
        lines.append(f"{head}| {numbers} | {row['latency_ms']:.4f} | {row['energy_mj']:.4f} |")
    return "\n".join([*lines, ""])


def series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float, float]]]:
    """Returns what is drawn: accuracies on test images over the budgets of latency."""
    return {
        approach: [
            (row["budget"], row["test"]["mean"], row["test"]["std"])
            for row in rows
            if row["approach"] == approach and row["cost"] == "latency_ms" and "error" not in row
        ]
        for approach in APPROACHES
    }
