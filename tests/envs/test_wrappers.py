from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import compress_gym
from compress_gym.envs.wrappers import MultiObjective

NAME = "compress_gym/ChannelPrune-v0"


def last_step(env):
    env.action_space.seed(0)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = env.step(env.action_space.sample())
        assert reward in env.reward_space
        assert terminated or not reward.any()
    return reward, info


def test_the_reward_is_accuracy_and_costs_as_fractions():
    env = MultiObjective(gym.make(NAME, task="digits-cnn"))
    assert env.unwrapped.reward_space == env.reward_space
    reward, info = last_step(env)
    baseline = env.unwrapped.problem.baseline_costs
    expected = [info["accuracy"], *(-info[name] / baseline[name] for name in ("latency_ms", "size_bytes", "energy_mj"))]
    assert reward == pytest.approx(np.float32(expected))
    assert -1 < reward[1] < 0 and reward.dtype == np.float32


def test_objectives_are_chosen_by_name():
    env = MultiObjective(gym.make(NAME, task="digits-cnn"), objectives=("macs", "accuracy"))
    reward, info = last_step(env)
    assert reward[1] == np.float32(info["accuracy"]) and -1 < reward[0] < 0
    with pytest.raises(KeyError, match="objective.*'latency'.*latency_ms"):
        MultiObjective(gym.make(NAME, task="digits-cnn"), objectives=("latency",))


def test_other_environments_are_refused():
    with pytest.raises(TypeError, match="no environment of compress_gym"):
        compress_gym.wrappers.MultiObjective(gym.make("CartPole-v1"))
