"""Reinforcement-learning environments for neural-network compression, with measured accuracies and latencies.

    >>> import gymnasium as gym
    >>> import compress_gym
    >>> env = gym.make("compress_gym/ChannelPrune-v0")

Importing the package registers its environments and imports neither torch nor Stable-Baselines3.
"""

from compress_gym.devices import list_devices
from compress_gym.envs import wrappers
from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds import Kind, KindEnv, load_plugins, register_kind, register_shipped
from compress_gym.problem import Problem
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.distribution import ProblemDistribution
from compress_gym.tasks import list_tasks, register_task

__all__ = [
    "CompressionEnv",
    "CompressionVectorEnv",
    "Decision",
    "DecisionSpace",
    "Kind",
    "KindEnv",
    "Problem",
    "ProblemDistribution",
    "list_devices",
    "list_tasks",
    "register_kind",
    "register_task",
    "wrappers",
]

register_shipped()
load_plugins()
