"""Galen's comparison: pruning and quantising together beside either alone, at equal latency and equal evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.winners import PRECISIONS, LiveScores, held, points, spread, winners
from compress_gym.decisions import BIT_KINDS
from compress_gym.envs.joint_pq import joint_pq_problem
from compress_gym.problem import Problem
from compress_gym.tasks import get_task

# Galen searches for 410 episodes and trains the chosen network for 30 epochs; its claim is about 20 % of the latency.
EVALUATIONS, SEEDS, FINETUNE_EPOCHS = 410, 10, 30
# At a half either alone still fits, where below it may not.
BUDGETS = (0.5, 0.3, 0.2, 0.15)
METHODS = ("ddpg", "evolution")
CLAIM = (
    "Galen (its abstract): ResNet-18 on CIFAR-10, an ARM processor: 20 % of the latency without significant loss of "
    "accuracy; joint search is superior to either alone."
)


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        task: Name of the task.
        device: Name of the device.
        methods: Learners and searches.
        evaluations: What each search may ask.
        seeds: Searches of each method, at each budget.
        epochs: Of fine-tuning the best of each approach; 0: none.
        budgets: Shares of the latency.
        bf16: Whether fine-tuning computes in bfloat16.
    """

    task: str = "digits-cnn"
    device: str = "bismo-edge"
    methods: tuple[str, ...] = METHODS
    evaluations: int = EVALUATIONS
    seeds: int = SEEDS
    epochs: int = FINETUNE_EPOCHS
    budgets: tuple[float, ...] = BUDGETS
    bf16: bool = False


def compare(plan: Plan, work: Path, workers: int = 1) -> dict[str, Any]:
    """Compares at each budget; what is finished is read from the folder; so many workers search and score.

    Either alone is the same problem with the other kind of decision held at its most, so all three are scored by the
    same accuracy model; what each search found is then scored live.

    Returns:
        `baseline_test`, the accuracy of the uncompressed network, and `rows`: one for each budget, method and approach.
    """
    task = get_task(plan.task)
    problem = joint_pq_problem(plan.task, plan.device, reward="accuracy", budget=max(plan.budgets))
    live = LiveScores(task, problem.decisions, work / "live.json", workers, plan.bf16)
    rows = []
    for budget in plan.budgets:
        whole = problem.replace(budget=budget)
        for approach, restrict in APPROACHES.items():
            folder, best = work / f"{budget:.2f}" / approach.replace(" ", "-"), list[Mapping[str, int]]()
            for method in plan.methods:
                row: dict[str, Any] = {"budget": budget, "approach": approach, "method": method}
                rows.append(row)
                try:
                    restricted = restrict(whole)
                except ValueError as error:
                    row["error"] = str(error)
                    continue
                files = [folder / f"{method}-{seed}.json" for seed in range(plan.seeds)]
                told = f"{approach}, {method} at {budget:.0%}"
                found = winners(restricted, method, plan.evaluations, "JointPQ-v0", files, told, workers)
                strategies = [f["strategy"] for f in found]
                best += strategies
                row["predicted"] = spread([f["accuracy"] for f in found])
                row["validation"] = spread(live.all(strategies))
                row["test"] = spread(live.all(strategies, "test"))
                row["seconds"] = sum(f["seconds"] for f in found) / len(found)
            if best and plan.epochs:
                rows[-1]["finetuned_strategy"] = dict(live.rank(best, 1)[0])
    tuned = [row for row in rows if "finetuned_strategy" in row]
    for row, accuracy in zip(
        tuned, live.all([r["finetuned_strategy"] for r in tuned], "test", plan.epochs), strict=True
    ):
        row["finetuned_test"] = accuracy
    baseline = float(task.live("none", "test", decisions=task.channel_decisions()).baseline)
    return {"baseline_test": baseline, "rows": rows}


def pruning_alone(problem: Problem) -> Problem:
    """Returns the problem of the channels: all bits at their most."""
    return held(problem, {d.name: d.values[-1] for d in problem.decisions.decisions if d.kind in BIT_KINDS})


def quantising_alone(problem: Problem) -> Problem:
    """Returns the problem of the bits: all channels stay."""
    return held(problem, {d.name: d.values[-1] for d in problem.decisions.decisions if d.kind == "channels"})


APPROACHES: dict[str, Callable[[Problem], Problem]] = {
    "joint": lambda problem: problem,
    "pruning alone": pruning_alone,
    "quantisation alone": quantising_alone,
}


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """States how much better joint search is than the better of either alone, by the means on validation images."""
    stated = []
    for joint in (row for row in rows if row["approach"] == "joint"):
        alone = [
            r
            for r in rows
            if (r["budget"], r["method"]) == (joint["budget"], joint["method"]) and r is not joint and "error" not in r
        ]
        stated.append({"budget": joint["budget"], "method": joint["method"], "best_alone": None, "difference": None})
        if alone:
            best = max(alone, key=lambda r: r["validation"]["mean"])
            gain = joint["validation"]["mean"] - best["validation"]["mean"]
            wide = max(joint["validation"]["std"], best["validation"]["std"])
            stated[-1] |= {
                "best_alone": best["approach"],
                "difference": gain,
                "more_than_the_spread": bool(gain > wide),
            }
    return stated


def table(facts: dict[str, Any], plan: Plan) -> str:
    """Writes the Markdown tables."""
    lines = [
        f"## Galen: pruning and quantisation on {plan.task}, {plan.device}",
        "",
        f"{plan.evaluations} evaluations each, {plan.seeds} seeds (mean ± standard deviation); accuracies in percent.",
        f"The uncompressed network has {100 * facts['baseline_test']:.2f} on test images. "
        + (
            "Fine-tuned is the best of an approach by validation accuracy, after "
            f"{plan.epochs} epochs in {PRECISIONS[plan.bf16]}."
            if plan.epochs
            else "Nothing was fine-tuned."
        ),
        "",
        CLAIM,
        "",
        "| latency | approach | method | predicted | validation | test | fine-tuned, test | seconds a search |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in facts["rows"]:
        head = f"| {row['budget']:.2f} | {row['approach']} | {row['method']} "
        if "error" in row:
            lines.append(f"{head}| nothing fits | | | | |")
            continue
        tuned = f"{100 * row['finetuned_test']:.2f}" if "finetuned_test" in row else ""
        numbers = " | ".join(points(row[key]) for key in ("predicted", "validation", "test"))
        lines.append(f"{head}| {numbers} | {tuned} | {row['seconds']:.1f} |")
    lines += [
        "",
        "| latency | method | the better of either alone | joint is better by, points (validation) | by more than the "
        "spread |",
        "|---|---|---|---|---|",
    ]
    for d in differences(facts["rows"]):
        head = f"| {d['budget']:.2f} | {d['method']} "
        if d["difference"] is None:
            lines.append(f"{head}| neither fits | | |")
        else:
            more = "yes" if d["more_than_the_spread"] else "no"
            lines.append(f"{head}| {d['best_alone']} | {100 * d['difference']:+.2f} | {more} |")
    return "\n".join([*lines, ""])


def series(facts: dict[str, Any]) -> dict[str, list[tuple[float, float, float]]]:
    """Returns what is drawn: accuracies on test images over latency."""
    drawn: dict[str, list[tuple[float, float, float]]] = {}
    for row in facts["rows"]:
        if "error" not in row:
            point = row["budget"], row["test"]["mean"], row["test"]["std"]
            drawn.setdefault(f"{row['approach']}, {row['method']}", []).append(point)
    return drawn
