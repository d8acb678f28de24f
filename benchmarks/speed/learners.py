"""How many environment steps a second learners train, and where an off-policy learner's time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.hyperparams import read_hyperparameters
from agents.learners import build
from agents.vec_env import CompressionVecEnv
from compress_gym.problem import Problem

ID = "compress_gym/ChannelPrune-v0"
REPETITIONS = 5
SCALAR_ENVS, NATIVE_ENVS = 16, 256
# Episodes an environment contributes to a rollout.
EPISODES = 4
OFF_POLICY_EPISODES = 40
LEARNING = f"""PPO with one setting on both: rollouts of {EPISODES} episodes an environment, 4 epochs of 4 minibatches
each; `DummyVecEnv` steps {SCALAR_ENVS} scalar environments one after the other, `CompressionVecEnv` {NATIVE_ENVS} at a
time. An off-policy learner spends nearly all of its time in its updates, whatever steps the environment: the last
column is the share of its time that the environment does not take. One thread each: the networks are small."""


def compare_learners(repetitions: int = REPETITIONS) -> list[dict[str, Any]]:
    """Times rollouts and updates of PPO on both kinds of environment, in turns, and of DDPG on one environment."""
    scalar: VecEnv = DummyVecEnv([lambda: gym.make(ID, reward="accuracy")] * SCALAR_ENVS)
    envs: Any = gym.make_vec(ID, NATIVE_ENVS, reward="accuracy", autoreset_mode="SameStep")
    native = CompressionVecEnv(envs)
    models = [_ppo(envs) for envs in (scalar, native)]
    for model in models:
        model.learn(model.n_steps * model.n_envs)
    rates = np.array([[_rate(model) for model in models] for _ in range(repetitions)])
    ratio = float(np.median(rates[:, 1] / rates[:, 0]))
    names = (f"DummyVecEnv of {SCALAR_ENVS}", f"CompressionVecEnv of {NATIVE_ENVS}")
    rows: list[dict[str, Any]] = [
        {
            "learner": "ppo",
            "environments": name,
            "steps_a_second": round(float(np.median(rates[:, n]))),
            "times_dummy": round(ratio, 2) if n else 1.0,
        }
        for n, name in enumerate(names)
    ]
    return [*rows, _off_policy()]


def _ppo(envs: VecEnv) -> PPO:
    problem: Problem = (
        envs.get_attr("unwrapped")[0].problem if isinstance(envs, DummyVecEnv) else envs.get_attr("problem")[0]
    )
    steps = EPISODES * len(problem.steps)
    return PPO(
        "MlpPolicy", envs, n_steps=steps, batch_size=steps * envs.num_envs // 4, n_epochs=4, device="cpu", seed=0
    )


def _rate(model: PPO) -> float:
    steps = 2 * model.n_steps * model.n_envs
    begun = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return steps / (time.perf_counter() - begun)


def _off_policy() -> dict[str, Any]:
    """Trains DDPG as the zoo does and takes the time that the environment took off."""
    env: Any = _Timed(gym.make(ID, reward="accuracy"))
    settings = {**read_hyperparameters("ddpg", "ChannelPrune-v0"), "warmup_episodes": 2}
    model = build("ddpg", env, settings, seed=0)
    steps = OFF_POLICY_EPISODES * len(env.unwrapped.problem.steps)
    begun = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - begun
    return {
        "learner": "ddpg",
        "environments": "1",
        "steps_a_second": round(steps / seconds),
        "learner_share": round(1 - env.seconds / seconds, 4),
    }


class _Timed(gym.Wrapper):
    """Sums the time that is spent in an environment."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.seconds = 0.0

    def reset(self, **arguments: Any) -> Any:
        return self._timed(lambda: self.env.reset(**arguments))

    def step(self, action: Any) -> Any:
        return self._timed(lambda: self.env.step(action))

    def _timed(self, call: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = call()
        self.seconds += time.perf_counter() - begun
        return result
