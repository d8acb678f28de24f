"""Measures the latency of transformers on this machine.

One sentence at a time, greedily, one thread, keys and values kept, so many tokens in and so many out, whatever the
weights would have written: a transformer that stops early does not look fast. Shared machines change speed by tens of
percent within seconds; so each sentence is timed beside one of a reference transformer, and latencies are their ratio
times the reference's own median. Run it alone on the machine all the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress_gym.devices.transformer_latency import TransformerDevice, architecture_features
from compress_gym.making.profile.rounds import measure, measured
from compress_gym.making.profile.transformer_latency import fit_coefficients, latency_errors, write_coefficients
from compress_gym.networks.supertransformer import Transformer, cut_out
from compress_gym.networks.transformer import Architecture, TransformerSpace
from compress_gym.problem.transformer_decisions import architecture_of, transformer_decisions
from compress_gym.support.cards import provenance, write_card
from compress_gym.support.resume import claim
from compress_gym.tasks import Task

# The latencies that are measured: tokens in and tokens out. Multi30k's sentences have 16 on average.
LENGTHS = {"latency_ms": 16, "latency_30_ms": 30}


@dataclass(frozen=True)
class TransformerPlan:
    """What is measured, and how often.

    Attributes:
        fitted: SubTransformers that coefficients are fitted to; the largest and the smallest are among them.
        checked: Further ones that check them.
        rounds: Visits of each, in random order.
        repetitions: Timed pairs of sentences of each visit, after one that is not timed.
        seed: Of SubTransformers and orders.
    """

    fitted: int = 160
    checked: int = 100
    rounds: int = 8
    repetitions: int = 3
    seed: int = 0

    def architectures(self, space: TransformerSpace) -> list[Architecture]:
        """Returns the SubTransformers, each once, those that are fitted first."""
        decisions, rng = transformer_decisions(space), np.random.default_rng(self.seed)
        ends = decisions.check(np.stack([decisions.uncompressed, 0 * decisions.sizes]))
        rows = dict.fromkeys(map(tuple, ends.tolist()))
        while len(rows) < self.fitted + self.checked:
            rows |= dict.fromkeys(map(tuple, decisions.spread(rng, 1).tolist()))
        return [architecture_of(space, decisions, np.array(row)) for row in rows]


def plan_of(runtime: str, precision: str, threads: int, cuda: bool, batch: int, **counts: int) -> TransformerPlan:
    """Returns the plan that a command asks for.

    Raises:
        ValueError: Another runtime than torch in fp32, one thread, one sentence at a time.
    """
    if precision != "fp32" or threads != 1 or cuda or batch != 1:
        raise ValueError("transformers are measured under torch in fp32, on one thread, a sentence at a time")
    return TransformerPlan(**counts)


def profile(tasks: Sequence[Task], plan: TransformerPlan, out: Path, command: str) -> TransformerDevice:
    """Measures, fits and checks; killed, it goes on with the round it was at.

    Latency does not depend on the weights' values: they are fresh ones, and no data set is needed. Finished rounds wait
    in a folder `.rounds` beside the table of coefficients and its card.

    Raises:
        ValueError: The rounds there belong to another plan, space or machine, or several tasks are given.
    """
    if len(tasks) != 1:
        raise ValueError(f"{len(tasks)} tasks: a table of transformers is that of one task")
    task, space = tasks[0], tasks[0].network()
    work, made = out.with_suffix(".rounds"), provenance(command, ["torch", "numpy", "scipy"])
    work.mkdir(parents=True, exist_ok=True)
    identity = {**asdict(plan), "space": space.to_json(), "lengths": LENGTHS}
    claim(work, {**identity, "hardware": made["hardware"], "versions": made["versions"]})
    architectures = plan.architectures(space)
    torch.set_num_threads(1)
    module = Transformer(space.largest).eval()
    reference = cut_out(module, architectures[-1])
    visits = [partial(_visit, module, architecture, reference, plan) for architecture in architectures]
    measure(visits, plan.rounds, plan.seed, work)
    samples = measured(work, plan.rounds, axis=2)  # [SubTransformers, lengths, rounds * repetitions, 2]
    device = device_of(out.stem, task.name, architectures, steady_ms(samples), plan)
    write_coefficients(out, device.metrics, device.coefficients)
    statistic = (
        f"median of {plan.rounds * plan.repetitions} ratios to a reference transformer's sentence timed beside it, in "
        f"{plan.rounds} rounds of random order, times the reference's median"
    )
    write_card(out, {**device.card, "statistic": statistic, "plan": asdict(plan), **made})
    shutil.rmtree(work)
    return device


def device_of(
    name: str, task: str, architectures: list[Architecture], measured_ms: NDArray[np.float64], plan: TransformerPlan
) -> TransformerDevice:
    """Fits a device to measured latencies, in milliseconds `[SubTransformers, lengths]`, the fitted ones first.

    Its errors are stated on those that were not fitted.
    """
    features = np.stack([architecture_features(a) for a in architectures])
    fit, check = slice(plan.fitted), slice(plan.fitted, None)
    columns = [fit_coefficients(features[fit], column[fit], relative=True) for column in measured_ms.T]
    coefficients = np.stack(columns, axis=1)
    predicted = features @ coefficients
    card: dict[str, Any] = {
        "what": f"latency of translating one sentence with the transformers of task {task}, torch fp32, one thread",
        "kind": "cpu",
        "task": task,
        "runtime": "torch",
        "precision": "fp32",
        "threads": 1,
        "metrics": {metric: f"{n} tokens in, {n} tokens out, greedy, keys kept" for metric, n in LENGTHS.items()},
        "model": "latency = sum over features of coefficient * feature; coefficients not negative",
        "stated_error": {
            "checked_on": f"{plan.checked} SubTransformers of all sizes, none of them fitted",
            **{metric: latency_errors(predicted[check, m], measured_ms[check, m]) for m, metric in enumerate(LENGTHS)},
        },
    }
    return TransformerDevice(name, "cpu", task, tuple(LENGTHS), coefficients, card)


def sentence_ms(module: Transformer, length: int, repetitions: int) -> NDArray[np.float64]:
    """Times sentences of `length` tokens in and out, `[repetitions]`, in milliseconds; one more comes before."""
    return sentences_ms([module], length, repetitions)[:, 0]


def sentences_ms(modules: Sequence[Transformer], length: int, repetitions: int) -> NDArray[np.float64]:
    """Times sentences of modules in turn, `[repetitions, modules]`, in milliseconds; one more of each comes before."""
    vocabulary = modules[0].architecture.vocabulary
    source = torch.randint(3, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))
    times = np.empty((repetitions + 1, len(modules)))
    with torch.inference_mode():
        for n in range(len(times)):
            for m, module in enumerate(modules):
                started = time.perf_counter()
                module.greedy(source, length, stop=False)
                times[n, m] = time.perf_counter() - started
    return times[1:] * 1000


def steady_ms(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns latencies as if the machine had kept its median speed, `[SubTransformers, lengths]`.

    Args:
        samples: Milliseconds of each module and of the reference beside it, `[SubTransformers, lengths, samples, 2]`.
    """
    ratio = np.median(samples[..., 0] / samples[..., 1], axis=2)
    steady: NDArray[np.float64] = ratio * np.median(samples[..., 1], axis=(0, 2))
    return steady


def _visit(
    module: Transformer, architecture: Architecture, reference: Transformer, plan: TransformerPlan
) -> NDArray[np.float64]:
    """Cuts a SubTransformer out anew and times it beside the reference, `[lengths, repetitions, 2]`."""
    own = cut_out(module, architecture)
    return np.stack([sentences_ms([own, reference], length, plan.repetitions) for length in LENGTHS.values()])
