"""Versions of what a run depends on: hashes of sources and data, so that only what changed is run again.

A run depends on
  - the problem as it was built: decisions, costs, budget, reward, steps, features of layers and device, and the hashes
    of task and device (`problem_version`); how it was built does not matter;
  - the code that answers for it: `PROBLEM_SOURCES`, and for learners also `ENVIRONMENT_SOURCES`;
  - the method: the module it is defined in; for learners `LEARNER_SOURCES` and the hyper-parameters.

A change of code that changes no result is told by `benchmarks.search.confirm`.

Comments, docstrings and formatting are not hashed. Paths and imports are not either, so that a file that moves outdates
no run; an import of something else under the same name goes unseen. Versions of libraries are in each run's
`config.yml` instead. What only records a run (`agents/runs.py`) is left out too.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.commands import make
from agents.hyperparams import read_hyperparameters
from agents.search import METHODS
from benchmarks.search.suites import BenchmarkProblem
from compress_gym.problem import Problem

ROOT = Path(__file__).parents[2]
PROBLEM_SOURCES = (
    "compress_gym/problem/problem.py",
    "compress_gym/problem/decisions.py",
    "compress_gym/problem/budgets.py",
    "compress_gym/problem/rewards.py",
    "compress_gym/problem/costs/increments.py",
    "compress_gym/problem/costs/kernels.py",
    "compress_gym/problem/costs/terms.py",
    "compress_gym/problem/scores/measured.py",
    "compress_gym/problem/scores/surrogate.py",
    "agents/search/__init__.py",
    "agents/search/method.py",
    "benchmarks/search/jobs.py",
)
ENVIRONMENT_SOURCES = (
    "compress_gym/problem/scores/batched.py",
    "compress_gym/problem/observations.py",
    "compress_gym/envs/compression.py",
    "compress_gym/envs/episodes.py",
    "compress_gym/envs/kernels.py",
    "compress_gym/envs/packing.py",
)
LEARNER_SOURCES = ("agents/learners.py", "agents/exploration.py", "agents/recording.py")


@cache
def run_version(method: str, problem: BenchmarkProblem, evaluations: int) -> str:
    """Returns the version of a method's runs on a problem, 16 hex digits."""
    parts = [problem_version(build(problem)), sources_version(PROBLEM_SOURCES), str(evaluations)]
    if method in METHODS:
        module = inspect.getsourcefile(METHODS[method])
        assert module is not None  # it was imported from a file
        parts.append(sources_version((str(Path(module).relative_to(ROOT)),)))
    else:
        parts.append(sources_version((*ENVIRONMENT_SOURCES, *LEARNER_SOURCES)))
        parts.append(json.dumps(read_hyperparameters(method, problem.env), sort_keys=True))
    return _digest("\n".join([method, *parts]).encode())


@cache
def build(problem: BenchmarkProblem) -> Problem:
    """Builds the problem behind a benchmark's environment."""
    built: Problem = make(problem.env, **problem.settings).unwrapped.problem  # type: ignore[attr-defined]
    return built


def problem_version(problem: Problem) -> str:
    """Returns a hash over everything that a problem holds; its accuracies by the hash of the task's assets."""
    terms = problem.cost_terms
    words: list[Any] = [
        [(d.name, d.kind, d.values) for d in problem.decisions.decisions],
        terms.metrics,
        problem.cost,
        problem.budget,
        problem.budget_rule,
        problem.reward_spec.name,
        problem.steps,
        sorted((key, str(value)) for key, value in problem.origin.items()),
    ]
    arrays = (terms.terms, terms.tables, problem.shapes, problem.device_features)
    data = [np.ascontiguousarray(array).tobytes() for array in arrays]
    return _digest(json.dumps(words).encode() + b"".join(data))


def sources_version(paths: tuple[str, ...]) -> str:
    """Returns a hash over the code of files of the checkout, wherever they lie and whatever they import."""
    return _digest("\n".join(sorted(map(_code, paths))).encode())


@cache
def _code(path: str) -> str:
    return code_of((ROOT / path).read_text())


def code_of(source: str) -> str:
    """Returns what Python makes of a source, docstrings and imports left out."""
    tree = _WithoutImports().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


class _WithoutImports(ast.NodeTransformer):
    def visit_Import(self, node: ast.Import) -> None:
        """Leaves it out."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Leaves it out."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
