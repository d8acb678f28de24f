"""Live evaluation against the plain way and against AMC's, calibration counted, in one run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.progress import track
from torch import nn

from compress_gym.kinds import Case
from compress_gym.live.prune import channel_index, channel_ranking, kept_channels
from compress_gym.live.recovery import adaptive_batch_norm
from compress_gym.live.training import augmented
from compress_gym.networks import Network
from compress_gym.support.processor import bf16_supported
from compress_gym.tasks.declaration import Calibration

REPETITIONS = 5
PLAIN_BATCH = 256
HALF = 0.5


def compare(case: Case, images: int) -> list[dict[str, Any]]:
    """Times three evaluators on the uncompressed network and on strategies of half the MACs.

    `plain` is fp32, channels first, batches of 256, batch norms not folded, removed channels multiplied by zero
    where there are any (AMC's way). `live` is the task's evaluator with its default recovery. `live, bf16` is left out
    where the processor has no bfloat16.

    Args:
        case: A task with batch norm, pruned.
        images: Validation images to score.

    Returns:
        One entry an evaluator and case: seconds (median), how many times faster than plain, and the mean accuracy.
    """
    evaluators: dict[str, Callable[[NDArray[np.int64]], ArrayLike]] = {"plain": _plain(case, images)}
    evaluators["live"] = case.scorer(images=images).count_correct
    if bf16_supported():
        evaluators["live, bf16"] = case.scorer(images=images, precision="bf16").count_correct
    sizes = {"uncompressed": case.decisions().uncompressed[None], "half the MACs": half_macs(case, REPETITIONS)}
    rows = []
    for size, strategies in sizes.items():
        seconds: dict[str, list[float]] = {name: [] for name in evaluators}
        right: dict[str, list[int]] = {name: [] for name in evaluators}
        for repetition in track(range(REPETITIONS + 1), description=size):
            strategy = strategies[repetition % len(strategies)][None]
            for name, evaluate in evaluators.items():
                started = time.perf_counter()
                correct = int(np.sum(evaluate(strategy)))
                if repetition:  # the first one warms up
                    seconds[name].append(time.perf_counter() - started)
                    right[name].append(correct)
        for name, times in seconds.items():
            ratio = np.median(np.array(seconds["plain"]) / np.array(times))
            rows.append(
                {
                    "case": size,
                    "evaluator": name,
                    "seconds": round(float(np.median(times)), 4),
                    "images_per_second": round(images / float(np.median(times))),
                    "times_plain": round(float(ratio), 2),
                    "accuracy": round(float(np.mean(right[name])) / images, 4),
                }
            )
    return rows


def half_macs(case: Case, count: int) -> NDArray[np.int64]:
    """Draws strategies within a twentieth of half the MACs, int64 `[count, T]`."""
    decisions, terms = case.decisions(), case.cost_terms()
    rows = np.random.default_rng(0).integers(decisions.sizes, size=(20_000, len(decisions)))
    macs = terms.evaluate(np.concatenate([rows, decisions.uncompressed[None]]))[:, terms.column("macs")]
    return rows[np.abs(macs[:-1] / macs[-1] / HALF - 1) <= 0.05][:count]


def masked(module: nn.Module, network: Network, kept: dict[str, torch.Tensor]) -> nn.Module:
    """Returns a copy at full size whose removed channels are zero behind their batch norm."""
    copied = copy.deepcopy(module)
    for layer in network.layers:
        outputs = channel_index(layer.outputs, kept)
        if layer.batch_norm is None or outputs is None:
            continue
        norm = copied.get_submodule(layer.batch_norm)
        gone = torch.ones(layer.out_channels, dtype=torch.bool)
        gone[outputs] = False
        with torch.no_grad():
            for name in ("weight", "bias"):
                parameter = getattr(norm, name)
                parameter[gone] = 0
    return copied


def _plain(case: Case, images: int) -> Callable[[NDArray[np.int64]], int]:
    data, module, network = case.task.data(), case.task.trained_module(), case.task.network()
    decisions, ranking = case.decisions(), channel_ranking(module, network)
    scored = data.validation.take(images)
    batches, labels = torch.from_numpy(scored.images).split(PLAIN_BATCH), torch.from_numpy(scored.labels)
    declared = case.task.declared.calibration or Calibration(images=len(data.train.labels))
    seen = data.train.take(declared.images)
    if declared.augmentation:
        seen = augmented(seen, declared.augmentation)
    calibration = torch.from_numpy(seen.images)

    def evaluate(strategies: NDArray[np.int64]) -> int:
        row = decisions.check_one(strategies)
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
        network_at_full_size = masked(module, network, kept_channels(ranking, counts))
        adaptive_batch_norm(network_at_full_size, calibration)
        with torch.no_grad():
            predicted = torch.cat([network_at_full_size(batch).argmax(1) for batch in batches])
        return int((predicted == labels).sum())

    return evaluate
