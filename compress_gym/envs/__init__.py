"""Environments: one step kernel, one environment class, and one builder for each registered id."""

from compress_gym.envs.compression import CompressionEnv

__all__ = ["CompressionEnv"]
