"""Measures a device: every operation a task can reach, and whole networks to check the sums against.

All of them are timed in rounds, in random order within a round, so that drift of the machine hits all alike.
A round that is finished is on disk: killed at any moment, the profile goes on with the next one.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from compress_gym.cards import provenance, sha256, write_atomically, write_card
from compress_gym.decisions import DecisionSpace
from compress_gym.devices.correction import errors, fit, isolated_sums
from compress_gym.devices.device import Device
from compress_gym.devices.operations import CALL, Measurement, Operation, operation_of, write_operations
from compress_gym.devices.runtime import open_session, operation_model, sample_us
from compress_gym.networks import Network
from compress_gym.resume import claim, load_arrays, save_array
from compress_gym.tasks import Task

MIN_REPETITIONS = 30


@dataclass(frozen=True)
class Plan:
    """How a profile is measured.

    Attributes:
        task: Name of the task.
        runtime: `onnxruntime`.
        precision: `fp32`.
        threads: Threads of the runtime.
        rounds: How often everything is visited.
        repetitions: Timed calls a visit.
        seed: Of the strategies whose networks are measured, and of the order of visits.
        fit_networks: Whole networks the correction is fitted on.
        check_networks: Whole networks the error is stated on.
    """

    task: str
    runtime: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    rounds: int = 8
    repetitions: int = 12
    seed: int = 0
    fit_networks: int = 20
    check_networks: int = 30

    def __post_init__(self) -> None:
        """Checks that there are enough repetitions for a median and a 10th percentile."""
        if self.rounds * self.repetitions < MIN_REPETITIONS:
            raise ValueError(
                f"rounds={self.rounds} x repetitions={self.repetitions} is fewer than {MIN_REPETITIONS} timed calls; "
                "raise one of them"
            )


def reachable_operations(network: Network, decisions: DecisionSpace) -> list[Operation]:
    """Returns every distinct operation that some strategy makes, the empty call first."""
    values = {d.subject: d.values for d in decisions.decisions}
    found = {CALL: None}
    for layer in network.layers:
        touched = [group for group in layer.touched if group in values]
        for counts in product(*(values[group] for group in touched)):
            kept = layer.kept(dict(zip(touched, counts, strict=True)))
            found[operation_of(layer, *kept)] = None
    return list(found)


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
        ValueError: The unfinished rounds beside `out` belong to another plan.
    """
    work = out.with_suffix(".partial")
    open_session(operation_model(CALL), plan.threads)  # a missing library is told before anything is written
    claim(work, _identity(task, plan))
    network, decisions = task.network(), task.channel_decisions()
    operations = reachable_operations(network, decisions)
    count = plan.fit_networks + plan.check_networks
    strategies = np.random.default_rng(plan.seed).integers(decisions.sizes, size=(count, len(decisions)))
    if any(not _round(work, r).exists() for r in range(plan.rounds)):
        sessions = [open_session(operation_model(o), plan.threads) for o in operations]
        sessions += _network_sessions(task, strategies, work / "networks", plan.threads)
        _measure(sessions, plan, work)
    samples = load_arrays([_round(work, r) for r in range(plan.rounds)], axis=1)
    medians, p10 = np.median(samples, axis=1), np.quantile(samples, 0.1, axis=1)
    repetitions = samples.shape[1]
    table = {
        operation: Measurement(round(medians[i], 3), round(p10[i], 3), repetitions)
        for i, operation in enumerate(operations)
    }
    isolated = isolated_sums(network, decisions, strategies, table)
    measured = medians[len(operations) :]
    fitted, checked = slice(plan.fit_networks), slice(plan.fit_networks, None)
    scale, network_us = fit(isolated[fitted], measured[fitted])
    plain = isolated + len(network.layers) * table[CALL].median_us
    card = {
        "what": f"latency of operations under {plan.runtime} {plan.precision}, batch 1, {plan.threads} thread(s)",
        "kind": "cpu",
        "runtime": plan.runtime,
        "precision": plan.precision,
        "threads": plan.threads,
        "tasks": [plan.task],
        "operations": len(table),
        "statistic": f"median and 10th percentile of {repetitions} calls in {plan.rounds} rounds of random order",
        "correction": {
            "model": "network_us + scale * (sum over operations of median_us - median_us of the empty call)",
            "scale": scale,
            "network_us": network_us,
            "fitted_on": f"{plan.fit_networks} whole networks of random strategies",
        },
        "stated_error": errors(scale * isolated[checked] + network_us, measured[checked], plain[checked]),
        **provenance(command, ["onnxruntime", "onnx", "numpy", "torch"]),
    }
    write_atomically(out, lambda p: write_operations(p, table))
    write_card(out, card)
    shutil.rmtree(work)
    return Device(out.stem, "cpu", table, scale, network_us, card)


def _identity(task: Task, plan: Plan) -> dict[str, Any]:
    """What the rounds belong to: those of another plan, network, machine or runtime are never mixed in."""
    made = provenance("", ["onnxruntime", "onnx"])
    return {
        **asdict(plan),
        "weights": sha256(task.folder / "weights.safetensors"),
        "hardware": made["hardware"],
        "versions": made["versions"],
    }


def _round(work: Path, number: int) -> Path:
    return work / f"round-{number:02d}.npy"


def _network_sessions(task: Task, strategies: NDArray[np.int64], folder: Path, threads: int) -> list[Any]:
    # Latency does not depend on the weights' values, so nothing is recovered and no data set is needed.
    from compress_gym.compression.export import export_onnx
    from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels

    module, network, decisions = task.trained_module(), task.network(), task.channel_decisions()
    ranking, shape = channel_ranking(module, network), network.input_shape
    sessions = []
    for n, strategy in enumerate(track(strategies, description="exporting whole networks")):
        path = folder / f"{n:03d}.onnx"
        if not path.exists():
            counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, strategy, strict=True)}
            small = remove_channels(module, network, kept_channels(ranking, counts))
            write_atomically(path, partial(export_onnx, small, shape))
        sessions.append(open_session(path.read_bytes(), threads))
    return sessions


def _measure(sessions: list[Any], plan: Plan, work: Path) -> None:
    """Visits all sessions once a round, in random order, and writes the round's samples."""
    with Progress() as progress:
        bar = progress.add_task("measuring", total=plan.rounds * len(sessions))
        for r in range(plan.rounds):
            if _round(work, r).exists():
                progress.advance(bar, len(sessions))
                continue
            samples = np.empty((len(sessions), plan.repetitions))
            for i in np.random.default_rng([plan.seed, r]).permutation(len(sessions)):
                samples[i] = sample_us(sessions[i], plan.repetitions)
                progress.advance(bar)
            save_array(_round(work, r), samples)
