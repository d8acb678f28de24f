"""PPO in one file, after CleanRL, on the native vector environment: `python examples/cleanrl_ppo.py`.

256 networks are compressed at a time. The reward comes with the last layer, so gamma is 1. Results on `digits-cnn` are
compared with the known optimum.
"""

import time

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

import compress_gym  # noqa: F401  (registers the ids)

SEED, NUM_ENVS, NUM_STEPS, UPDATES = 0, 256, 12, 40
LEARNING_RATE, GAE_LAMBDA, CLIP, ENTROPY, EPOCHS, MINIBATCHES = 2e-3, 0.95, 0.2, 0.0, 4, 4

torch.manual_seed(SEED)
torch.set_num_threads(1)  # networks this small are slower on two
envs = gym.make_vec("compress_gym/ChannelPrune-v0", NUM_ENVS, task="digits-cnn", reward="accuracy", budget=0.5)
problem = envs.problems[0]
inputs, outputs = envs.single_observation_space.shape[0], envs.single_action_space.shape[0]
actor = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))
critic = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
log_std = nn.Parameter(torch.full((outputs,), -0.5))
parameters = [*actor.parameters(), *critic.parameters(), log_std]
optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE, eps=1e-5)

observations = torch.zeros(NUM_STEPS, NUM_ENVS, inputs)
actions = torch.zeros(NUM_STEPS, NUM_ENVS, outputs)
log_probs, rewards, values = (torch.zeros(NUM_STEPS, NUM_ENVS) for _ in range(3))
ended, ignored = (torch.zeros(NUM_STEPS, NUM_ENVS, dtype=torch.bool) for _ in range(2))

best, steps, begun = 0.0, 0, time.perf_counter()
seen, _ = envs.reset(seed=SEED)
just_ended = np.zeros(NUM_ENVS, dtype=bool)
for update in range(UPDATES):
    for step in range(NUM_STEPS):
        observations[step], ignored[step] = torch.from_numpy(seen), torch.from_numpy(just_ended)
        with torch.no_grad():
            policy = Normal(actor(observations[step]), log_std.exp())
            actions[step] = policy.sample()
            log_probs[step], values[step] = policy.log_prob(actions[step]).sum(1), critic(observations[step])[:, 0]
        seen, reward, just_ended, _, info = envs.step(actions[step].clamp(-1, 1).numpy())
        rewards[step], ended[step] = torch.from_numpy(reward), torch.from_numpy(just_ended)
        steps += NUM_ENVS
        if just_ended.any():
            best = max(best, float(info["accuracy"][just_ended].max()))

    advantages, later = torch.zeros_like(rewards), torch.zeros(NUM_ENVS)
    with torch.no_grad():
        following = critic(torch.from_numpy(seen))[:, 0]
    for step in reversed(range(NUM_STEPS)):
        goes_on = (~ended[step]).float()
        later = rewards[step] + goes_on * following - values[step] + GAE_LAMBDA * goes_on * later
        advantages[step], following = later, values[step]
    returns = advantages + values

    # The step after an end starts a new episode and ignores its action: nothing is learnt from it.
    used = (~ignored).flatten().nonzero()[:, 0]
    flat = [x.flatten(0, 1) for x in (observations, actions, log_probs, advantages, returns)]
    for _ in range(EPOCHS):
        for rows in used[torch.randperm(len(used))].chunk(MINIBATCHES):
            observed, acted, old, advantage, target = (x[rows] for x in flat)
            policy = Normal(actor(observed), log_std.exp())
            ratio = (policy.log_prob(acted).sum(1) - old).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            policy_loss = -torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            value_loss = (critic(observed)[:, 0] - target).square().mean()
            loss = policy_loss + 0.5 * value_loss - ENTROPY * policy.entropy().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimiser.step()
    if update % 5 == 4:
        mean = float(rewards[ended].mean())
        speed = steps / (time.perf_counter() - begun)
        print(f"{steps:6d} steps ({speed:,.0f}/s): mean accuracy {100 * mean:.2f} %, best {100 * best:.2f} %")

optimum = float(problem.accuracy(problem.optimum())[0])
print(f"best {100 * best:.2f} %; the optimum is {100 * optimum:.2f} %")
