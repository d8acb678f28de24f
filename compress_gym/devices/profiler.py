"""Measures a device: every operation that tasks can reach, and whole networks to check the sums against.

All of them are timed in rounds, in random order within a round, so that drift of the machine hits all alike.
A round that is finished is on disk: killed at any moment, the profile goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from compress_gym.cards import provenance, write_atomically, write_card
from compress_gym.costs.boundaries import boundaries
from compress_gym.decisions import FIXED_BITS, FLOAT_BITS, BitValues, DecisionSpace
from compress_gym.devices.benches import RUNTIMES, Bench, Build, OnnxBench, Opener, open_bench
from compress_gym.devices.correction import (
    Correction,
    errors,
    features,
    fit,
    fit_mixed,
    mixed_features,
    times_us,
    worst_of,
)
from compress_gym.devices.device import Device
from compress_gym.devices.operations import (
    CALL,
    MIXED_BITS,
    PRECISION_BITS,
    Measurement,
    Operation,
    layout_of,
    operation_of,
    write_operations,
)
from compress_gym.devices.timing import agreement, sample_us
from compress_gym.networks import Network
from compress_gym.networks.network import WEIGHTED
from compress_gym.networks.sources import weighted_roots
from compress_gym.processor import torch_device_name
from compress_gym.resume import claim, load_arrays, save_array
from compress_gym.tasks import Task

MIN_REPETITIONS = 30
# Operations and networks visited first, to say how long the profile will take.
PILOT = 40


@dataclass(frozen=True)
class Plan:
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


def reachable_operations(
    network: Network, decisions: DecisionSpace, plan: Plan | None = None, with_layout: bool = False
) -> list[Operation]:
    """Returns every distinct operation that some strategy makes, the empty call first.

    Args:
        network: The network.
        decisions: Its channel decisions.
        plan: Gives precision and batch; default: 32 bits, batch 1.
        with_layout: Whether to add the layout changes around weighted operations.
    """
    plan = plan or Plan()
    values = {d.subject: d.values for d in decisions.decisions}
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
    network: Network, decisions: DecisionSpace, strategy: NDArray[np.int64], plan: Plan
) -> list[Operation]:
    """Returns the operations of one compressed network, in order; conversions between precisions come last."""
    chosen = {(d.subject, d.kind): d.values[c] for d, c in zip(decisions.decisions, strategy, strict=True)}
    counts = {subject: value for (subject, kind), value in chosen.items() if kind == "channels"}
    if not plan.mixed:
        return [operation_of(layer, *layer.kept(counts), *plan.bits, plan.batch) for layer in network.layers]
    roots, found = weighted_roots(network), []
    for layer in network.layers:
        root = roots[layer.name]
        bits = FLOAT_BITS if root is None else chosen.get((root, "precision"), FIXED_BITS)
        found.append(operation_of(layer, *layer.kept(counts), bits, bits, plan.batch))
    converted = (boundary.operation(chosen, plan.batch) for boundary in boundaries(network))
    return [*found, *(operation for operation in converted if operation is not None)]


def profile(tasks: Sequence[Task], plan: Plan, out: Path, command: str) -> Device:
    """Measures this machine for tasks and writes a latency table with its card.

    Args:
        tasks: The tasks; an operation that several of them reach is measured once.
        plan: What to measure, how often.
        out: The table's path, ending in `.csv`; finished rounds wait in a folder beside it.
        command: The command line, for the card.

    Returns:
        The device, as written.

    Raises:
        ValueError: The unfinished rounds beside `out` belong to another plan, or the runtime lacks the precision.
    """
    tasks = list(dict.fromkeys(tasks))
    work = out.with_suffix(".partial")
    # A missing library is told before anything is written.
    bench = open_bench(plan.runtime, plan.precision, plan.threads, plan.cuda, plan.batch)
    operations, strategies = contents(tasks, plan, bench.measures_layout)
    claim(work, _identity(plan, contents_digest(operations, strategies), tasks, bench))
    if any(not _round(work, r).exists() for r in range(plan.rounds)):
        openers = [bench.operation(o) for o in track(operations, description="building operations")]
        for task in tasks:
            openers += _networks(task, strategies[task.name], plan, work / "networks" / task.name, bench)
        _measure(openers, plan, work)
    visits = load_arrays([_round(work, r) for r in range(plan.rounds)], axis=1)
    networks = networks_of(tasks, strategies, plan)
    table, correction, error = evaluate(operations, networks, times_of(visits), plan, bench.measures_layout)
    first = len(operations)
    for name, stated in error.get("tasks", {tasks[0].name: error}).items():
        last = first + len(networks[name])
        stated["two_halves_of_the_visits"] = agreement(visits[last - plan.check_networks : last])
        first = last
    card = measured_card(tasks, plan, table, correction, error, provenance(command, bench.packages))
    write_atomically(out, lambda p: write_operations(p, table))
    write_card(out, card)
    shutil.rmtree(work)
    return Device(out.stem, card["kind"], table, correction, plan.bits, plan.batch, card=card)


def contents(
    tasks: Sequence[Task], plan: Plan, with_layout: bool
) -> tuple[list[Operation], dict[str, NDArray[np.int64]]]:
    """Returns the operations that are measured, and each task's strategies whose networks are, int64 `[N, T]`."""
    operations: dict[Operation, None] = {}
    for task in tasks:
        found = reachable_operations(task.network(), task.channel_decisions(), plan, with_layout)
        operations.update(dict.fromkeys(found))
    return list(operations), {task.name: chosen_strategies(decisions_of(task, plan), plan) for task in tasks}


def contents_digest(operations: Sequence[Operation], strategies: Mapping[str, NDArray[np.int64]]) -> str:
    """Returns what tells profiles apart: a hash over operations and strategies in their order, 16 hex digits."""
    text = json.dumps([[str(o) for o in operations], [[name, rows.tolist()] for name, rows in strategies.items()]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decisions_of(task: Task, plan: Plan) -> DecisionSpace:
    """Returns what is decided about the networks that are measured: channels, and precisions where there are two."""
    if not plan.mixed:
        return task.channel_decisions()
    return task.decisions("JointPQ", BitValues((FIXED_BITS, FLOAT_BITS), paired=True))


def networks_of(
    tasks: Sequence[Task], strategies: Mapping[str, NDArray[np.int64]], plan: Plan
) -> dict[str, list[list[Operation]]]:
    """Returns the operations of each task's networks."""
    return {
        task.name: [operations_of(task.network(), decisions_of(task, plan), s, plan) for s in strategies[task.name]]
        for task in tasks
    }


def measured_card(
    tasks: Sequence[Task],
    plan: Plan,
    table: dict[Operation, Measurement],
    correction: Correction,
    error: dict[str, Any],
    made: dict[str, Any],
) -> dict[str, Any]:
    """Returns the card of a measured table; `made` says where, when and by which command."""
    return {
        "what": f"latency of operations under {plan.runtime} {plan.precision}, batch {plan.batch}, "
        f"{plan.threads} thread(s)",
        "kind": "gpu" if plan.cuda else "cpu",
        "runtime": plan.runtime,
        "precision": plan.precision,
        "threads": plan.threads,
        "batch": plan.batch,
        "tasks": [task.name for task in tasks],
        "operations": len(table),
        "statistic": f"fastest of {plan.rounds * plan.repetitions} calls in {plan.rounds} visits in random order; "
        "median and 10th percentile are those of each visit's fastest call",
        "correction": {
            "model": "network_us + sum over operations of weighted or other * (fastest_us - that of the empty call), "
            "plus weight_kib and activation_kib * KiB, less layout * half the layout changes around each convolution"
            + (", of 32 and of 8 bits, and of boundary * each conversion between them" if plan.mixed else ""),
            **correction.to_json(),
            "fitted_on": f"{plan.fit_networks} whole networks of each task, of all sizes, the uncompressed and the "
            "smallest",
        },
        "energy": "analytic",
        "stated_error": error,
        **({"accelerator": torch_device_name("cuda")} if plan.cuda else {}),
        **made,
    }


def chosen_strategies(decisions: DecisionSpace, plan: Plan) -> NDArray[np.int64]:
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
    return np.concatenate([decisions.sizes[None] - 1, np.zeros_like(drawn[:1]), drawn])


def times_of(visits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the fastest, the median and the 10th percentile of visits `[N, visits]`, float64 `[N, 3]`."""
    return np.stack([visits.min(axis=1), np.median(visits, axis=1), np.quantile(visits, 0.1, axis=1)], axis=1)


def evaluate(
    operations: Sequence[Operation],
    networks: Mapping[str, Sequence[Sequence[Operation]]],
    times: NDArray[np.float64],
    plan: Plan,
    with_layout: bool,
) -> tuple[dict[Operation, Measurement], Correction, dict[str, Any]]:
    """Makes the table, fits the correction and states its error.

    Args:
        operations: What was measured first.
        networks: Operations of each task's networks, which were measured after them; of a task, those to fit on first.
        times: Their times, from `times_of`, float64 `[operations + networks, 3]`.
        plan: Says how many networks are fitted on, and how many calls were timed.
        with_layout: Whether layout changes were measured.

    Returns:
        The table, the correction, and the error on the networks that were not fitted on: of one task, or of each task
        and the worst of them.
    """
    repetitions = plan.rounds * plan.repetitions
    table = {
        operation: Measurement(median, p10, repetitions, fastest)
        for operation, (fastest, median, p10) in zip(
            operations, times[: len(operations)].round(3).tolist(), strict=True
        )
    }
    lookup = times_us(table)
    ends = np.cumsum([len(operations), *(len(own) for own in networks.values())])
    measured = {task: times[ends[n] : ends[n + 1], 0] for n, task in enumerate(networks)}
    fitted = {task: own[: -plan.check_networks] for task, own in networks.items()}
    every = [network for own in fitted.values() for network in own]
    known = np.concatenate([measured[task][: len(own)] for task, own in fitted.items()])
    correction: Correction
    if plan.mixed:
        correction = fit_mixed(mixed_features(every, lookup), known)
    else:
        correction = fit(features(every, lookup, with_layout), known)
    stated = {}
    for task, own in networks.items():
        predicted = np.array([correction.network_us + sum(correction.operation_us(o, lookup) for o in n) for n in own])
        plain = np.array([sum(lookup[o] for o in n) for n in own])
        checked = slice(len(fitted[task]), None)
        stated[task] = errors(predicted[checked], measured[task][checked], plain[checked])
        stated[task]["uncompressed_predicted_over_measured"] = round(float(predicted[0] / measured[task][0]), 4)
    return table, correction, worst_of(stated)


def _identity(plan: Plan, digest: str, tasks: Sequence[Task], bench: Bench) -> dict[str, Any]:
    """What the rounds belong to: those of another plan, network, machine or runtime are never mixed in."""
    made = provenance("", bench.packages)
    return {
        **asdict(plan),
        "contents": digest,
        "networks": {
            task.name: hashlib.sha256(json.dumps(task.network().to_json()).encode()).hexdigest() for task in tasks
        },
        "hardware": made["hardware"],
        "versions": made["versions"],
    }


def _round(work: Path, number: int) -> Path:
    return work / f"round-{number:02d}.npy"


def _networks(task: Task, strategies: NDArray[np.int64], plan: Plan, folder: Path, bench: Bench) -> list[Opener]:
    network, compressed = task.network(), compressed_modules(task, strategies, plan)
    return [bench.network(build, network, folder / f"{n:03d}", floats) for n, (build, floats) in enumerate(compressed)]


def network_files(task: Task, strategies: NDArray[np.int64], plan: Plan, folder: Path) -> Iterator[Path]:
    """Exports whole networks for ONNX Runtime and yields their files."""
    bench = OnnxBench(plan.precision, plan.threads, plan.batch)
    network = task.network()
    for n, (build, floats) in enumerate(compressed_modules(task, strategies, plan)):
        yield bench.export(build, network, folder / f"{n:03d}", floats)


def compressed_modules(task: Task, strategies: NDArray[np.int64], plan: Plan) -> Iterator[tuple[Build, frozenset[str]]]:
    """Yields what makes each strategy's compressed network, and its layers in full precision where that is a choice.

    Latency does not depend on the weights' values: they are fresh ones, and no data set is needed.
    """
    from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels

    module, network, decisions = task.untrained_module().eval(), task.network(), decisions_of(task, plan)
    ranking = channel_ranking(module, network)
    for strategy in track(strategies, description="building whole networks"):
        chosen = [(d.subject, d.kind, d.values[c]) for d, c in zip(decisions.decisions, strategy, strict=True)]
        counts = {subject: value for subject, kind, value in chosen if kind == "channels"}
        floats = frozenset(subject for subject, kind, value in chosen if kind == "precision" and value == FLOAT_BITS)
        yield partial(remove_channels, module, network, kept_channels(ranking, counts)), floats


def _measure(openers: list[Opener], plan: Plan, work: Path) -> None:
    """Visits everything once a round, in random order, opened anew, and writes each visit's fastest call."""
    pilot = np.random.default_rng(plan.seed).permutation(len(openers))[:PILOT]
    started = time.perf_counter()
    for i in pilot:
        sample_us(openers[i](), plan.repetitions)
    minutes = (time.perf_counter() - started) / len(pilot) * len(openers) * plan.rounds / 60
    with Progress() as progress:
        bar = progress.add_task(f"measuring (about {minutes:.1f} minutes)", total=plan.rounds * len(openers))
        for r in range(plan.rounds):
            if _round(work, r).exists():
                progress.advance(bar, len(openers))
                continue
            fastest = np.empty((len(openers), 1))
            for i in np.random.default_rng([plan.seed, r]).permutation(len(openers)):
                fastest[i] = sample_us(openers[i](), plan.repetitions).min()
                progress.advance(bar)
            save_array(_round(work, r), fastest)
