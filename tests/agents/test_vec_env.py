from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import DDPG, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

import compress_gym  # noqa: F401  (registers the ids)
from agents.vec_env import CompressionVecEnv

ID = "compress_gym/ChannelPrune-v0"


def native(count, **settings):
    vector = {key: settings.pop(key) for key in ("step_infos",) if key in settings}
    return CompressionVecEnv(gym.make_vec(ID, num_envs=count, autoreset_mode="SameStep", **settings), **vector)


def test_it_equals_a_loop_over_scalar_environments():
    fast, slow = native(3, step_infos=True), DummyVecEnv([lambda: gym.make(ID)] * 3)
    for envs in (fast, slow):
        envs.seed(0)
    assert np.array_equal(fast.reset(), slow.reset())
    assert [info["task"] for info in fast.reset_infos] == [info["task"] for info in slow.reset_infos]
    rng, ends = np.random.default_rng(0), 0
    for _ in range(2 * len(fast.get_attr("problem")[0].steps)):
        actions = rng.uniform(-1, 1, size=(3, *fast.action_space.shape)).astype(np.float32)
        (o, r, d, i), (p, s, e, j) = fast.step(actions), slow.step(actions)
        assert np.array_equal(o, p) and np.array_equal(r, s) and np.array_equal(d, e)
        for mine, theirs, done in zip(i, j, d, strict=True):
            ends += done
            for key in ("choice", "executed_action", *(("strategy", "accuracy", "latency_ms") if done else ())):
                assert np.array_equal(mine[key], theirs[key]), key
            if done:
                assert np.array_equal(mine["terminal_observation"], theirs["terminal_observation"])
                assert mine["episode"]["l"] == len(fast.get_attr("problem")[0].steps)
                assert mine["episode"]["r"] == pytest.approx(mine["accuracy"], abs=0.2)
    assert ends == 6


def test_ppo_and_ddpg_train_on_it():
    PPO("MlpPolicy", native(16), n_steps=10, batch_size=40, n_epochs=1).learn(320)
    model = DDPG("MlpPolicy", native(4), learning_starts=20, train_freq=5, gradient_steps=1).learn(60)
    assert model.num_timesteps >= 60 and len(model.ep_info_buffer) > 0


def test_masks_of_every_environment():
    envs = native(4, action_type="discrete")
    envs.reset()
    masks = envs.env_method("action_masks")
    assert len(masks) == 4 and masks[0].shape == (envs.action_space.n,)
    assert envs.env_is_wrapped(gym.Wrapper) == [False] * 4
    assert envs.env_method("problem_of", indices=[1]) == [envs.envs.problem_of(1)]
    with pytest.raises(NotImplementedError, match="stepped and reset together"):
        envs.env_method("reset", indices=[1])


def test_a_wrapped_environment_is_refused():
    wrapped = RecordEpisodeStatistics(gym.make_vec(ID, num_envs=2, autoreset_mode="SameStep"))
    with pytest.raises(ValueError, match="must be a CompressionVectorEnv without wrappers"):
        CompressionVecEnv(wrapped)


def test_another_autoreset_mode_is_refused():
    with pytest.raises(ValueError, match="needs 'SameStep'"):
        CompressionVecEnv(gym.make_vec(ID, num_envs=2))


def test_attributes_cannot_be_set_for_some():
    with pytest.raises(NotImplementedError, match="share their attributes"):
        native(2).set_attr("copy", False)


def test_views_are_refused():
    """Stable-Baselines3 stores a step's observations after the next step."""
    with pytest.raises(ValueError, match="copy=False"):
        native(2, copy=False)


def test_options_and_problems_of_each_environment():
    envs = native(3, task="digits-cnn", budget=(0.5, 0.9))
    envs.set_options({"budget": 0.7})
    envs.reset()
    assert [problem.budget for problem in envs.get_attr("problem")] == [0.7] * 3
    envs.seed(0)
    envs.reset()
    assert len({problem.budget for problem in envs.get_attr("problem")}) == 3
    envs.set_options([{"budget": 0.7}, {"budget": 0.8}, {}])
    with pytest.raises(ValueError, match="must be the same for all"):
        envs.reset()


def test_pictures():
    envs = native(2, task="digits-cnn", render_mode="rgb_array")
    envs.reset()
    assert envs.render().ndim == 3
