"""A problem of a user's own torch model, scored live: `Problem.from_model`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.data import Split
from compress_gym.kinds.network_problem import network_problem
from compress_gym.live.recovery import parse_recovery
from compress_gym.live.scorer import LiveAccuracy
from compress_gym.networks.trace import trace
from compress_gym.problem import Problem
from compress_gym.problem.decisions import channel_decisions

if TYPE_CHECKING:
    from torch import nn


def problem_from_model(
    module: nn.Module,
    example_input: Any,
    *,
    calibration: Any,
    validation: Any,
    device: str | Path | None = None,
    recovery: str = "adaptive-bn",
    levels: int = 16,
    **settings: Any,
) -> Problem:
    """Builds the problem; see `Problem.from_model` for the arguments."""
    shape = tuple(np.shape(example_input))
    if len(shape) != 4 or shape[0] != 1:
        raise ValueError(f"example_input has shape {shape}; expected one image, (1, channels, height, width)")
    if parse_recovery(recovery).finetune_epochs:
        raise ValueError(f"recovery={recovery!r}: fine-tuning needs labels; use 'none', 'adaptive-bn' or 'reconstruct'")
    scored = _labelled("validation", validation, shape[1:])
    seen = _images("calibration", calibration, shape[1:])
    network = trace(module, shape[1:], type(module).__name__)
    decisions = channel_decisions(network, levels)
    model = LiveAccuracy(
        network,
        module,
        decisions,
        calibration=Split(seen, np.zeros(len(seen), dtype=np.int64)),
        scored=scored,
        recovery=recovery,
    )
    cost = "macs" if device is None else "latency_ms"
    return network_problem(network, decisions, model, device, {"model": network.name}, **{"cost": cost, **settings})


def _labelled(argument: str, given: Any, shape: tuple[int, ...]) -> Split:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{argument} must be a pair of images [N, channels, height, width] and labels [N]")
    images, labels = _images(argument, given[0], shape), np.asarray(given[1])
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{argument} has labels of shape {labels.shape} and dtype {labels.dtype}; expected integers [{len(images)}]"
        )
    return Split(images, labels.astype(np.int64))


def _images(argument: str, given: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    images = np.asarray(given)
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise ValueError(f"{argument} has images of shape {images.shape}; expected [N, {', '.join(map(str, shape))}]")
    if images.dtype.kind != "f" or not np.isfinite(images).all():
        raise ValueError(f"{argument} has images of dtype {images.dtype}; expected finite, normalised floats")
    return np.ascontiguousarray(images, dtype=np.float32)
