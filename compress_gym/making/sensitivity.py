"""Measures how sensitive a task's network is to compressing one layer alone; needs torch and the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from compress_gym.live.compressor import NetworkCompressor, build
from compress_gym.problem.decisions import FLOAT_BITS, Decision, DecisionSpace
from compress_gym.problem.network_decisions import BitValues, bit_decisions, channel_decisions
from compress_gym.problem.scores.sensitivity import BITS, SHARES, Sensitivities
from compress_gym.support.cards import provenance, write_card
from compress_gym.support.processor import one_thread
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions

# Galen's number. The last training images: recoveries and ranges see the first ones.
IMAGES = 256
_BATCH = 64


def measure_sensitivities(task: Task, command: str, path: Path) -> Path:
    """Measures a task's sensitivities and writes them with their card; returns the path.

    Every network, the uncompressed one too, is recovered as the task says, because that is how strategies are scored.
    """
    network, training = task.network(), task.split("train")
    shown = training.part(slice(-IMAGES, None))
    images = torch.from_numpy(shown.images).contiguous(memory_format=torch.channels_last)
    wide = BitValues((*BITS, FLOAT_BITS))
    spaces = channel_decisions(network, task.options.get("levels", 16)), bit_decisions(network, wide, fixed=())
    compressors = [build(task, space, Conditions()) for space in spaces]
    alone = [(compressor, t) for compressor in compressors for t in range(len(compressor.decisions))]
    found: dict[str, dict[str, NDArray[np.float64]]] = {"channels": {}, "weight_bits": {}, "activation_bits": {}}
    with one_thread():
        whole = {id(c): _log_probabilities(c.build(c.decisions.uncompressed), images) for c in compressors}
        for compressor, t in track(alone, description=f"{task.name}: one layer at a time"):
            decision = compressor.decisions.decisions[t]
            rows = [_alone(compressor.decisions, t, value) for value in _levels(decision)]
            divergences = [_divergence(whole[id(compressor)], compressor, row, images) for row in rows]
            found[decision.kind][decision.subject] = np.array(divergences)
    Sensitivities(found["channels"], found["weight_bits"], found["activation_bits"]).save(path)
    card = {
        "what": f"divergence of the outputs of task {task.name} when one layer alone is compressed, in nats",
        "task": task.name,
        **task.made_with,
        "levels": {"share_of_channels": list(SHARES), "bits": list(BITS)},
        "statistic": f"mean Kullback-Leibler divergence from the outputs of the uncompressed, recovered network on the "
        f"last {IMAGES} training images",
        "images_digest": shown.digest(),
        **provenance(command, ["torch", "numpy"]),
    }
    write_card(path, card)
    return path


def _levels(decision: Decision) -> list[int]:
    """Returns the values of a decision that are measured: bits, or the counts that keep at least a share."""
    if decision.kind != "channels":
        return list(BITS)
    least = [share * decision.numbers[-1] for share in SHARES]
    return [next(v for v in decision.numbers if v >= count) for count in least]


def _alone(decisions: DecisionSpace, t: int, value: int) -> NDArray[np.int64]:
    """Returns the strategy that compresses one decision's subject alone, `[T]`."""
    row = decisions.uncompressed
    row[t] = decisions.decisions[t].values.index(value)
    return row


def _divergence(
    whole: torch.Tensor, compressor: NetworkCompressor, row: NDArray[np.int64], images: torch.Tensor
) -> float:
    compressed = _log_probabilities(compressor.build(row), images)
    divergences = nn.functional.kl_div(compressed, whole, reduction="none", log_target=True).sum(1)
    return float(divergences.double().mean().clamp(min=0))


def _log_probabilities(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([module(batch) for batch in images.split(_BATCH)]).log_softmax(1)
