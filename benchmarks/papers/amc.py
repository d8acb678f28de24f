"""AMC's CIFAR table: hand-made policies, random search and DDPG at half the MACs, before and after fine-tuning."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from agents.hyperparams import read_hyperparameters
from agents.learners import build, train
from agents.runs import Run, run_config
from agents.search import METHODS, search
from benchmarks.papers.live_scores import PRECISIONS
from compress_gym.envs.compression import CompressionEnv
from compress_gym.kinds import Case, get_case
from compress_gym.support.cards import read_json, write_atomically

KIND = "ChannelPrune-v0"
EPISODES = 400
BUDGET = 0.5
FINETUNE_EPOCHS = 20
SEARCHES = ("uniform", "shallow-heavy", "deep-heavy", "random")
LEARNERS = ("ddpg-amc", "ddpg")
# He et al. 2018, table 2, quoted from memory: validation and test accuracy before, test accuracy after fine-tuning.
RECALLED: dict[str, dict[str, tuple[float, float, float]]] = {
    "cifar10-plain20": {
        "deep-heavy": (79.6, 79.2, 88.3),
        "shallow-heavy": (83.2, 82.9, 89.2),
        "uniform": (84.0, 83.9, 89.7),
        "ddpg-amc": (86.4, 86.0, 90.2),
    },
    "cifar10-resnet56": {
        "uniform": (87.5, 87.4, 89.8),
        "deep-heavy": (88.4, 88.4, 91.5),
        "ddpg-amc": (90.2, 90.1, 91.9),
    },
}


@dataclass(frozen=True)
class AMCSetting:
    """One row of the table.

    Attributes:
        task: Name of the task.
        method: A name of `SEARCHES` or `LEARNERS`.
        seed: Of everything random.
        bf16: Whether candidates are scored, and fine-tuned, in bfloat16. What is reported of a strategy before
            fine-tuning is scored in float32.
    """

    task: str
    method: str
    seed: int = 0
    bf16: bool = False

    @property
    def case(self) -> Case:
        """The task, pruned."""
        return get_case(KIND, self.task)

    @property
    def precision(self) -> str:
        """In which candidates are scored, and fine-tuned."""
        return PRECISIONS[self.bf16]


def identity(setting: AMCSetting) -> dict[str, Any]:
    """Returns what the results of a task's settings depend on; a folder of others is refused.

    Raises:
        AssetError: The task's weights are not there; the message says what makes them.
    """
    task = setting.case.task
    task.trained_module()
    return {
        "task": task.name,
        "task_version": task.version,
        "weights_sha256": task.weights_digest,
        "recovery": task.recovery,
        "seed": setting.seed,
        "episodes": EPISODES,
        "budget": BUDGET,
        "finetune_epochs": FINETUNE_EPOCHS,
        "bf16": setting.bf16,
        "hyperparameters": {method: read_hyperparameters(method, KIND) for method in LEARNERS},
    }


def find(setting: AMCSetting, folder: Path) -> dict[str, Any]:
    """Searches live for the best strategy at half the MACs; a finished search is read from its folder.

    Returns:
        The strategy, its validation accuracy, the number of evaluations and the seconds they took.
    """
    path = folder / "found.json"
    if path.exists():
        return read_json(path)
    case = setting.case
    problem = case.problem(None, "live", cost="macs", budget=BUDGET, reward="accuracy")
    exact = problem.accuracy_model
    if setting.bf16:
        problem = replace(problem, accuracy_model=case.scorer(precision=setting.precision, threads=None))
    started = time.perf_counter()
    if setting.method in METHODS:
        scored = list(search(problem, setting.method, EPISODES, setting.seed))
    else:
        scored = _learn(setting, CompressionEnv(problem), folder)
    best, seconds = max(scored, key=lambda s: s.reward), time.perf_counter() - started
    found = {
        "strategy": dict(best.strategy),
        "validation_accuracy": float(exact(problem.decisions.encode(best.strategy))[0]),
        "macs": best.cost_ratio,
        "evaluations": len(scored),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "precision": setting.precision,
    }
    write_atomically(path, lambda p: p.write_text(json.dumps(found, indent=1) + "\n"))
    return found


def _learn(setting: AMCSetting, env: CompressionEnv, folder: Path) -> Any:
    settings = read_hyperparameters(setting.method, KIND)
    config = run_config("learner", setting.method, KIND, {}, env, setting.seed, EPISODES)
    model = build(setting.method, env, settings, setting.seed)
    with Run(folder / f"run-{int(time.time())}", config) as run:
        train(model, run, EPISODES)
    return run.scored


def score(setting: AMCSetting, found: dict[str, Any], folder: Path, finetune: bool) -> dict[str, Any]:
    """Scores a found strategy on test images, before and after fine-tuning; finished scores are read.

    Returns:
        `test_accuracy` and, if it is asked for, `finetuned_test_accuracy` (else `None`), and the precision that it was
        trained and scored in.
    """
    path, case = folder / "scores.json", setting.case
    scores = read_json(path) if path.exists() else {}
    if scores.get("strategy") != found["strategy"]:  # searched again
        scores = {"strategy": found["strategy"]}
    row = case.decisions().encode(found["strategy"])
    if "test_accuracy" not in scores:
        scores["test_accuracy"] = float(case.scorer(split="test", threads=None)(row)[0])
        write_atomically(path, lambda p: p.write_text(json.dumps(scores, indent=1) + "\n"))
    if finetune and "finetuned_test_accuracy" not in scores:
        recovery = f"{case.task.recovery}+finetune-{FINETUNE_EPOCHS}"
        scores["finetune_precision"] = setting.precision
        tuned = case.scorer(recovery=recovery, split="test", precision=setting.precision)
        scores["finetuned_test_accuracy"] = float(tuned(row)[0])
    write_atomically(path, lambda p: p.write_text(json.dumps(scores, indent=1) + "\n"))
    del scores["strategy"]
    return {"finetuned_test_accuracy": None, **scores}


def table(rows: list[dict[str, Any]], task: str) -> str:
    """Writes the Markdown table of a task: measured, beside the paper's where it has the network."""
    recalled = RECALLED.get(task, {})
    searched, tuned = ({row[key] for row in rows if row.get(key)} for key in ("precision", "finetune_precision"))
    words = [
        f"{EPISODES} strategies of random search and of each learner, scored live in {' and '.join(sorted(searched))}; "
        "what was found is scored in fp32."
    ]
    if tuned:
        words.append(f"Fine-tuned for {FINETUNE_EPOCHS} epochs in {' and '.join(sorted(tuned))}.")
    if recalled:
        words.append("The last column is the paper's, recalled: validation / test / fine-tuned.")
    lines = [
        f"## {task} at {BUDGET:.0%} of the MACs",
        "",
        " ".join(words),
        "",
        "| policy | validation | test | fine-tuned | seconds | paper |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        published = " / ".join(f"{x:.1f}" for x in recalled[row["method"]]) if row["method"] in recalled else ""
        shown = [row["validation_accuracy"], row["test_accuracy"], row["finetuned_test_accuracy"]]
        numbers = " | ".join("" if x is None else f"{100 * x:.1f}" for x in shown)
        lines.append(f"| {row['method']} | {numbers} | {row['seconds']:.0f} | {published} |")
    return "\n".join([*lines, ""])
