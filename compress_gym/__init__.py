"""Reinforcement-learning environments for neural-network compression, with measured accuracies and latencies.

    >>> import gymnasium as gym
    >>> import compress_gym
    >>> env = gym.make("compress_gym/ChannelPrune-v0")

Importing the package registers its environments and imports neither torch nor Stable-Baselines3.
"""

import gymnasium

from compress_gym.devices import list_devices
from compress_gym.envs import wrappers
from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.problem import Problem
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.distribution import ProblemDistribution
from compress_gym.tasks import list_tasks

__all__ = [
    "CompressionEnv",
    "CompressionVectorEnv",
    "Decision",
    "DecisionSpace",
    "Problem",
    "ProblemDistribution",
    "list_devices",
    "list_tasks",
    "wrappers",
]

gymnasium.register(
    id="compress_gym/ChannelPrune-v0",
    entry_point="compress_gym.kinds.channel_prune:ChannelPruneEnv",
    vector_entry_point="compress_gym.kinds.channel_prune:channel_prune_vector_env",
)
gymnasium.register(
    id="compress_gym/MixedQuant-v0",
    entry_point="compress_gym.kinds.mixed_quant:MixedQuantEnv",
    vector_entry_point="compress_gym.kinds.mixed_quant:mixed_quant_vector_env",
)
gymnasium.register(
    id="compress_gym/JointPQ-v0",
    entry_point="compress_gym.kinds.joint_pq:JointPQEnv",
    vector_entry_point="compress_gym.kinds.joint_pq:joint_pq_vector_env",
)
gymnasium.register(
    id="compress_gym/TransformerNAS-v0",
    entry_point="compress_gym.kinds.transformer_nas:TransformerNASEnv",
    vector_entry_point="compress_gym.kinds.transformer_nas:transformer_nas_vector_env",
)
