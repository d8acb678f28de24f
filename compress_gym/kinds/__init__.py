"""The ways to compress, one file each; `shared` holds what they have in common."""

from compress_gym.kinds.shared.case import Case, cases_of, get_case, scored_tasks
from compress_gym.kinds.shared.environment import KindEnv, problem_of
from compress_gym.kinds.shared.kind import Benchmark, Kind, Sampling
from compress_gym.kinds.shared.registry import KINDS, get_kind, load_plugins, register_kind, register_shipped
from compress_gym.kinds.shared.splits import TrainTestSplit

__all__ = [
    "KINDS",
    "Benchmark",
    "Case",
    "Kind",
    "KindEnv",
    "Sampling",
    "TrainTestSplit",
    "cases_of",
    "get_case",
    "get_kind",
    "load_plugins",
    "problem_of",
    "register_kind",
    "register_shipped",
    "scored_tasks",
]
