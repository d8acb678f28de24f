"""Measures a device: every operation that tasks can reach, and whole networks to check the sums against.

A finished round is on disk: killed at any moment, the profile goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from compress_gym.devices.correction import Correction, times_us
from compress_gym.devices.device import Device
from compress_gym.devices.energy import PROVENANCE
from compress_gym.devices.operations import Measurement, Operation, write_operations
from compress_gym.making.profile.benches import Bench, Build, OnnxBench, Opener, open_bench
from compress_gym.making.profile.correction import errors, features, fit, fit_mixed, mixed_features, worst_of
from compress_gym.making.profile.plan import ProfilePlan, contents, contents_digest, decisions_of, networks_of, plan_of
from compress_gym.making.profile.rounds import measure, measured, missing_rounds
from compress_gym.making.profile.timing import agreement, sample_us
from compress_gym.problem.decisions import FLOAT_BITS
from compress_gym.support.cards import provenance, write_atomically, write_card
from compress_gym.support.processor import torch_device_name
from compress_gym.support.resume import claim
from compress_gym.tasks import Task

__all__ = ["plan_of", "profile"]
# Operations visited first, to say how long the profile will take.
PILOT = 40


def profile(tasks: Sequence[Task], plan: ProfilePlan, out: Path, command: str) -> Device:
    """Measures this machine for tasks, writes a latency table with its card, and returns the device as written.

    An operation that several tasks reach is measured once. Finished rounds wait in a folder beside the table.

    Raises:
        ValueError: The unfinished rounds beside `out` belong to another plan, or the runtime lacks the precision.
    """
    tasks = list({task.name: task for task in tasks}.values())
    work = out.with_suffix(".partial")
    # A missing library is told before anything is written.
    bench = open_bench(plan.runtime, plan.precision, plan.threads, plan.cuda, plan.batch)
    operations, strategies = contents(tasks, plan, bench.measures_layout)
    claim(work, _identity(plan, contents_digest(operations, strategies), tasks, bench))
    rounds = missing_rounds(work, plan.rounds)
    if rounds:
        openers = [bench.operation(o) for o in track(operations, description="building operations")]
        builders = [
            _builders(task, strategies[task.name], plan, work / "networks" / task.name, bench) for task in tasks
        ]
        building, visiting = _pilot(openers, builders, bench, plan)
        measuring = visiting * rounds
        told = f"building whole networks (about {building:.0f} of {building + measuring:.0f} minutes)"
        every = [build for own in builders for build in own.values()]
        openers += [build() for build in track(every, description=told)]
        told = f"measuring (about {measuring:.0f} minutes)"
        measure([partial(_visit, opener, plan) for opener in openers], plan.rounds, plan.seed, work, told)
    visits = measured(work, plan.rounds, axis=1)
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


def measured_card(
    tasks: Sequence[Task],
    plan: ProfilePlan,
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
        "energy": PROVENANCE,
        "stated_error": error,
        **({"accelerator": torch_device_name("cuda")} if plan.cuda else {}),
        **made,
    }


def times_of(visits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the fastest, the median and the 10th percentile of visits `[N, visits]`, float64 `[N, 3]`."""
    return np.stack([visits.min(axis=1), np.median(visits, axis=1), np.quantile(visits, 0.1, axis=1)], axis=1)


def evaluate(
    operations: Sequence[Operation],
    networks: Mapping[str, Sequence[Sequence[Operation]]],
    times: NDArray[np.float64],
    plan: ProfilePlan,
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
    latencies = {task: times[ends[n] : ends[n + 1], 0] for n, task in enumerate(networks)}
    fitted = {task: own[: -plan.check_networks] for task, own in networks.items()}
    every = [network for own in fitted.values() for network in own]
    known = np.concatenate([latencies[task][: len(own)] for task, own in fitted.items()])
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
        stated[task] = errors(predicted[checked], latencies[task][checked], plain[checked])
        stated[task]["uncompressed_predicted_over_measured"] = round(float(predicted[0] / latencies[task][0]), 4)
    return table, correction, worst_of(stated)


def _identity(plan: ProfilePlan, digest: str, tasks: Sequence[Task], bench: Bench) -> dict[str, Any]:
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


def _builders(
    task: Task, strategies: NDArray[np.int64], plan: ProfilePlan, folder: Path, bench: Bench
) -> dict[Path, Callable[[], Opener]]:
    """Returns what builds each network, and says how to open it, by the file that may keep it."""
    network = task.network()
    return {
        (file := folder / f"{n:03d}"): partial(bench.network, build, network, file, floats)
        for n, (build, floats) in enumerate(compressed_modules(task, strategies, plan))
    }


def network_files(task: Task, strategies: NDArray[np.int64], plan: ProfilePlan, folder: Path) -> Iterator[Path]:
    """Exports whole networks for ONNX Runtime and yields their files."""
    bench = OnnxBench(plan.precision, plan.threads, plan.batch)
    network = task.network()
    compressed = list(compressed_modules(task, strategies, plan))
    for n, (build, floats) in enumerate(track(compressed, description="building whole networks")):
        yield bench.export(build, network, folder / f"{n:03d}", floats)


def compressed_modules(
    task: Task, strategies: NDArray[np.int64], plan: ProfilePlan
) -> Iterator[tuple[Build, frozenset[str]]]:
    """Yields what makes each strategy's compressed network, and its layers in full precision where that is a choice.

    Latency does not depend on the weights' values: they are fresh ones, and no data set is needed.
    """
    from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels

    module, network, decisions = task.untrained_module().eval(), task.network(), decisions_of(task, plan)
    ranking = channel_ranking(module, network)
    for strategy in strategies:
        chosen = [(d.subject, d.kind, d.values[c]) for d, c in zip(decisions.decisions, strategy, strict=True)]
        counts = {subject: value for subject, kind, value in chosen if kind == "channels"}
        floats = frozenset(subject for subject, kind, value in chosen if kind == "precision" and value == FLOAT_BITS)
        yield partial(remove_channels, module, network, kept_channels(ranking, counts)), floats


def _pilot(
    operations: Sequence[Opener],
    builders: Sequence[Mapping[Path, Callable[[], Opener]]],
    bench: Bench,
    plan: ProfilePlan,
) -> tuple[float, float]:
    """Returns the minutes that building the networks which are not there, and a round will take, from a few of each."""
    chosen = np.random.default_rng(plan.seed).permutation(len(operations))[:PILOT]
    started = time.perf_counter()
    for i in chosen:
        _visit(operations[i], plan)
    visiting, building = (time.perf_counter() - started) / len(chosen) * len(operations), 0.0
    # The first one that is built waits for the exporter to be loaded.
    for build in [build for own in builders for file, build in own.items() if not bench.keeps(file)][:1]:
        build()
    for own in builders:
        unbuilt = [build for file, build in own.items() if not bench.keeps(file)]
        started = time.perf_counter()
        opener = (unbuilt or list(own.values()))[-1]()
        built = time.perf_counter()
        _visit(opener, plan)
        building += (built - started) * len(unbuilt)
        visiting += (time.perf_counter() - built) * len(own)
    return building / 60, visiting / 60


def _visit(opener: Opener, plan: ProfilePlan) -> NDArray[np.float64]:
    """Opens something anew and returns its fastest call."""
    return sample_us(opener(), plan.repetitions).min(keepdims=True)
