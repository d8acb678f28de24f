"""Problems and tasks that tests share."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from compress_gym.data.archives import ARCHIVES, DATA_VARIABLE, data_root, has_archive
from compress_gym.devices import CALL, Device, Measurement, Operation, operation_of
from compress_gym.devices.correction import Correction
from compress_gym.networks import Network
from compress_gym.problem import Problem
from compress_gym.problem.costs import Term, pack
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.network_decisions import channel_values
from compress_gym.problem.scores import MeasuredAccuracy
from compress_gym.support.commands import run_command
from compress_gym.support.processor import processor_name
from compress_gym.tasks import Task, get_task

TINY = "tests.tiny_net:TinyNet"


def random_problem(seed: int, budget_slack: float = 0.3, **settings) -> Problem:
    """A problem with random decisions and random, not monotone cost terms; always solvable."""
    return random_terms(seed, budget_slack, **settings)[0]


def random_terms(
    seed: int, budget_slack: float = 0.3, conditional: bool = False, labels: bool = False, **settings
) -> tuple[Problem, list[Term]]:
    """The same, with the cost terms it was packed from.

    Conditional: some decisions require an earlier one. Labels: some have labels, and any value may be the reference.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    sizes = rng.integers(1, 7, size=count)
    decisions = [Decision(f"d{t}", "other", tuple(range(1, int(n) + 1))) for t, n in enumerate(sizes)]
    for t in range(1, count if conditional else 0):
        u = int(rng.integers(t))
        if sizes[u] > 1 and rng.random() < 0.7:
            decisions[t] = replace(decisions[t], requires=(f"d{u}", int(rng.integers(2, sizes[u] + 1))))
    space = _with_labels(decisions, seed) if labels else DecisionSpace(tuple(decisions))
    terms = []
    for k in range(int(rng.integers(1, 6))):
        used = tuple(int(t) for t in rng.permutation(count)[: rng.integers(0, min(3, count) + 1)])
        terms.append(_indifferent(space, Term(f"t{k}", used, rng.uniform(0.1, 10, size=(*sizes[list(used)], 2)))))
    packed = pack(space, ("latency_ms", "macs"), terms)
    model = MeasuredAccuracy(space, rng.random(space.count), 0.9)
    costs = packed.evaluate(space.enumerate())[:, 0]
    cheapest = costs.min() / costs[space.index(space.uncompressed)[0]]
    budget = cheapest + budget_slack * (1 - cheapest)
    return Problem(space, packed, model, **{"budget": budget, "reward": "accuracy", **settings}), terms


def _with_labels(decisions: list[Decision], seed: int) -> DecisionSpace:
    """Names the values of some decisions instead of numbering them, and draws references."""
    rng = np.random.default_rng([seed, 1])
    named = {d.name: tuple(f"label-{n}" for n in rng.permutation(d.values)) for d in decisions if rng.random() < 0.6}
    changed = []
    for d in decisions:
        values, requires = named.get(d.name, d.values), d.requires
        if requires and requires[0] in named:
            requires = (f"{requires[0]}-named", named[requires[0]][int(requires[1]) - 1])
        reference = values[rng.integers(len(values))] if rng.random() < 0.7 else None
        # A name of its own: Gymnasium's loop cannot hold numbers of one problem and labels of another under one name.
        name = f"{d.name}-named" if d.name in named else d.name
        changed.append(replace(d, name=name, values=values, requires=requires, reference=reference))
    return DecisionSpace(tuple(changed))


def _indifferent(space: DecisionSpace, term: Term) -> Term:
    """Makes a term depend on what its decisions require, too, and on nothing that is inactive."""
    used = list(term.decisions)
    for t in used:
        used += [u for u in (int(space.conditions[t, 0]),) if u >= 0 and u not in used]
    table = np.empty((*space.sizes[used], 2))
    for choices in np.ndindex(*space.sizes[used]):
        row = np.zeros(len(space), dtype=np.int64)
        row[used] = choices
        table[choices] = term.table[tuple(space.check_one(row)[list(term.decisions)])]
    return Term(term.name, tuple(used), table)


def run_here(command, arguments, monkeypatch, capsys) -> tuple[int, str, str]:
    """Runs a command as its `main` does, in this process (starting Python and torch takes seconds)."""
    monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_command(command, "command")
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def recorded_here(card: dict[str, Any]) -> bool:
    """Returns whether what a card describes was scored by this processor and this torch alone, so that it is equal."""
    import torch

    processors = card.get("scored_on", [card["hardware"]])
    return processors == [processor_name()] and card["versions"]["torch"] == torch.__version__.split("+")[0]


def needs_data(task_name: str) -> None:
    """Skips a test, saying why, where the data set of a task is an archive that the data root does not hold."""
    name = str(get_task(task_name).declared.data).partition(":")[0].rpartition(".")[2]
    if name in ARCHIVES and not has_archive(name):
        pytest.skip(f"task {task_name!r} needs data set {name!r}, which is not in {data_root()} (${DATA_VARIABLE})")


seeds = st.integers(0, 2**32 - 1)


def write_tiny_task(folder: Path, **declared) -> Task:
    """A task of two convolutions and nine strategies with untrained weights, for tests of measurements."""
    import torch

    from compress_gym.live.weights import save_weights
    from compress_gym.networks.network import description_digest
    from compress_gym.networks.trace import trace
    from compress_gym.support.cards import write_card

    made = folder / declared.get("name", "tiny")
    made.mkdir(parents=True)
    fields = {
        "name": made.name,
        "summary": "for tests",
        "data": "compress_gym.data.digits:load",
        "network": {"build": TINY},
        "kinds": ["ChannelPrune-v0", "MixedQuant-v0", "JointPQ-v0"],
        "recoveries": ["adaptive-bn", "none", "reconstruct", "reconstruct+adaptive-bn"],
        "calibration": {"images": 64},
        "options": {"levels": 3},
        **declared,
    }
    (made / "task.json").write_text(json.dumps(fields))
    task = Task.read(made)
    torch.manual_seed(0)
    module = task.untrained_module()
    network = trace(module, (1, 16, 16), "tiny")
    (made / "network.json").write_text(json.dumps(network.to_json()))
    save_weights(module, task.weights)
    write_card(task.weights, {"network_sha256": description_digest(network.to_json())})
    return task


def two_precisions(network: Network, per_channel: bool = False) -> Device:
    """A device whose operations take 1 us in fp32 and 0.5 us in 8 bits; to bytes 10 us, from bytes 100 us.

    With `per_channel`, conversions take that much a channel, and every channel count of a task is there.
    """
    counts = {g.name: channel_values(g.channels) if per_channel else (g.channels,) for g in network.groups}
    table = {CALL: Measurement(0.0, 0.0, 1)}
    for layer in network.layers:
        touched = [g for g in layer.touched if g in counts]
        for kept in itertools.product(*(counts[g] for g in touched)):
            inputs, outputs = layer.kept(dict(zip(touched, kept, strict=True)))
            for bits, us in ((32, 1.0), (8, 0.5)):
                table[operation_of(layer, inputs, outputs, bits, bits)] = Measurement(us, us, 1)
            sides = ((inputs, layer.in_height, layer.in_width), (outputs, layer.out_height, layer.out_width))
            for kind, us in (("quantize", 10.0), ("dequantize", 100.0)):
                for count, height, width in sides:
                    operation = Operation(kind, count, count, in_height=height, in_width=width)
                    table[operation] = Measurement(us * count if per_channel else us, us, 1)
    return Device("two-precisions", "cpu", table, Correction(0.0, 1.0, 1.0))


def image_scorer(network, module, decisions, *, scored, columns=("accuracy",), **settings):
    """A scorer with its compressor; the settings are the compressor's."""
    from compress_gym.live.compressor import NetworkCompressor
    from compress_gym.live.scorer import ImageScorer

    return ImageScorer(NetworkCompressor(network, module, decisions, **settings), scored, columns=columns)
