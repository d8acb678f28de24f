"""The Stable-Baselines3 learners: built, trained for a number of episodes, stored without pickles, replayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.progress import Progress
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from agents.exploration import TruncatedNormalDDPG, TruncatedNormalTD3
from agents.recording import EndWarmup, EpisodeRecord
from agents.runs import Run
from compress_gym.live.weights import load_weights, save_weights
from compress_gym.problem import Problem
from compress_gym.support.cards import write_arrays
from compress_gym.support.errors import AssetError, unknown_name
from compress_gym.support.processor import one_thread

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ddpg": TruncatedNormalDDPG,
    "ddpg-amc": TruncatedNormalDDPG,
    "ddpg-executed": TruncatedNormalDDPG,
    "td3": TruncatedNormalTD3,
    "sac": SAC,
    "ppo": PPO,
    "maskable-ppo": MaskablePPO,
}
# Masks of legal choices exist for discrete actions only; the other learners are run on continuous ones.
DISCRETE = ("maskable-ppo",)
# What is stored of each running mean and variance.
_STATISTICS = ("mean", "var", "count")


def action_type(algorithm: str) -> str:
    """Returns the environment's `action_type` that an algorithm of the zoo is run with.

    Raises:
        KeyError: Unknown algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("algo", algorithm, ALGORITHMS)
    return "discrete" if algorithm in DISCRETE else "continuous"


def build(
    algorithm: str, env: gym.Env, settings: Mapping[str, Any], seed: int, logs: Path | None = None
) -> BaseAlgorithm:
    """Builds a learner.

    Args:
        algorithm: A name of `ALGORITHMS`.
        env: A compression environment with the algorithm's `action_type`.
        settings: From `agents.hyperparams`; `warmup_episodes` becomes `learning_starts`, `replay_episodes` the
            size of the replay; `normalize` holds the arguments of a `VecNormalize` around the environment.
        seed: Of everything random.
        logs: Folder for TensorBoard.

    Raises:
        KeyError: Unknown algorithm.
        ValueError: The environment's actions do not fit.
    """
    needed = action_type(algorithm)
    if isinstance(env.action_space, gym.spaces.Discrete) != (needed == "discrete"):
        raise ValueError(f"algo={algorithm!r} needs action_type={needed!r}; got {env.action_space}")
    problem: Problem = env.unwrapped.problem  # type: ignore[attr-defined]
    arguments = dict(settings)
    if isinstance(arguments.get("train_freq"), list):  # [1, episode]: updates after each episode
        arguments["train_freq"] = tuple(arguments["train_freq"])
    if issubclass(ALGORITHMS[algorithm], OffPolicyAlgorithm):
        episodes = int(arguments["warmup_episodes"])
        arguments["learning_starts"] = episodes * len(problem.steps)
        if algorithm == "sac":
            del arguments["warmup_episodes"]
        if replayed := arguments.pop("replay_episodes", None):
            arguments["buffer_size"] = int(replayed) * len(problem.steps)
    tensorboard = str(logs) if logs else None
    try:
        normalize = arguments.pop("normalize", None)
        envs = VecNormalize(DummyVecEnv([lambda: Monitor(env)]), **normalize) if normalize else env
        return ALGORITHMS[algorithm](
            "MlpPolicy", envs, seed=seed, device="cpu", verbose=0, tensorboard_log=tensorboard, **arguments
        )
    except (TypeError, AssertionError) as error:
        raise ValueError(f"hyper-parameters of {algorithm!r} do not fit: {error}") from error


def train(model: BaseAlgorithm, run: Run, episodes: int) -> None:
    """Trains until that many episodes are scored, recording each in the run."""
    env = model.get_env()
    assert env is not None  # it was built with one
    problem: Problem = env.get_attr("problem")[0]
    # One thread: the networks are small, more threads only wait for each other.
    with one_thread(), Progress() as progress:
        bar = progress.add_task(f"training {run.config['method']}", total=episodes)
        callbacks = CallbackList([EpisodeRecord(problem, run, episodes, lambda: progress.advance(bar))])
        if isinstance(model, OffPolicyAlgorithm):
            callbacks.callbacks.append(EndWarmup(model.learning_starts // len(problem.steps)))
        # The callback stops it: no episode has more steps than decisions.
        steps = episodes * len(problem.decisions) + 10_000
        model.learn(steps, callback=callbacks, log_interval=10, tb_log_name="learner")


def policy_strategy(model: BaseAlgorithm, env: gym.Env) -> dict[str, Any]:
    """Plays one episode with the deterministic policy and returns the last info (strategy, accuracy, costs)."""
    normalizer = model.get_vec_normalize_env()
    observation, _ = env.reset()
    terminated = False
    info: dict[str, Any] = {}
    while not terminated:
        seen = observation if normalizer is None else normalizer.normalize_obs(observation)
        if isinstance(model, MaskablePPO):
            masks = env.unwrapped.action_masks()  # type: ignore[attr-defined]
            action, _ = model.predict(seen, deterministic=True, action_masks=masks)
            action = int(action)  # type: ignore[assignment]
        else:
            action, _ = model.predict(seen, deterministic=True)
        observation, _, terminated, _, info = env.step(action)
    return info


def save_policy(model: BaseAlgorithm, path: Path) -> None:
    """Writes what acts as safetensors: an off-policy learner's actor, PPO's policy.

    The statistics of a `VecNormalize` are written beside it as `.npz`. Training cannot go on from these files.
    """
    save_weights(_acting(model), path)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        arrays: dict[str, np.ndarray] = {}
        for name, statistics in _statistics(normalizer).items():
            arrays |= {f"{name}.{key}": np.asarray(getattr(statistics, key)) for key in _STATISTICS}
        write_arrays(path.with_suffix(".npz"), **arrays)


def load_policy(model: BaseAlgorithm, path: Path) -> None:
    """Loads what `save_policy` wrote into a freshly built learner.

    Raises:
        AssetError: The weights or the statistics are missing or do not fit.
    """
    load_weights(_acting(model), path, check_card=False)
    normalizer = model.get_vec_normalize_env()
    if normalizer is None:
        return
    statistics_path = path.with_suffix(".npz")
    try:
        with np.load(statistics_path, allow_pickle=False) as arrays:
            for name, statistics in _statistics(normalizer).items():
                for key in _STATISTICS:
                    setattr(statistics, key, arrays[f"{name}.{key}"].astype(np.float64))
    except (OSError, KeyError, ValueError) as error:
        raise AssetError(f"{statistics_path}: the normalisation's statistics are missing or damaged") from error
    normalizer.training = False


def _acting(model: BaseAlgorithm) -> nn.Module:
    acting: nn.Module = model.policy.actor if isinstance(model, OffPolicyAlgorithm) else model.policy  # type: ignore[assignment]
    return acting


def _statistics(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    observations = normalizer.obs_rms
    assert isinstance(observations, RunningMeanStd)  # the observation is one array
    return {"observations": observations, "returns": normalizer.ret_rms}
