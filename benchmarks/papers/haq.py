"""HAQ's comparison: mixed precision that is found beside the same bits in all layers, at equal latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.papers.live_scores import PRECISIONS, PaperScores
from benchmarks.papers.winners import (
    SPLITS,
    asked,
    epochs,
    exceeds,
    name_of,
    points,
    require_fast,
    searches_folder,
    spread,
    verdict,
    winners,
)
from compress_gym.kinds import Case, get_case
from compress_gym.problem import Problem
from compress_gym.problem.scores import MeasuredAccuracy

KIND = "MixedQuant-v0"
EVALUATIONS, SEEDS = 600, 10
FINETUNE_EPOCHS = 5
METHODS = ("ddpg", "annealing")  # HAQ's learner, and a search without learning
# Bits of weights and of inputs whose latencies are the budgets: HAQ's, and those that are there where 5 and 6 are not.
PAPERS_BITS, OTHER_BITS = ((4, 4), (5, 5), (6, 6)), ((2, 4), (4, 4), (4, 8))
# Wang et al. 2019, MobileNet-V1 on ImageNet, the edge accelerator, quoted from memory: top-1 of uniform and of mixed
# bits, at the latency of 4, 5 and 6 bits.
RECALLED = (
    {"bits": 4, "uniform": 62.44, "mixed": 67.40},
    {"bits": 5, "uniform": 67.00, "mixed": 70.58},
    {"bits": 6, "uniform": 70.46, "mixed": 71.20},
)


@dataclass(frozen=True)
class HAQPlan:
    """What is compared.

    Attributes:
        task: Name of the task.
        device: Name of the device.
        methods: Learners and searches.
        evaluations: What each may ask.
        seeds: Searches of each method, at each latency.
        epochs: Of fine-tuning; 0: none.
        bf16: Whether fine-tuning computes in bfloat16.
        longer: What searches without learning may ask as well, see `asked`; 0: they do not.
    """

    task: str = "digits-cnn"
    device: str = "bitfusion"
    methods: tuple[str, ...] = METHODS
    evaluations: int = EVALUATIONS
    seeds: int = SEEDS
    epochs: int = FINETUNE_EPOCHS
    bf16: bool = False
    longer: int = 0

    @property
    def case(self) -> Case:
        """The task, quantised."""
        return get_case(KIND, self.task)


def compare(plan: HAQPlan, work: Path, workers: int = 1) -> dict[str, Any]:
    """Compares at each latency; what is finished is read from the folder; so many workers search and score.

    The budget is kept by HAQ's rule (`repair`), the reward is HAQ's. Uniform is the best of all strategies with the
    same bits in every layer that fit the latency.

    Returns:
        `rows`: one for each latency and search. `finetuned`: the two best of both kinds at each latency, empty where
        nothing is fine-tuned.

    Raises:
        KeyError: Unknown method.
        ValueError: Methods and evaluations that `asked` refuses, or accuracies that are scored live.
    """
    searched = asked(plan.methods, plan.evaluations, plan.longer)
    case = plan.case
    whole = case.problem(plan.device, budget=1.0, budget_rule="repair", reward="haq")
    require_fast(case, whole)
    live = PaperScores(case, whole.decisions, work / "live", workers, plan.bf16)
    rows, two_best = list[dict[str, Any]](), list[dict[str, Any]]()
    for pair, published in zip(bit_pairs(whole), RECALLED, strict=True):
        row = uniform(whole, *pair)
        problem = whole.replace(budget=float(whole.evaluate(row).cost_ratio[0]))
        same = live.rank([problem.describe(row) for row in _uniform_within(problem)], 2)
        alike, best_of_all = {split: live(same[0], split) for split in SPLITS}, _best_of_all(problem)
        found_by = dict[str, list[Mapping[str, int]]]()
        for method, evaluations in searched:
            folder = searches_folder(work, case, evaluations)
            files = [folder / f"{pair[0]}-{pair[1]}" / f"{method}-{seed}.json" for seed in range(plan.seeds)]
            name = name_of(method, evaluations)
            told = f"{name} at the latency of {pair}"
            found = winners(problem, method, evaluations, KIND, files, told, workers)
            mixed = [f["strategy"] for f in found]
            found_by[name] = mixed
            on = {split: spread(live.all(mixed, split)) for split in SPLITS}
            costs = problem.costs([problem.decisions.encode(s) for s in mixed])[problem.cost]
            rows.append(
                {
                    "bits": list(pair),
                    "latency": problem.budget,
                    "method": method,
                    "uniform": {"bits": _bits(problem, same[0]), **alike, "strategy": dict(same[0])},
                    "mixed": {
                        "latency": float(costs.mean()) / problem.baseline_costs[problem.cost],
                        "predicted": spread([f["accuracy"] for f in found]),
                        **on,
                    },
                    "better": {split: exceeds(on[split], {"mean": alike[split], "std": 0.0}) for split in SPLITS},
                    "best_of_all": best_of_all,
                    "evaluations": evaluations,
                    "seconds": float(np.mean([f["seconds"] for f in found])),
                    "recalled": published,
                }
            )
        best = live.rank([s for mixed in found_by.values() for s in mixed], 2)
        names = [[name for name, mixed in found_by.items() if s in mixed] for s in best]
        two_best.append({"bits": list(pair), "uniform": same, "mixed": best, "found_by": names})
    return {"rows": rows, "finetuned": _finetuned(two_best, live, plan) if plan.epochs else []}


def _finetuned(two_best: list[dict[str, Any]], live: PaperScores, plan: HAQPlan) -> list[dict[str, Any]]:
    every = [s for two in two_best for kind in ("uniform", "mixed") for s in two[kind]]
    for trained in (0, plan.epochs):
        live.all(every, "test", trained)  # all together: every worker has something to do

    def scored(strategies: list[Mapping[str, int]]) -> list[dict[str, Any]]:
        return [
            {"strategy": dict(s), "test_before": live(s, "test"), "test": live(s, "test", plan.epochs)}
            for s in strategies
        ]

    return [
        {
            "bits": two["bits"],
            "uniform": scored(two["uniform"]),
            "mixed": [s | {"found_by": by} for s, by in zip(scored(two["mixed"]), two["found_by"], strict=True)],
        }
        for two in two_best
    ]


def bit_pairs(problem: Problem) -> Sequence[tuple[int, int]]:
    """Returns the uniform bits whose latencies are the budgets: the paper's where the problem has them."""
    legal = set.intersection(*(set(d.values) for d in problem.decisions.decisions))
    return PAPERS_BITS if {bits for pair in PAPERS_BITS for bits in pair} <= legal else OTHER_BITS


def uniform(problem: Problem, weights: int, inputs: int) -> Any:
    """Returns the strategy of the same bits in all layers, `[T]`."""
    bits = {"weight_bits": weights, "activation_bits": inputs}
    return problem.decisions.encode({d.name: bits[d.kind] for d in problem.decisions.decisions})


def table(facts: Mapping[str, Any], plan: HAQPlan) -> str:
    """Writes the Markdown tables: measured beside recalled."""
    others = {tuple(row["bits"]) for row in facts["rows"]} - set(PAPERS_BITS)
    stand_in = ["The device has no 5 and 6 bits, so the latencies of other bits stand for theirs."] if others else []
    more = ["Searches that may ask more begin as those of the same seed that may ask less."] if plan.longer else []
    lines = [
        f"## HAQ: mixed precision on {plan.task}, {plan.device}",
        "",
        f"Searches (in brackets how many evaluations each may ask), {plan.seeds} seeds (mean ± standard deviation).",
        "Accuracies in percent, before fine-tuning unless said; validation images choose, so what they say is partly",
        "chance. Budgets are the latencies of uniform bits (of weights / of inputs) as a share of that of 8 / 8;",
        "uniform is the best of all that fit. It is one of the mixed strategies, too: where they are worse, a search",
        "did not find it, or was told that another is better (predicted: what searches were told). The last column is",
        "the paper's, recalled, fine-tuned there: another network (MobileNet-V1 on ImageNet), another device (its edge",
        "accelerator), uniform (PACT) and mixed 4, 5 and 6 bits.",
        *stand_in,
        *more,
        "",
        "| latency of | share | uniform | validation | test | mixed, found by | share used | predicted | validation "
        "| test | better by, validation / test | by more than its spread | best of all, validation | HAQ (recalled) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in facts["rows"]:
        best = "" if row["best_of_all"] is None else f"{100 * row['best_of_all']:.2f}"
        same, mixed, published = row["uniform"], row["mixed"], row["recalled"]
        name = name_of(row["method"], row["evaluations"])
        lines.append(
            f"| {row['bits'][0]}/{row['bits'][1]} | {row['latency']:.3f} | {same['bits'][0]}/{same['bits'][1]} "
            f"| {100 * same['validation']:.2f} | {100 * same['test']:.2f} | {name} | {mixed['latency']:.3f} | "
            + " | ".join(points(mixed[key]) for key in ("predicted", *SPLITS))
            + f" | {verdict(row['better'])} | {best} "
            f"| {published['bits']} bits: {published['uniform']:.2f} → {published['mixed']:.2f} |"
        )
    return "\n".join([*lines, "", *_finetuned_lines(facts["finetuned"], plan), ""])


def _finetuned_lines(finetuned: Sequence[Mapping[str, Any]], plan: HAQPlan) -> list[str]:
    if not plan.epochs:
        return ["Nothing was fine-tuned."]
    lines = [
        f"The two best of each by validation accuracy (of equals the first that is listed), before and after "
        f"{epochs(plan.epochs)} of fine-tuning in {PRECISIONS[plan.bf16]} (test images):",
        "",
        "| latency of | uniform, best | second | mixed, best | found by | second | found by "
        "| best mixed better by, before / after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in finetuned:
        cells = [_cells(row["uniform"], n) for n in range(2)]
        cells += [f"{_cells(row['mixed'], n)} | {_finders(row['mixed'], n)}" for n in range(2)]
        better = (f"{100 * (row['mixed'][0][key] - row['uniform'][0][key]):+.2f}" for key in ("test_before", "test"))
        lines.append(f"| {row['bits'][0]}/{row['bits'][1]} | {' | '.join(cells)} | {' / '.join(better)} |")
    return lines


def _cells(tuned: Sequence[Mapping[str, Any]], n: int) -> str:
    return f"{100 * tuned[n]['test_before']:.2f} → {100 * tuned[n]['test']:.2f}" if n < len(tuned) else ""


def _finders(tuned: Sequence[Mapping[str, Any]], n: int) -> str:
    return ", ".join(tuned[n]["found_by"]) if n < len(tuned) else ""


def series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float, float]]]:
    """Returns what is drawn: accuracies on test images over latency."""
    uniform = {row["latency"]: row["uniform"]["test"] for row in rows}
    drawn = {"uniform": [(latency, accuracy, 0.0) for latency, accuracy in uniform.items()]}
    for row in rows:
        found, name = row["mixed"]["test"], name_of(row["method"], row["evaluations"])
        drawn.setdefault(f"mixed, {name}", []).append((row["latency"], found["mean"], found["std"]))
    return drawn


def _uniform_within(problem: Problem) -> list[Any]:
    legal = sorted(set.intersection(*(set(d.numbers) for d in problem.decisions.decisions)))
    rows = [uniform(problem, w, a) for w in legal for a in legal]
    fits = problem.evaluate(np.array(rows)).feasible
    return [row for row, fit in zip(rows, fits, strict=True) if fit]


def _bits(problem: Problem, strategy: Mapping[str, int]) -> list[int]:
    kinds = {d.kind: strategy[d.name] for d in problem.decisions.decisions}
    return [kinds["weight_bits"], kinds["activation_bits"]]


def _best_of_all(problem: Problem) -> float | None:
    if not isinstance(problem.accuracy_model, MeasuredAccuracy):
        return None
    return float(problem.accuracy(problem.optimum(problem.budget))[0])
