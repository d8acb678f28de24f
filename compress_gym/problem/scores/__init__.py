"""Accuracy models: `live` (the real network on real data) and `measured` (an exhaustive table of live results)."""

from compress_gym.problem.scores.measured import MeasuredAccuracy
from compress_gym.problem.scores.model import AccuracyModel

__all__ = ["AccuracyModel", "MeasuredAccuracy"]
