from __future__ import annotations

import gymnasium as gym
import pytest

from compress_gym.kinds import KINDS

SPLITS = {kind.id: kind.split for kind in KINDS.values() if kind.split is not None}


@pytest.mark.parametrize("env", sorted(SPLITS))
def test_what_is_unseen_was_not_trained_on(env):
    split = SPLITS[env]
    assert split.tests
    low, high = split.train_budgets
    for test in split.tests:
        settings = test.settings
        unseen = {
            "network": settings["task"] not in split.train_tasks,
            "device": settings["device"] not in split.train_devices,
            "budget": not low <= settings["budget"] <= high,
        }
        assert test.unseen.split(" and ") == [name for name, new in unseen.items() if new]
    assert {settings["task"] for settings in (t.settings for t in split.tests)} >= set(split.test_tasks)


@pytest.mark.parametrize("env", sorted(SPLITS))
def test_every_problem_of_a_split_can_be_made(env):
    split = SPLITS[env]
    # A test's spaces are those of the training: the same agent acts in both.
    envs = gym.make_vec(f"compress_gym/{env}", num_envs=4, **split.train)
    for test in split.tests:
        tested = gym.make(f"compress_gym/{env}", **test.settings)
        assert tested.observation_space == envs.single_observation_space
        assert tested.action_space == envs.single_action_space
