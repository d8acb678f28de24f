"""The Stable-Baselines3 learners: built, trained for a number of episodes, stored without pickles, replayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.progress import Progress
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.exploration import TruncatedNormalDDPG, TruncatedNormalTD3
from agents.runs import Run, Scored
from compress_gym.compression.weights import load_weights, save_weights
from compress_gym.errors import unknown_name
from compress_gym.problem import Problem
from compress_gym.processor import one_thread

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ddpg": TruncatedNormalDDPG,
    "ddpg-amc": TruncatedNormalDDPG,
    "td3": TruncatedNormalTD3,
    "sac": SAC,
    "ppo": PPO,
}


def build(
    algorithm: str, env: gym.Env, settings: Mapping[str, Any], seed: int, logs: Path | None = None
) -> BaseAlgorithm:
    """Builds a learner.

    Args:
        algorithm: A name of `ALGORITHMS`.
        env: A compression environment with continuous actions.
        settings: From `agents.hyperparams`; `warmup_episodes` becomes `learning_starts`, `replay_episodes` the
            size of the replay.
        seed: Of everything random.
        logs: Folder for TensorBoard.

    Raises:
        KeyError: Unknown algorithm.
        ValueError: The environment's actions do not fit.
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("algo", algorithm, ALGORITHMS)
    problem = env.unwrapped.problem  # type: ignore[attr-defined]
    if not isinstance(env.action_space, gym.spaces.Box):
        raise ValueError(f"algo={algorithm!r} here needs action_type='continuous'; got {env.action_space}")
    arguments = dict(settings)
    if isinstance(arguments.get("train_freq"), list):  # [1, episode]: AMC's updates after each episode
        arguments["train_freq"] = tuple(arguments["train_freq"])
    if algorithm != "ppo":
        episodes = int(arguments["warmup_episodes"])
        arguments["learning_starts"] = episodes * len(problem.steps)
        if algorithm == "sac":
            del arguments["warmup_episodes"]
        if replayed := arguments.pop("replay_episodes", None):
            arguments["buffer_size"] = int(replayed) * len(problem.steps)
    tensorboard = str(logs) if logs else None
    try:
        return ALGORITHMS[algorithm](
            "MlpPolicy", env, seed=seed, device="cpu", verbose=0, tensorboard_log=tensorboard, **arguments
        )
    except (TypeError, AssertionError) as error:
        raise ValueError(f"hyper-parameters of {algorithm!r} do not fit: {error}") from error


def train(model: BaseAlgorithm, run: Run, episodes: int) -> None:
    """Trains until that many episodes are scored, recording each in the run."""
    steps = episodes * len(_problem(model).steps)
    # One thread: the networks are small, more threads only wait for each other.
    with one_thread(), Progress() as progress:
        bar = progress.add_task(f"training {run.config['method']}", total=episodes)
        callback = _Record(run, episodes, lambda: progress.advance(bar))
        model.learn(steps + 10_000, callback=callback, log_interval=10, tb_log_name="learner")


def policy_strategy(model: BaseAlgorithm, env: gym.Env) -> dict[str, Any]:
    """Plays one episode with the deterministic policy and returns the last info (strategy, accuracy, costs)."""
    observation, _ = env.reset()
    terminated = False
    info: dict[str, Any] = {}
    while not terminated:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, _, info = env.step(action)
    return info


def save_policy(model: BaseAlgorithm, path: Path) -> None:
    """Writes the policy's weights as safetensors."""
    save_weights(model.policy, path)


def load_policy(model: BaseAlgorithm, path: Path) -> None:
    """Loads weights written by `save_policy` into a freshly built learner."""
    load_weights(model.policy, path, check_card=False)


def _problem(model: BaseAlgorithm) -> Problem:
    env = model.get_env()
    assert env is not None
    problem: Problem = env.get_attr("problem")[0]
    return problem


class _Record(BaseCallback):
    """Records every scored episode and stops after the last one."""

    def __init__(self, run: Run, episodes: int, advance: Any) -> None:
        super().__init__()
        self._run, self._episodes, self._advance = run, episodes, advance

    def _on_training_start(self) -> None:
        self._problem = _problem(self.model)

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"], strict=True):
            if not done:
                continue
            scored = Scored.from_info(info, self._problem)
            self._run.add(scored)
            self._advance()
            best = self._run.best
            self.logger.record("compress/accuracy", info["accuracy"])
            self.logger.record("compress/cost_ratio", info["cost_ratio"])
            self.logger.record("compress/reward", scored.reward)
            if best is not None:
                self.logger.record("compress/best_reward", best.reward)
                self.logger.record("compress/best_accuracy", best.accuracy)
            self.logger.dump(self.num_timesteps)
        return len(self._run.scored) < self._episodes
