"""HAT's comparison: transformers that searches find at a share of the largest one's latency, beside hand-made ones."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import MofNCompleteColumn, Progress

from agents.hyperparams import read_hyperparameters
from agents.learners import build, train
from agents.runs import Run, run_config
from agents.search import METHODS, search
from compress_gym.kinds.transformer_nas import KIND, TransformerNASEnv
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.compressor import vocabulary_of
from compress_gym.live.translation.scoring import bleu, translate
from compress_gym.live.translation.training import train_supertransformer
from compress_gym.making.train_translation import RECIPE
from compress_gym.networks.supertransformer import Transformer
from compress_gym.networks.transformer import DEPTH, Architecture
from compress_gym.problem import Problem
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.processor import torch_device_name
from compress_gym.support.workers import results_of
from compress_gym.tasks import Task, get_task

# Thirty generations of HAT's population.
EVALUATIONS = 3025
# Shares of the largest transformer's latency; HAT claims 1 / 2.7 without loss (and 1 / 3 on the Raspberry Pi).
BUDGETS = (1 / 2, 1 / 2.7, 1 / 3)
HAND_MADE = ("shallower", "narrower")
# What all are compared with.
LARGEST = "largest"
SEARCHES = ("random", "evolution", "hat-evolution")
LEARNERS = ("ddpg", "sac", "ppo")
COMPARED = (*HAND_MADE, *SEARCHES, *LEARNERS)
# Of every training from scratch.
_SEED = 0
# What one leaves in a row.
_SCRATCH = ("scratch", "scratch_test_bleu", "updates", "trained_on")
CLAIM = "HAT, WMT'14 En-De on a Raspberry Pi 4, beside a large transformer: 3 x faster, 3.7 x smaller, no loss of BLEU"


@dataclass(frozen=True)
class HATSetting:
    """One row of the table.

    Attributes:
        task: Name of the task.
        device: Name or path of the device.
        method: `LARGEST`, or a name of `HAND_MADE`, `SEARCHES` or `LEARNERS`.
        budget: Share of the largest transformer's latency.
        evaluations: What a search may ask.
        seed: Of everything random.
    """

    task: str
    device: str | None
    method: str
    budget: float
    evaluations: int = EVALUATIONS
    seed: int = 0


def shallower(problem: Problem) -> NDArray[np.int64]:
    """Returns the transformer with the most decoder layers that fits, everything else at its most, `[T]`.

    Raises:
        ValueError: None fits.
    """
    rows = np.tile(problem.decisions.uncompressed, (int(problem.decisions.sizes[_depth(problem)]), 1))
    rows[:, _depth(problem)] = np.arange(len(rows))
    return _largest_that_fits(problem, rows, "shallower")


def narrower(problem: Problem) -> NDArray[np.int64]:
    """Returns the widest transformer that fits, all genes at the same level but the depth at its most, `[T]`.

    Raises:
        ValueError: None fits.
    """
    highest = problem.decisions.sizes - 1
    levels = np.unique(np.concatenate([np.arange(n + 1) / max(n, 1) for n in highest]))
    rows = np.floor(levels[:, None] * highest + 1e-9).astype(np.int64)
    rows[:, _depth(problem)] = highest[_depth(problem)]
    return _largest_that_fits(problem, rows, "narrower")


def largest(problem: Problem) -> NDArray[np.int64]:
    """Returns the whole SuperTransformer, `[T]`."""
    return problem.decisions.uncompressed


_CHOICES = {LARGEST: largest, "shallower": shallower, "narrower": narrower}


def find(setting: HATSetting, folder: Path, **settings: Any) -> dict[str, Any]:
    """Chooses a transformer; a finished search is read from its folder.

    Args:
        setting: The row.
        folder: Its folder.
        **settings: Of the environment (`cost`, `accuracy`).

    Returns:
        The strategy, its predicted accuracy, the share of the bounded cost, and evaluations and seconds that were used;
        only an `error` where a hand-made choice does not fit.
    """
    path = folder / "found.json"
    if path.exists():
        return read_json(path)
    reward = "hat" if setting.method == "hat-evolution" else "accuracy"  # HAT's fitness is the loss
    env = TransformerNASEnv(setting.task, device=setting.device, budget=setting.budget, reward=reward, **settings)
    started = time.perf_counter()
    if setting.method in _CHOICES:
        try:
            rows = _CHOICES[setting.method](env.problem)[None]
        except ValueError as error:
            return {"error": str(error)}
        evaluation = env.problem.evaluate(rows)
        found = {
            "strategy": env.problem.describe(rows[0]),
            "predicted_accuracy": float(evaluation.accuracy[0]),
            "cost_ratio": float(evaluation.cost_ratio[0]),
            "evaluations": 1,
        }
    else:
        if setting.method in METHODS:
            scored = list(search(env.problem, setting.method, setting.evaluations, setting.seed))
        else:
            scored = _learn(setting, env, folder)
        best = max((s for s in scored if s.feasible), key=lambda s: s.reward)
        found = {
            "strategy": dict(best.strategy),
            "predicted_accuracy": best.accuracy,
            "cost_ratio": best.cost_ratio,
            "evaluations": len(scored),
        }
    found["seconds"] = round(time.perf_counter() - started, 1)
    _write(path, found)
    return found


@dataclass(frozen=True)
class Scratch:
    """How transformers are trained from scratch: one recipe for all of a table.

    Attributes:
        minutes: For so long, with a learning rate that is not lowered at the end, since how many updates fit into the
            time is not known before; `None`: for `updates`, with the whole recipe.
        updates: For so many updates.
        tokens: Most tokens of a batch, padding included.
        device: Where, `cpu` or `cuda`.
    """

    minutes: float | None = None
    updates: int | None = None
    tokens: int = RECIPE.tokens
    device: str = "cpu"

    def train(self, module: Transformer, pairs: TokenPairs, checkpoint: Path) -> int:
        """Trains a module in place and returns the number of updates; with `updates`, it goes on from a checkpoint."""
        module.to(self.device)
        bf16 = self.device == "cuda"
        if self.updates is not None:
            recipe = replace(RECIPE, updates=self.updates, tokens=self.tokens)
            return train_supertransformer(module, None, pairs, recipe, _SEED, checkpoint, bf16=bf16)
        assert self.minutes is not None
        recipe = replace(RECIPE, descent=0.0, tokens=self.tokens)
        return train_supertransformer(module, None, pairs, recipe, _SEED, until=self.minutes * 60, bf16=bf16)


@dataclass(frozen=True)
class HATPlan:
    """What is compared.

    Attributes:
        task: Name of the task.
        device: Name or path of the device.
        evaluations: What each search may ask.
        seeds: Runs of each search.
        learner_seeds: Runs of each learner.
        winners: So many of what was searched are trained from scratch, of each budget the best by predicted accuracy.
    """

    task: str
    device: str | None
    evaluations: int = EVALUATIONS
    seeds: int = 3
    learner_seeds: int = 1
    winners: int = 1


def compare(plan: HATPlan, folder: Path, scratch: Scratch | None, workers: int) -> list[dict[str, Any]]:
    """Searches, scores, and trains from scratch what the plan says; what is finished is read.

    Args:
        plan: What is compared.
        folder: Holds searches and scores.
        scratch: How the largest transformer, the hand-made ones and the winners are trained; `None`: they are not.
        workers: Transformers that are scored and trained at once, a process each.

    Returns:
        The rows of the table.
    """
    rows, trained = [], set[str]()
    for budget, methods in ((1.0, (LARGEST,)), *((budget, COMPARED) for budget in BUDGETS)):
        own = [_best_of_seeds(plan, method, budget, folder) for method in methods]
        searched = [row for row in own if row["method"] in (*SEARCHES, *LEARNERS)]
        wanted = sorted(searched, key=lambda row: -row["predicted_accuracy"])[: plan.winners]
        wanted += [row for row in own if row["method"] in (LARGEST, *HAND_MADE) and "error" not in row]
        trained |= {_digest(row["strategy"]) for row in wanted}
        rows += own
    distinct = {_digest(row["strategy"]): row["strategy"] for row in rows if "error" not in row}
    # The long ones first.
    order = sorted(distinct, key=lambda digest: digest not in trained)
    jobs = [
        (plan.task, distinct[digest], folder / "scored" / digest, scratch if digest in trained else None)
        for digest in order
    ]
    scored = {}
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        bar = progress.add_task("scoring and training", total=len(jobs))
        for number, scores in results_of(score, jobs, workers):
            scored[order[number]] = scores
            progress.advance(bar)
    return [row if "error" in row else {**row, **scored[_digest(row["strategy"])]} for row in rows]


def _best_of_seeds(plan: HATPlan, method: str, budget: float, folder: Path) -> dict[str, Any]:
    """Returns the row of what a method finds at a budget: of its runs, the one that is predicted best."""
    runs = plan.seeds if method in SEARCHES else plan.learner_seeds if method in LEARNERS else 1
    found = []
    for seed in range(runs):
        setting = HATSetting(plan.task, plan.device, method, budget, plan.evaluations, seed)
        found.append(find(setting, folder / f"{budget:.3f}" / method / f"seed-{seed}"))
    predicted = [one.get("predicted_accuracy", 0.0) for one in found]
    return {"method": method, "budget": budget, **found[int(np.argmax(predicted))], "predicted_of_seeds": predicted}


def _digest(strategy: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(strategy, sort_keys=True).encode()).hexdigest()[:12]


def score(task_name: str, strategy: dict[str, int], folder: Path, scratch: Scratch | None) -> dict[str, Any]:
    """Translates the sentences with inherited weights and, if so wished, after training from scratch.

    Finished scores are read; a training by updates that was killed goes on.

    Args:
        task_name: The task.
        strategy: The transformer's genes.
        folder: Where its scores lie.
        scratch: How to train; `None` does not.
    """
    path, task = folder / "scores.json", get_task(task_name)
    scores = read_json(path) if path.exists() else {}
    if scratch is None or scores.get("scratch") != asdict(scratch):  # of another recipe
        scores = {name: value for name, value in scores.items() if name not in _SCRATCH}
    architecture = task.network().architecture(strategy)
    if "inherited_test_bleu" not in scores:
        for split in ("validation", "test"):
            scores[f"inherited_{split}_bleu"] = _bleu(task, task.trained_module(), split, architecture)
        scores["parameters"] = sum(p.numel() for p in Transformer(architecture).parameters())
        _write(path, scores)
    if scratch is not None and "scratch" not in scores:
        torch.manual_seed(_SEED)
        module = Transformer(architecture, RECIPE.dropout)
        pairs = TokenPairs.encode(task.split("train"), vocabulary_of(task))
        scores["updates"] = scratch.train(module, pairs, folder / f"{_digest(asdict(scratch))}.safetensors")
        scores |= {"scratch": asdict(scratch), "trained_on": torch_device_name(scratch.device)}
        scores["scratch_test_bleu"] = _bleu(task, module.to("cpu"), "test", architecture)
        _write(path, scores)
    return scores


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_atomically(path, lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))


def table(rows: list[dict[str, Any]], task: str) -> str:
    """Writes the Markdown table of a task."""
    lines = [
        f"## {task}: transformers at a share of the largest one's latency",
        "",
        "BLEU on validation sentences (predicted, and of inherited weights) and on test sentences, which chose nothing",
        "(of inherited weights); of several seeds the one that is predicted best is shown.",
        f"Scratch: BLEU on test sentences after training from scratch{_how(rows)}.",
        f"{CLAIM} (its abstract).",
        "",
        "| budget | method | latency | parameters | predicted | of each seed | validation | test | scratch "
        "| evaluations | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['budget']:.3f} | {row['method']} "
        if "error" in row:
            lines.append(f"{head}| {row['error']} | | | | | | | | |")
            continue
        bleus = [100 * row["predicted_accuracy"], row["inherited_validation_bleu"], row["inherited_test_bleu"]]
        shown = [f"{x:.2f}" for x in bleus]
        shown.insert(1, ", ".join(f"{100 * x:.2f}" for x in row["predicted_of_seeds"]))
        shown.append(_after_training(row))
        lines.append(
            f"{head}| {row['cost_ratio']:.3f} | {row['parameters']:,} | {' | '.join(shown)} | {row['evaluations']} "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join([*lines, ""])


def _after_training(row: dict[str, Any]) -> str:
    """Returns the BLEU of a row that was trained from scratch, with its number of updates where time was given."""
    if "scratch" not in row:
        return ""
    bleu_after = f"{row['scratch_test_bleu']:.2f}"
    return bleu_after if row["scratch"]["minutes"] is None else f"{bleu_after} ({row['updates']:,} updates)"


def _how(rows: list[dict[str, Any]]) -> str:
    """Says how the transformers of a table were trained from scratch."""
    trained = [row for row in rows if "scratch" in row]
    if not trained:
        return " was not measured"
    scratch, machines = trained[0]["scratch"], sorted({row["trained_on"] for row in trained})
    length = f"{scratch['minutes']:g} minutes" if scratch["updates"] is None else f"{scratch['updates']:,} updates"
    return f": {length} of {scratch['tokens']:,} tokens each with one recipe, on {' and '.join(machines)}"


def _learn(setting: HATSetting, env: TransformerNASEnv, folder: Path) -> Any:
    settings = read_hyperparameters(setting.method, KIND.id)
    config = run_config("learner", setting.method, KIND.id, {}, env, setting.seed, setting.evaluations)
    model = build(setting.method, env, settings, setting.seed)
    with Run(folder / f"run-{int(time.time())}", config) as run:
        train(model, run, setting.evaluations)
    return run.scored


def _bleu(task: Task, module: Any, split: str, architecture: Architecture) -> float:
    pairs = task.split(split)
    return round(bleu(translate(module, vocabulary_of(task), pairs.source, architecture), pairs.target).score, 2)


def _depth(problem: Problem) -> int:
    return problem.decisions.names.index(DEPTH)


def _largest_that_fits(problem: Problem, rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    rows = problem.decisions.check(rows)
    fitting = np.flatnonzero(problem.costs(rows)[problem.cost] <= problem.cost_limit)
    if not len(fitting):
        raise ValueError(f"no {name} transformer fits budget={problem.budget:.4f}")
    return rows[fitting[-1]]
