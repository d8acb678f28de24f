"""Galen's comparison: pruning and quantising together beside either alone, at equal cost and equal evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.live_scores import PRECISIONS, PaperScores, finetune_recipes
from benchmarks.papers.winners import (
    SPLITS,
    asked,
    epochs,
    exceeds,
    held,
    name_of,
    points,
    require_fast,
    searches_folder,
    spread,
    told_by,
    verdict,
    winners,
    within,
)
from compress_gym.kinds import Case, get_case
from compress_gym.problem import Problem
from compress_gym.problem.decisions import BIT_KINDS

KIND = "JointPQ-v0"
# Galen searches for 410 episodes and trains the chosen network for 30 epochs; its claim is about 20 % of the latency.
EVALUATIONS, SEEDS, FINETUNE_EPOCHS = 410, 10, 30
# At a half either alone still fits, where below it may not.
BUDGETS = (0.5, 0.3, 0.2, 0.15)
CLAIMED, ALLOWED_LOSS = 0.2, 0.01 + 1e-9  # a point of so many images is a point
COSTS = {"latency_ms": "latency", "bops": "bit operations"}  # what Galen bounds
METHODS = ("ddpg", "evolution")
CLAIM = (
    "Galen (its abstract): ResNet-18 on CIFAR-10, an ARM processor: 20 % of the latency without significant loss of "
    "accuracy; joint search is superior to either alone."
)


@dataclass(frozen=True)
class GalenPlan:
    """What is compared.

    Attributes:
        task: Name of the task.
        device: Name of the device.
        methods: Learners and searches.
        evaluations: What each search may ask.
        seeds: Searches of each method, at each budget.
        epochs: Of fine-tuning the best of each approach; 0: none.
        budgets: Shares of the cost of the uncompressed network with 8 bits.
        bf16: Whether fine-tuning computes in bfloat16.
        cost: What is bounded, one of `COSTS`.
        tuned: Budgets at which the best of each approach is fine-tuned.
        longer: What searches without learning may ask as well, see `asked`; 0: they do not.

    Raises:
        ValueError: One of those is no budget.
    """

    task: str = "digits-cnn"
    device: str = "bismo-edge"
    methods: tuple[str, ...] = METHODS
    evaluations: int = EVALUATIONS
    seeds: int = SEEDS
    epochs: int = FINETUNE_EPOCHS
    budgets: tuple[float, ...] = BUDGETS
    bf16: bool = False
    cost: str = "latency_ms"
    tuned: tuple[float, ...] = (CLAIMED,)
    longer: int = 0

    def __post_init__(self) -> None:
        """Checks what is fine-tuned."""
        stray = [budget for budget in self.tuned if budget not in self.budgets]
        if stray and self.epochs:
            raise ValueError(f"--tuned {stray} must be among --budget {list(self.budgets)}, or --epochs 0")

    @property
    def case(self) -> Case:
        """The task, pruned and quantised."""
        return get_case(KIND, self.task)


def compare(plan: GalenPlan, work: Path, workers: int = 1) -> dict[str, Any]:
    """Compares at each budget; what is finished is read from the folder; so many workers search and score.

    Either alone is the same problem with the other kind of decision held at its most, so all three are scored by the
    same accuracy model; what each search found is then scored live.

    Returns:
        `baseline_test`, the accuracy of the uncompressed network; `rows`, one for each budget, method and approach; and
        `finetuned`, one for each approach at the budgets where that is asked.

    Raises:
        KeyError: Unknown method.
        ValueError: Methods and evaluations that `asked` refuses, or accuracies that are scored live.
    """
    searched = asked(plan.methods, plan.evaluations, plan.longer)
    case = plan.case
    problem = case.problem(plan.device, cost=plan.cost, reward="accuracy", budget=1.0)
    require_fast(case, problem)
    live = PaperScores(case, problem.decisions, work / "live", workers, plan.bf16)
    rows, chosen = list[dict[str, Any]](), list[dict[str, Any]]()
    for budget in plan.budgets:
        whole = within(problem, budget)
        for approach, restrict in APPROACHES.items():
            best = list[Mapping[str, int]]()
            restricted = None if whole is None else restrict(case, whole)
            for method, evaluations in searched:
                row: dict[str, Any] = {"budget": budget, "approach": approach, "method": method}
                row["evaluations"] = evaluations
                rows.append(row | {"fits": restricted is not None})
                if restricted is None:
                    continue
                folder = searches_folder(work, case, evaluations) / f"{budget:g}"
                files = [folder / approach.replace(" ", "-") / f"{method}-{seed}.json" for seed in range(plan.seeds)]
                told = f"{approach}, {name_of(method, evaluations)} at {budget:.0%}"
                found = winners(restricted, method, evaluations, KIND, files, told, workers)
                strategies = [f["strategy"] for f in found]
                best += strategies
                rows[-1] |= {
                    "predicted": spread([f["accuracy"] for f in found]),
                    **{split: spread(live.all(strategies, split)) for split in SPLITS},
                    "seconds": sum(f["seconds"] for f in found) / len(found),
                }
            if best and plan.epochs and budget in plan.tuned:
                chosen.append({"budget": budget, "approach": approach, "strategy": dict(live.rank(best, 1)[0])})
    baseline = float(case.scorer(recovery="none", split="test").baseline)
    return {"baseline_test": baseline, "rows": rows, "finetuned": _finetuned(chosen, live, plan, baseline)}


def _finetuned(
    chosen: list[dict[str, Any]], live: PaperScores, plan: GalenPlan, baseline: float
) -> list[dict[str, Any]]:
    strategies = [c["strategy"] for c in chosen]
    before, after = live.all(strategies, "test"), live.all(strategies, "test", plan.epochs)
    return [
        {**c, "test_before": b, "test": a, "lost": baseline - a} for c, b, a in zip(chosen, before, after, strict=True)
    ]


def pruning_alone(case: Case, problem: Problem) -> Problem | None:
    """Returns the problem of the channels: all bits at their references; `None` where nothing fits."""
    whole = problem.describe(problem.decisions.uncompressed)
    return held(case, problem, {d.name: whole[d.name] for d in problem.decisions.decisions if d.kind in BIT_KINDS})


def quantising_alone(case: Case, problem: Problem) -> Problem | None:
    """Returns the problem of the bits: all channels stay; `None` where nothing fits."""
    whole = problem.describe(problem.decisions.uncompressed)
    return held(case, problem, {d.name: whole[d.name] for d in problem.decisions.decisions if d.kind == "channels"})


APPROACHES: dict[str, Callable[[Case, Problem], Problem | None]] = {
    "joint": lambda _, problem: problem,
    "pruning alone": pruning_alone,
    "quantisation alone": quantising_alone,
}


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """States how much better joint search is than the better (by validation images) of either alone, on the means."""
    stated = []
    for joint in (row for row in rows if row["approach"] == "joint"):
        same = [r for r in rows if _searched(r) == _searched(joint) and r["fits"]]
        alone = [r for r in same if r is not joint]
        stated.append({**_searched(joint), "best_alone": None})
        if alone:
            best = max(alone, key=lambda r: r["validation"]["mean"])
            stated[-1] |= {"best_alone": best["approach"]}
            stated[-1] |= {split: exceeds(joint[split], best[split]) for split in SPLITS}
    return stated


def _searched(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("budget", "method", "evaluations") if key in row}


def table(facts: dict[str, Any], plan: GalenPlan) -> str:
    """Writes the Markdown tables."""
    cost = COSTS[plan.cost]
    more = ["In brackets: searches that may ask so often instead, and begin alike."] if plan.longer else []
    lines = [
        f"## Galen: pruning and quantisation on {plan.task}, {plan.device}, within {cost}",
        "",
        f"{plan.evaluations} evaluations each, {plan.seeds} seeds (mean ± standard deviation); accuracies in percent.",
        f"The uncompressed network has {100 * facts['baseline_test']:.2f} on test images. Budgets are shares of its",
        f"{cost} with 8 bits (Galen's are of full precision, which this device does not compute). Joint search has all",
        "strategies of either alone among its own: where it is worse, its searches did not find them, or were told",
        "that others are better (predicted: what searches were told).",
        *more,
        "",
        CLAIM,
        *told_by(facts),
        "",
        f"| {cost} | approach | method | predicted | validation | test | seconds a search |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in facts["rows"]:
        head = f"| {row['budget']:.2f} | {row['approach']} | {_name(row, plan)} "
        if not row["fits"]:
            lines.append(f"{head}| nothing fits | | | |")
            continue
        numbers = " | ".join(points(row[key]) for key in ("predicted", *SPLITS))
        lines.append(f"{head}| {numbers} | {row['seconds']:.1f} |")
    lines += [
        "",
        f"| {cost} | method | the better of either alone | joint is better by, points (validation / test) "
        "| by more than the spread |",
        "|---|---|---|---|---|",
    ]
    for d in differences(facts["rows"]):
        told = f"{d['best_alone']} | {verdict(d)}" if d["best_alone"] else "neither fits | | "
        lines.append(f"| {d['budget']:.2f} | {_name(d, plan)} | {told} |")
    return "\n".join([*lines, "", *_finetuned_lines(facts["finetuned"], plan), ""])


def _finetuned_lines(rows: list[dict[str, Any]], plan: GalenPlan) -> list[str]:
    if not rows:
        return ["Nothing was fine-tuned."]
    return [
        f"The best of each approach by validation accuracy, fine-tuned for {epochs(plan.epochs)} in "
        f"{PRECISIONS[plan.bf16]} (test images){_rates(plan)}:",
        "",
        f"| {COSTS[plan.cost]} | approach | before | after | lost, of the uncompressed | at most a point |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['budget']:.2f} | {r['approach']} | {100 * r['test_before']:.2f} | {100 * r['test']:.2f} "
            f"| {100 * r['lost']:.2f} | {'yes' if r['lost'] <= ALLOWED_LOSS else 'no'} |"
            for r in rows
        ),
    ]


def _rates(plan: GalenPlan) -> str:
    """Says where learning rates differ: pruned networks have more to learn."""
    pruned, quantised = (recipe.peak_lr for recipe in finetune_recipes(plan.case.task))
    return "" if pruned == quantised else f", at a peak rate of {pruned:g}, where all channels stay of {quantised:g}"


def _name(row: Mapping[str, Any], plan: GalenPlan) -> str:
    """Writes the method, with what it may ask where that is not the plan's (older reports have but one)."""
    evaluations = row.get("evaluations", plan.evaluations)
    return str(row["method"]) if evaluations == plan.evaluations else name_of(row["method"], evaluations)


def series(facts: dict[str, Any], plan: GalenPlan) -> dict[str, list[tuple[float, float, float]]]:
    """Returns what is drawn: accuracies on test images over the bounded cost."""
    drawn: dict[str, list[tuple[float, float, float]]] = {}
    for row in (row for row in facts["rows"] if row["fits"]):
        point = row["budget"], row["test"]["mean"], row["test"]["std"]
        drawn.setdefault(f"{row['approach']}, {_name(row, plan)}", []).append(point)
    return drawn
