"""Compiles every kernel beforehand, so that no first episode waits: for images of containers, and for CI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds.shared.environment import distribution_of
from compress_gym.kinds.shared.kind import Kind
from compress_gym.kinds.shared.registry import KINDS
from compress_gym.problem.distribution import ProblemDistribution
from compress_gym.problem.scores.batched import FEWEST
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.jit import KERNELS


def steps() -> Iterator[Callable[[], None]]:
    """Lists what is to be called: kernels are compiled by doing what users do."""
    for kind in KINDS.values():
        for action_type in ("continuous", "discrete"):
            yield partial(_play, kind, action_type)


def cache_folders() -> list[Path]:
    """Returns the folders that hold compiled kernels."""
    paths = {kernel.stats.cache_path for kernel in KERNELS}
    return sorted(Path(path) for path in paths if path and Path(path).is_dir())


def cache_bytes() -> int:
    """Returns how much numba's files in them hold."""
    return sum(file.stat().st_size for folder in cache_folders() for file in folder.glob("*.nb[ic]"))


def _play(kind: Kind, action_type: str) -> None:
    """Plays an episode of a kind under every rule, alone, of many, and by threads; asks what problems are asked."""
    for rule in ("clip", "repair"):
        source = distribution_of(kind, budget_rule=rule)
        _episode(CompressionEnv(source, action_type))
        problem = source.problems[0]
        problem.random(np.random.default_rng(0), 2)
        for source_of_many in (problem, ProblemDistribution((problem, problem), (problem.budget, 1.0))):
            for threads in (1, 2):
                _episodes(CompressionVectorEnv(source_of_many, 2 * FEWEST, action_type, num_threads=threads))
        problem.evaluate(problem.uniform()[None])
        if isinstance(problem.accuracy_model, SurrogateAccuracy):
            problem.accuracy_model.uncertainty(problem.uniform()[None])


def _episode(env: CompressionEnv) -> None:
    env.reset(seed=0, options={"budget": env.problem.budget})
    env.reset(seed=0)
    env.action_space.seed(0)
    terminated = False
    while not terminated:
        _, _, terminated, _, _ = env.step(_action(env))


def _episodes(envs: CompressionVectorEnv) -> None:
    envs.reset(seed=0, options={"budget": envs.problems[0].budget})
    envs.reset(seed=0)
    envs.action_space.seed(0)
    terminated = np.zeros(1, dtype=np.bool_)
    while not terminated.any():
        _, _, terminated, _, _ = envs.step(_action(envs))
    envs.step(_action(envs))
    envs.close()


def _action(env: CompressionEnv | CompressionVectorEnv) -> Any:
    """Returns a random action; of discrete ones the first that masks say is legal."""
    if env.action_type != "discrete":
        return env.action_space.sample()
    legal = env.action_masks().argmax(axis=-1)
    return legal if isinstance(env, CompressionVectorEnv) else int(legal)
