"""Accuracy models: `live` (the real network on real data) and `measured` (an exhaustive table of live results)."""

from compress_gym.accuracy.measured import MeasuredAccuracy
from compress_gym.accuracy.model import AccuracyModel

__all__ = ["AccuracyModel", "MeasuredAccuracy"]
