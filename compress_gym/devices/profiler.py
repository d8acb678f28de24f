"""Measures a device: every operation a task can reach, and whole networks to check the sums against.

All of them are timed in rounds, in random order within a round, so that drift of the machine hits all alike.
A round that is finished is on disk: killed at any moment, the profile goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from compress_gym.cards import provenance, write_atomically, write_card
from compress_gym.decisions import DecisionSpace
from compress_gym.devices.benches import Bench, OnnxBench, Opener, open_bench
from compress_gym.devices.correction import Correction, errors, features, fit, medians
from compress_gym.devices.device import Device
from compress_gym.devices.operations import (
    CALL,
    PRECISION_BITS,
    Measurement,
    Operation,
    layout_of,
    operation_of,
    write_operations,
)
from compress_gym.devices.runtime import sample_us
from compress_gym.networks import Network
from compress_gym.networks.network import WEIGHTED
from compress_gym.processor import torch_device_name
from compress_gym.resume import claim, load_arrays, save_array
from compress_gym.tasks import Task

if TYPE_CHECKING:
    from torch import nn

MIN_REPETITIONS = 30
# Operations and networks visited first, to say how long the profile will take.
PILOT = 40


@dataclass(frozen=True)
class Plan:
    """How a profile is measured.

    Attributes:
        task: Name of the task.
        runtime: `onnxruntime` or `torch`.
        precision: `fp32`, `int8` (onnxruntime), `bf16` or `fp16` (torch).
        threads: Threads of the runtime.
        cuda: Whether torch runs on the first CUDA device.
        batch: Inputs a call.
        rounds: How often everything is visited.
        repetitions: Timed calls a visit.
        seed: Of the strategies whose networks are measured, and of the order of visits.
        fit_networks: Whole networks of strategies of all sizes that the correction is fitted on; the uncompressed
            network and the smallest one are added to them.
        check_networks: Whole networks the error is stated on.
    """

    task: str
    runtime: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    cuda: bool = False
    batch: int = 1
    rounds: int = 8
    repetitions: int = 12
    seed: int = 0
    fit_networks: int = 30
    check_networks: int = 50

    def __post_init__(self) -> None:
        """Checks that there are enough repetitions for a median and a 10th percentile."""
        if self.rounds * self.repetitions < MIN_REPETITIONS:
            raise ValueError(
                f"rounds={self.rounds} x repetitions={self.repetitions} is fewer than {MIN_REPETITIONS} timed calls; "
                "raise one of them"
            )

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of weights and activations."""
        return PRECISION_BITS[self.precision]


def reachable_operations(
    network: Network, decisions: DecisionSpace, plan: Plan | None = None, with_layout: bool = False
) -> list[Operation]:
    """Returns every distinct operation that some strategy makes, the empty call first.

    Args:
        network: The network.
        decisions: Its channel decisions.
        plan: Gives bits and batch; default: 32 bits, batch 1.
        with_layout: Whether to add the layout changes around weighted operations.
    """
    bits, batch = (plan.bits, plan.batch) if plan else ((32, 32), 1)
    values = {d.subject: d.values for d in decisions.decisions}
    found = {CALL: None}
    for layer in network.layers:
        touched = [group for group in layer.touched if group in values]
        for counts in product(*(values[group] for group in touched)):
            kept = layer.kept(dict(zip(touched, counts, strict=True)))
            operation = operation_of(layer, *kept, *bits, batch)
            found[operation] = None
            if with_layout and operation.kind in WEIGHTED and operation.kind != "linear":
                found.update(dict.fromkeys(layout_of(operation)))
    return list(found)


def operations_of(
    network: Network, decisions: DecisionSpace, strategy: NDArray[np.int64], plan: Plan
) -> list[Operation]:
    """Returns the operations of one compressed network, in order."""
    counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, strategy, strict=True)}
    return [operation_of(layer, *layer.kept(counts), *plan.bits, plan.batch) for layer in network.layers]


def profile(task: Task, plan: Plan, out: Path, command: str) -> Device:
    """Measures this machine for a task and writes a latency table with its card.

    Args:
        task: The task.
        plan: What to measure, how often.
        out: The table's path, ending in `.csv`; finished rounds wait in a folder beside it.
        command: The command line, for the card.

    Returns:
        The device, as written.

    Raises:
        ValueError: The unfinished rounds beside `out` belong to another plan, or the runtime lacks the precision.
    """
    work = out.with_suffix(".partial")
    # A missing library is told before anything is written.
    bench = open_bench(plan.runtime, plan.precision, plan.threads, plan.cuda, plan.batch)
    claim(work, _identity(task, plan, bench))
    network, decisions = task.network(), task.channel_decisions()
    operations = reachable_operations(network, decisions, plan, bench.measures_layout)
    strategies = chosen_strategies(decisions, plan)
    if any(not _round(work, r).exists() for r in range(plan.rounds)):
        openers = [bench.operation(o) for o in track(operations, description="building operations")]
        openers += _networks(task, strategies, work / "networks", bench)
        _measure(openers, plan, work)
    samples = load_arrays([_round(work, r) for r in range(plan.rounds)], axis=1)
    middle, p10, count = np.median(samples, axis=1), np.quantile(samples, 0.1, axis=1), samples.shape[1]
    networks = [operations_of(network, decisions, strategy, plan) for strategy in strategies]
    table, correction, error = evaluate(operations, networks, middle, p10, count, plan, bench.measures_layout)
    card = measured_card(plan, table, correction, error, count, provenance(command, bench.packages))
    write_atomically(out, lambda p: write_operations(p, table))
    write_card(out, card)
    shutil.rmtree(work)
    return Device(out.stem, card["kind"], table, correction, plan.bits, plan.batch, card=card)


def measured_card(
    plan: Plan,
    table: dict[Operation, Measurement],
    correction: Correction,
    error: dict[str, Any],
    repetitions: int,
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
        "tasks": [plan.task],
        "operations": len(table),
        "statistic": f"median and 10th percentile of {repetitions} calls in {plan.rounds} rounds of random order",
        "correction": {
            "model": "network_us + sum over operations of weighted or other * (median_us - that of the empty call), "
            "less layout * half the layout changes around each convolution",
            **correction.to_json(),
            "fitted_on": f"{plan.fit_networks} whole networks of all sizes, the uncompressed and the smallest",
        },
        "stated_error": error,
        **({"accelerator": torch_device_name("cuda")} if plan.cuda else {}),
        **made,
    }


def chosen_strategies(decisions: DecisionSpace, plan: Plan) -> NDArray[np.int64]:
    """Returns the strategies whose networks are measured: uncompressed, smallest, then of all sizes, int64 `[N, T]`."""
    drawn = decisions.spread(np.random.default_rng(plan.seed), plan.fit_networks + plan.check_networks)
    return np.concatenate([decisions.sizes[None] - 1, np.zeros_like(drawn[:1]), drawn])


def evaluate(
    operations: Sequence[Operation],
    networks: Sequence[Sequence[Operation]],
    middle: NDArray[np.float64],
    p10: NDArray[np.float64],
    repetitions: int,
    plan: Plan,
    with_layout: bool,
) -> tuple[dict[Operation, Measurement], Correction, dict[str, Any]]:
    """Makes the table, fits the correction and states its error.

    Args:
        operations: What was measured first.
        networks: Operations of each network that was measured after them, those to fit on first.
        middle: Median microseconds, float64 `[operations + networks]`.
        p10: 10th percentiles, float64 `[operations + networks]`.
        repetitions: Timed calls of each.
        plan: Says how many networks are fitted on.
        with_layout: Whether layout changes were measured.

    Returns:
        The table, the correction, and the error on the networks that were not fitted on.
    """
    table = {
        operation: Measurement(round(float(middle[i]), 3), round(float(p10[i]), 3), repetitions)
        for i, operation in enumerate(operations)
    }
    lookup, measured = medians(table), middle[len(operations) :]
    fitted = len(networks) - plan.check_networks
    correction = fit(features(networks[:fitted], lookup, with_layout), measured[:fitted])
    predicted = [correction.network_us + sum(correction.operation_us(o, lookup) for o in n) for n in networks]
    plain = [sum(lookup[o] for o in n) for n in networks]
    error = errors(np.array(predicted[fitted:]), measured[fitted:], np.array(plain[fitted:]))
    error["uncompressed_predicted_over_measured"] = round(float(predicted[0] / measured[0]), 4)
    return table, correction, error


def _identity(task: Task, plan: Plan, bench: Bench) -> dict[str, Any]:
    """What the rounds belong to: those of another plan, network, machine or runtime are never mixed in."""
    made = provenance("", bench.packages)
    return {
        **asdict(plan),
        "network": hashlib.sha256(json.dumps(task.network().to_json()).encode()).hexdigest(),
        "hardware": made["hardware"],
        "versions": made["versions"],
    }


def _round(work: Path, number: int) -> Path:
    return work / f"round-{number:02d}.npy"


def _networks(task: Task, strategies: NDArray[np.int64], folder: Path, bench: Bench) -> list[Opener]:
    network, modules = task.network(), compressed_modules(task, strategies)
    return [bench.network(module, network, folder / f"{n:03d}") for n, module in enumerate(modules)]


def network_files(task: Task, strategies: NDArray[np.int64], plan: Plan, folder: Path) -> Iterator[Path]:
    """Exports whole networks for ONNX Runtime and yields their files."""
    bench = OnnxBench(plan.precision, plan.threads, plan.batch)
    network = task.network()
    for n, module in enumerate(compressed_modules(task, strategies)):
        yield bench.export(module, network, folder / f"{n:03d}")


def compressed_modules(task: Task, strategies: NDArray[np.int64]) -> Iterator[nn.Module]:
    """Yields the compressed network of each strategy.

    Latency does not depend on the weights' values: they are fresh ones, and no data set is needed.
    """
    from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels

    module, network, decisions = task.untrained_module().eval(), task.network(), task.channel_decisions()
    ranking = channel_ranking(module, network)
    for strategy in track(strategies, description="building whole networks"):
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, strategy, strict=True)}
        yield remove_channels(module, network, kept_channels(ranking, counts))


def _measure(openers: list[Opener], plan: Plan, work: Path) -> None:
    """Visits everything once a round, in random order, opened anew, and writes the round's samples."""
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
            samples = np.empty((len(openers), plan.repetitions))
            for i in np.random.default_rng([plan.seed, r]).permutation(len(openers)):
                samples[i] = sample_us(openers[i](), plan.repetitions)
                progress.advance(bar)
            save_array(_round(work, r), samples)
