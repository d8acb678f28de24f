"""Wrappers of a single environment; the vector environment is its own class."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from compress_gym.envs.compression import CompressionEnv
from compress_gym.support.errors import unknown_name

OBJECTIVES = ("accuracy", "latency_ms", "size_bytes", "energy_mj")


class MultiObjective(gym.Wrapper[NDArray[np.float32], Any, NDArray[np.float32], Any], gym.utils.RecordConstructorArgs):
    """Makes the reward a vector, by MO-Gymnasium's conventions: accuracy, and costs with a minus sign.

        >>> import gymnasium as gym
        >>> import compress_gym
        >>> env = compress_gym.wrappers.MultiObjective(gym.make("compress_gym/ChannelPrune-v0"))
        >>> env.reward_space.shape
        (4,)

    It is 0 until the last step. Costs are fractions of the uncompressed network's, so that all objectives are of one
    size. The budget holds as before; `budget=1.0` leaves the whole front open.

    Attributes:
        reward_space: Box of one number an objective, float32; `env.unwrapped` has it, too.
        objectives: Their names, in order.
    """

    def __init__(self, env: gym.Env[NDArray[np.float32], Any], objectives: tuple[str, ...] = OBJECTIVES) -> None:
        """Wraps an environment.

        Args:
            env: An environment of this package, wrapped or not.
            objectives: `accuracy` and names of costs.

        Raises:
            KeyError: An objective is neither.
            TypeError: The environment is of another package.
        """
        gym.utils.RecordConstructorArgs.__init__(self, objectives=objectives)
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, CompressionEnv):
            raise TypeError(f"env={env} is no environment of compress_gym")
        legal = ("accuracy", *inner.problem.cost_terms.metrics)
        for name in objectives:
            if name not in legal:
                raise unknown_name("objective", name, legal)
        self.objectives = objectives
        low = np.array([0.0 if name == "accuracy" else -np.inf for name in objectives], dtype=np.float32)
        high = np.array([1.0 if name == "accuracy" else 0.0 for name in objectives], dtype=np.float32)
        self.reward_space = inner.reward_space = spaces.Box(low, high)  # type: ignore[attr-defined]

    def step(self, action: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], bool, bool, dict[str, Any]]:
        """Steps, and returns the vector float32 `[objectives]` for the reward."""
        observation, _, terminated, truncated, info = self.env.step(action)
        vector = np.zeros(len(self.objectives), dtype=np.float32)
        if terminated:
            inner: Any = self.env.unwrapped
            baseline = inner.problem.baseline_costs
            for n, name in enumerate(self.objectives):
                vector[n] = info[name] if name == "accuracy" else -info[name] / baseline[name]
        return observation, vector, terminated, truncated, info
