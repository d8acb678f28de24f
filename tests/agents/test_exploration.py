from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.exploration import FinalRewardReplayBuffer
from agents.hyperparams import read_hyperparameters
from agents.learners import build
from compress_gym.kinds.channel_prune import ChannelPruneEnv


@pytest.fixture
def trained():
    env = ChannelPruneEnv(task="digits-cnn", reward="accuracy")
    settings = {**read_hyperparameters("ddpg-amc", "ChannelPrune-v0"), "warmup_episodes": 2}
    settings |= {"train_freq": 1, "gradient_steps": 1}  # so that learning can stop within an episode
    torch.set_num_threads(1)
    return build("ddpg-amc", env, settings, seed=0).learn(23)


def test_every_transition_carries_its_episodes_final_reward(trained):
    buffer = trained.replay_buffer
    assert buffer.buffer_size == 100 * 5
    # 23 steps are 4 whole episodes of 5; the fifth is not stored before it ends.
    assert buffer.pos == 20
    rewards, dones = buffer.rewards[:20, 0].reshape(4, 5), buffer.dones[:20, 0].reshape(4, 5)
    assert (rewards == rewards[:, :1]).all() and (rewards > 0.05).all() and len(np.unique(rewards)) > 1
    assert (dones == [0, 0, 0, 0, 1]).all()
    observations, following = (a[:20, 0].reshape(4, 5, -1) for a in (buffer.observations, buffer.next_observations))
    assert np.array_equal(observations[:, 1:], following[:, :-1])
    assert (observations[:, 0] == observations[0, 0]).all() and not (following[:, -1] == observations[:, 0]).all()


def test_the_moving_average_is_amcs():
    buffer = FinalRewardReplayBuffer(4, spaces.Box(0, 1, (1,)), spaces.Box(-1, 1, (1,)))
    for reward in (0.2, 0.4, 0.6, 0.8):
        buffer.add(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.array([reward]), np.zeros(1), [{}])
    first = buffer._get_samples(np.array([0, 1])).rewards
    assert torch.allclose(first, torch.tensor([[-0.1], [0.1]]))  # the first batch's mean
    second = buffer._get_samples(np.array([2, 3])).rewards  # 0.3 + 0.5 * (0.7 - 0.3)
    assert torch.allclose(second, torch.tensor([[0.1], [0.3]]))


def test_the_saturation_penalty_is_part_of_the_actors_gradient():
    env = ChannelPruneEnv(task="digits-cnn", reward="accuracy")
    settings = {**read_hyperparameters("ddpg", "ChannelPrune-v0"), "initial_weight": 0.5}
    torch.set_num_threads(1)
    gradients = []
    for penalty in (0.0, 0.25):
        model = build("ddpg", env, {**settings, "saturation_penalty": penalty}, seed=0)
        observations = torch.rand(8, *env.observation_space.shape, generator=torch.Generator().manual_seed(0))
        loss = -model.actor(observations).mean()
        if not penalty:  # by hand
            entering = model.actor.mu[:-1](observations)
            loss = loss + 0.25 * (entering**2).mean()
        loss.backward()
        gradients.append([p.grad for p in model.actor.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(*gradients, strict=True))
    assert any(g.abs().max() > 1e-4 for g in gradients[0])
