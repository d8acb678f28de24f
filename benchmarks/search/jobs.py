"""A job: one method on one problem with one seed. Its result is a run folder, written whole or not at all.

Beside what `agents.runs` writes, the folder has `job.json` (version, evaluations, seconds of processor time) and, for
learners, `policy.safetensors` and `final_policy.json`: the strategy of the deterministic policy after training, scored
once more, outside the allowance.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.commands import make
from agents.hyperparams import read_hyperparameters
from agents.learners import action_type, build, policy_strategy, save_policy, train
from agents.runs import Run, run_config
from agents.search import METHODS, search
from benchmarks.search.suites import ALLOWANCES, EVALUATIONS, BenchmarkProblem, Suite
from benchmarks.search.versions import run_version
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.errors import AssetError
from compress_gym.support.processor import one_thread


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        problem: On what.
        method: Name of a learner or a search.
        seed: Of everything random.
        evaluations: The allowance.
    """

    problem: BenchmarkProblem
    method: str
    seed: int
    evaluations: int

    @property
    def name(self) -> str:
        """Where its folder lies below the folder of all runs."""
        return f"{self.problem.name}/{self.method}/seed-{self.seed}"

    @property
    def version(self) -> str:
        """Changes when anything changes that the run depends on."""
        return run_version(self.method, self.problem, self.evaluations)


def jobs_of(suite: Suite, evaluations: int = EVALUATIONS) -> list[Job]:
    """Returns a suite's jobs, seed by seed: interrupted, every method has run equally often."""
    return [
        Job(problem, method, seed, min(evaluations, ALLOWANCES.get(method, evaluations)))
        for seed in range(suite.seeds)
        for problem in suite.problems
        for method in suite.methods
    ]


def is_finished(job: Job, root: Path) -> bool:
    """Tells whether a job's folder is there, and of the version that would be run now."""
    return finished_version(root / job.name) == job.version


def finished_version(folder: Path) -> str | None:
    """Returns the version of a finished run, `None` where there is none or its mark cannot be read."""
    try:
        version = read_json(folder / "job.json").get("version")
        return version if isinstance(version, str) else None
    except AssetError:
        return None


def perform(job: Job, folder: Path) -> None:
    """Runs a job into an empty folder, in this process, on one thread."""
    folder.mkdir(parents=True, exist_ok=True)
    wall, processor = time.perf_counter(), time.process_time()
    with one_thread():
        count = _search(job, folder) if job.method in METHODS else _learn(job, folder)
    mark = {
        "problem": job.problem.name,
        "budget": job.problem.budget,
        "method": job.method,
        "seed": job.seed,
        "allowance": job.evaluations,
        "evaluations": count,
        "processor_seconds": round(time.process_time() - processor, 3),
        "seconds": round(time.perf_counter() - wall, 3),
        "version": job.version,
    }
    _write_json(folder / "job.json", mark)


def keep(made: Path, job: Job, root: Path) -> None:
    """Moves a job's finished folder to its place; an older version there is removed."""
    place = root / job.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        outdated = made.with_name(f"{made.name}.outdated")
        place.replace(outdated)
        made.replace(place)
        shutil.rmtree(outdated)
    else:
        made.replace(place)


def _search(job: Job, folder: Path) -> int:
    env = make(job.problem.env, **job.problem.settings)
    config = run_config("search", job.method, job.problem.env, job.problem.settings, env, job.seed, job.evaluations)
    with Run(folder, config) as run:
        for scored in search(env.unwrapped.problem, job.method, job.evaluations, job.seed):  # type: ignore[attr-defined]
            run.add(scored)
    return len(run.scored)


def _learn(job: Job, folder: Path) -> int:
    settings = {**job.problem.settings, "action_type": action_type(job.method)}
    env = make(job.problem.env, **settings)
    hyperparameters = read_hyperparameters(job.method, job.problem.env)
    config = run_config("learner", job.method, job.problem.env, settings, env, job.seed, job.evaluations)
    config["hyperparameters"] = hyperparameters
    model = build(job.method, env, hyperparameters, job.seed)
    with Run(folder, config) as run:
        train(model, run, job.evaluations)
    save_policy(model, folder / "policy.safetensors")
    last = policy_strategy(model, env)
    kept = ("accuracy", "cost_ratio", "feasible", "strategy")
    _write_json(folder / "final_policy.json", {key: last[key] for key in kept})
    return len(run.scored)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1) + "\n"
    write_atomically(path, lambda p: p.write_text(text))
