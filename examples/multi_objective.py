"""Rewards that are vectors, for MO-Gymnasium: `python examples/multi_objective.py`.

Random episodes trace a front of accuracy and latency; `LinearReward` turns the vector into one number again.
"""

import sys

import gymnasium as gym
import numpy as np

import compress_gym
from compress_gym.support.errors import missing_extra

try:
    from mo_gymnasium.wrappers import LinearReward
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(str(error.name), "examples", "this example")))

EPISODES = 200
env = compress_gym.wrappers.MultiObjective(
    gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", budget=1.0), objectives=("accuracy", "latency_ms")
)
weighted = LinearReward(env, weight=np.array([1.0, 0.1]))
weighted.action_space.seed(0)
found, best = [], -np.inf
for _ in range(EPISODES):
    weighted.reset()
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = weighted.step(weighted.action_space.sample())
    found.append(info["vector_reward"])
    best = max(best, reward)
points = np.array(found)
front = [p for p in points if not ((points >= p).all(axis=1) & (points > p).any(axis=1)).any()]
for accuracy, latency in sorted(front, key=lambda p: -p[1]):
    print(f"{-100 * latency:5.1f} % of the latency: {100 * accuracy:.2f} %")
print(f"best accuracy - 0.1 latency: {best:.3f}")
