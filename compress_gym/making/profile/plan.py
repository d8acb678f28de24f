"""What a profile measures: its settings, every operation that tasks can reach, and whole networks to check sums by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.costs.boundaries import boundaries
from compress_gym.devices.operations import CALL, MIXED_BITS, PRECISION_BITS, Operation, layout_of, operation_of
from compress_gym.making.profile.benches import RUNTIMES
from compress_gym.networks import Network
from compress_gym.networks.network import WEIGHTED
from compress_gym.problem.decisions import FIXED_BITS, FLOAT_BITS, DecisionSpace
from compress_gym.problem.network_decisions import BitValues, channel_decisions, joint_decisions
from compress_gym.tasks import Task

MIN_REPETITIONS = 30


@dataclass(frozen=True)
class ProfilePlan:
    """How a profile is measured.

    Attributes:
        runtime: `onnxruntime` or `torch`.
        precision: `fp32`, `int8` (onnxruntime), `bf16` or `fp16` (torch), or `mixed` (onnxruntime): operations of 32
            and of 8 bits, what lies between them, and networks whose layers have either.
        threads: Threads of the runtime.
        cuda: Whether torch runs on the first CUDA device.
        batch: Inputs a call.
        rounds: How often everything is visited.
        repetitions: Timed calls a visit.
        seed: Of the strategies whose networks are measured, and of the order of visits.
        fit_networks: Whole networks of each task, of strategies of all sizes, that the correction is fitted on; the
            uncompressed network and the smallest one are added to them.
        check_networks: Whole networks of each task that the error is stated on.
    """

    runtime: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    cuda: bool = False
    batch: int = 1
    rounds: int = 16
    repetitions: int = 12
    seed: int = 0
    fit_networks: int = 30
    check_networks: int = 50

    def __post_init__(self) -> None:
        """Checks what is asked for.

        Raises:
            ValueError: A precision or number that cannot be measured, or too few calls for a 10th percentile.
        """
        if self.precision not in RUNTIMES.get(self.runtime, ()):
            raise ValueError(f"runtime={self.runtime!r}, precision={self.precision!r}: must be one of {dict(RUNTIMES)}")
        counts = {"threads": 1, "batch": 1, "rounds": 1, "repetitions": 1, "fit_networks": 1, "check_networks": 2}
        for name, least in counts.items():
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)!r} must be a whole number, at least {least}")
        if self.rounds * self.repetitions < MIN_REPETITIONS:
            raise ValueError(
                f"rounds={self.rounds} x repetitions={self.repetitions} is fewer than {MIN_REPETITIONS} timed calls; "
                "raise one of them"
            )
        if self.rounds < 2:
            raise ValueError("rounds=1: two halves of the visits are compared; use at least 2")

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of weights and activations, where nothing is decided about them."""
        return PRECISION_BITS[self.precision]

    @property
    def mixed(self) -> bool:
        """Whether each layer has one of two precisions."""
        return self.precision == "mixed"


def plan_of(runtime: str, precision: str, threads: int, cuda: bool, batch: int, **counts: int) -> ProfilePlan:
    """Returns the plan that a command asks for; raises as `ProfilePlan`."""
    names = {"fitted": "fit_networks", "checked": "check_networks"}
    named = {names.get(name, name): count for name, count in counts.items()}
    return ProfilePlan(runtime, precision, threads, cuda, batch, **named)


def reachable_operations(
    network: Network, decisions: DecisionSpace, plan: ProfilePlan | None = None, with_layout: bool = False
) -> list[Operation]:
    """Returns every distinct operation that some strategy makes, the empty call first.

    Args:
        network: The network.
        decisions: Its channel decisions.
        plan: Gives precision and batch; default: 32 bits, batch 1.
        with_layout: Whether to add the layout changes around weighted operations.
    """
    plan = plan or ProfilePlan()
    values = {d.subject: d.numbers for d in decisions.decisions}
    found = {CALL: None}
    for layer in network.layers:
        touched = [group for group in layer.touched if group in values]
        for counts in product(*(values[group] for group in touched)):
            kept = layer.kept(dict(zip(touched, counts, strict=True)))
            for bits in (plan.bits, MIXED_BITS) if plan.mixed else (plan.bits,):
                operation = operation_of(layer, *kept, *bits, plan.batch)
                found[operation] = None
                if with_layout and operation.kind in WEIGHTED and operation.kind != "linear":
                    found.update(dict.fromkeys(layout_of(operation)))
    if plan.mixed:
        found.update(dict.fromkeys(_conversions(network, values, plan.batch)))
    return list(found)


def _conversions(network: Network, values: Mapping[str, tuple[int, ...]], batch: int) -> Iterator[Operation]:
    """Yields every conversion of a tensor between 32 and 8 bits that strategies can ask for."""
    for boundary in boundaries(network):
        groups = [s.group for s in boundary.segments if s.group is not None and s.group in values]
        for counts in product(*(values[group] for group in groups)):
            chosen = {(group, "channels"): count for group, count in zip(groups, counts, strict=True)}
            for made, wanted in ((FIXED_BITS, FLOAT_BITS), (FLOAT_BITS, FIXED_BITS)):
                chosen |= {(name or "", "precision"): wanted for name in boundary.readers}
                chosen[boundary.made or "", "precision"] = made
                operation = boundary.operation(chosen, batch)
                if operation is not None:
                    yield operation


def operations_of(
    network: Network, decisions: DecisionSpace, strategy: NDArray[np.int64], plan: ProfilePlan
) -> list[Operation]:
    """Returns the operations of one compressed network, in order; conversions between precisions come last."""
    chosen = {(d.subject, d.kind): d.values[c] for d, c in zip(decisions.decisions, strategy, strict=True)}
    counts = {subject: value for (subject, kind), value in chosen.items() if kind == "channels"}
    if not plan.mixed:
        return [operation_of(layer, *layer.kept(counts), *plan.bits, plan.batch) for layer in network.layers]
    found = []
    for layer in network.layers:
        root = network.weighted_roots[layer.name]
        bits = FLOAT_BITS if root is None else chosen.get((root, "precision"), FIXED_BITS)
        found.append(operation_of(layer, *layer.kept(counts), bits, bits, plan.batch))
    converted = (boundary.operation(chosen, plan.batch) for boundary in boundaries(network))
    return [*found, *(operation for operation in converted if operation is not None)]


def contents(
    tasks: Sequence[Task], plan: ProfilePlan, with_layout: bool
) -> tuple[list[Operation], dict[str, NDArray[np.int64]]]:
    """Returns the operations that are measured, and each task's strategies whose networks are, int64 `[N, T]`."""
    operations: dict[Operation, None] = {}
    for task in tasks:
        found = reachable_operations(task.network(), channels_of(task), plan, with_layout)
        operations.update(dict.fromkeys(found))
    return list(operations), {task.name: chosen_strategies(decisions_of(task, plan), plan) for task in tasks}


def contents_digest(operations: Sequence[Operation], strategies: Mapping[str, NDArray[np.int64]]) -> str:
    """Returns what tells profiles apart: a hash over operations and strategies in their order, 16 hex digits."""
    text = json.dumps([[str(o) for o in operations], [[name, rows.tolist()] for name, rows in strategies.items()]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decisions_of(task: Task, plan: ProfilePlan) -> DecisionSpace:
    """Returns what is decided about the networks that are measured: channels, and precisions where there are two."""
    if not plan.mixed:
        return channels_of(task)
    both, options = BitValues((FIXED_BITS, FLOAT_BITS), paired=True), task.options
    return joint_decisions(task.network(), both, options.get("fixed"), options.get("levels", 16))


def channels_of(task: Task) -> DecisionSpace:
    """Returns the decisions about the channels of a task's network."""
    return channel_decisions(task.network(), task.options.get("levels", 16))


def networks_of(
    tasks: Sequence[Task], strategies: Mapping[str, NDArray[np.int64]], plan: ProfilePlan
) -> dict[str, list[list[Operation]]]:
    """Returns the operations of each task's networks."""
    return {
        task.name: [operations_of(task.network(), decisions_of(task, plan), s, plan) for s in strategies[task.name]]
        for task in tasks
    }


def chosen_strategies(decisions: DecisionSpace, plan: ProfilePlan) -> NDArray[np.int64]:
    """Returns the strategies whose networks are measured: uncompressed, smallest, then of all sizes, int64 `[N, T]`.

    Precisions are drawn apart from channels, 8 bits with another probability in each network, and every fifth network
    has all its channels: a narrow one in 32 bits and a wide one in 8 are no rare sight in a search.
    """
    rng = np.random.default_rng(plan.seed)
    drawn = decisions.spread(rng, plan.fit_networks + plan.check_networks)
    if plan.mixed:
        precise = np.array([d.kind == "precision" for d in decisions.decisions])
        drawn[::5, ~precise] = decisions.sizes[~precise] - 1
        floats = rng.random((len(drawn), precise.sum())) < rng.random((len(drawn), 1))
        drawn[:, precise] = np.where(floats, decisions.sizes[precise] - 1, 0)
    return np.concatenate([decisions.uncompressed[None], np.zeros_like(drawn[:1]), drawn])
