"""What a kind is: a way to compress, in one value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.kinds.shared.splits import TrainTestSplit
from compress_gym.networks import Network
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.decisions import DecisionSpace

Options = Mapping[str, Any]


def one_by_one(decisions: DecisionSpace) -> tuple[tuple[int, ...], ...]:
    """Returns the steps of one decision each."""
    return tuple((t,) for t in range(len(decisions)))


def as_wanted(options: Options, wanted: Options, device: Any) -> Options:
    """Returns the task's options with those that an environment was asked for; no device restricts them."""
    return {**options, **wanted}


@dataclass(frozen=True)
class Sampling:
    """Over which cost a broad sample of strategies spreads.

    Attributes:
        cost: Its name.
        device: The device it is that of, if it is a device's.
        mixed: Whether channels and bits share the cost, so that each share of it is to be covered.
    """

    cost: str = "macs"
    device: str | None = None
    mixed: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A problem of the benchmark's suites.

    Attributes:
        task: Name of a shipped task; its own device is used.
        budget: Fraction of the uncompressed cost.
        quick: Whether the quick suite has it.
    """

    task: str
    budget: float = 0.5
    quick: bool = False


@dataclass(frozen=True)
class Kind:
    """A way to compress. Entry points are `module:name`, imported when they are asked for.

    Attributes:
        id: Of the environment, with its version: `ChannelPrune-v0`.
        decisions: From a network's description and options (the task's, those of `options`, and what `restricted` made
            of them) to what is decided.
        cost_terms: From the description, decisions and a device (or `None`) to what strategies cost.
        features: From the description and decisions to what observations say of each decision, float32 `[T, 9]`.
        scorer: Entry point: from a task, decisions and `Conditions` to what scores strategies live.
        compressor: Entry point: from a task, decisions and `Conditions` to what builds modules and writes files.
        network: Class of the descriptions that it compresses.
        steps: Which decisions are made together.
        options: Arguments that its environment takes beside those of all.
        restricted: From the task's options, those of them that the environment was asked for, and a device (or
            `None`) to the options that decisions are made of.
        defaults: Arguments by default: `task`, `device`, `cost`, `budget`.
        sampling: Over which cost measured strategies spread.
        ending: What its files' names end in; default: the id's name in lower case.
        metric: What its accuracy is called.
        train: Entry point of what trains a task's network, `None` where there is none; `sensitivity` likewise.
        profile: Name of the module whose `profile` measures a device for tasks by a plan that its `plan_of` makes.
        split: What agents may be trained on and what they are tested on.
        benchmarks: Its problems in the benchmark's suites.
    """

    id: str
    decisions: Callable[[Any, Options], DecisionSpace]
    cost_terms: Callable[[Any, DecisionSpace, Any], CostTerms]
    features: Callable[[Any, DecisionSpace], NDArray[np.float32]]
    scorer: str
    compressor: str
    network: type = Network
    steps: Callable[[DecisionSpace], tuple[tuple[int, ...], ...]] = one_by_one
    options: tuple[str, ...] = ()
    restricted: Callable[[Options, Options, Any], Options] = as_wanted
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = Sampling()
    ending: str | None = None
    metric: str = "accuracy"
    train: str | None = None
    profile: str | None = None
    sensitivity: str | None = None
    split: TrainTestSplit | None = None
    benchmarks: tuple[Benchmark, ...] = ()

    def __post_init__(self) -> None:
        """Checks the id.

        Raises:
            ValueError: It is no name with a version.
        """
        if not re.fullmatch(r"[A-Za-z0-9]+-v\d+", self.id):
            raise ValueError(f"id={self.id!r} must be a name and a version, as in 'ChannelPrune-v0'")

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.rpartition("-v")[0]

    @property
    def file_ending(self) -> str:
        """What the names of its files end in, before the suffix."""
        return f"-{self.name.lower()}" if self.ending is None else self.ending
