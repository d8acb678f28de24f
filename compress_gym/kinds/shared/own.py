"""A problem of a user's own torch model, scored live: `Problem.from_model`. The same path as a task's, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress_gym.data import Dataset, Split
from compress_gym.data.own import check_labels, inputs, labelled
from compress_gym.kinds.shared.case import get_case
from compress_gym.kinds.shared.kind import Kind
from compress_gym.kinds.shared.registry import get_kind
from compress_gym.networks import Network
from compress_gym.problem import Problem
from compress_gym.support.lazy import load
from compress_gym.tasks import InMemory, Task
from compress_gym.tasks.declaration import Calibration, Declaration, NetworkSource

if TYPE_CHECKING:
    from torch import nn


def problem_from_model(
    module: nn.Module,
    example_input: Any,
    *,
    calibration: Any,
    validation: Any,
    kind: str | Kind = "ChannelPrune-v0",
    device: str | Path | None = None,
    recovery: str = "adaptive-bn",
    levels: int = 16,
    fixed: tuple[str, ...] | None = None,
    **settings: Any,
) -> Problem:
    """Builds the problem; see `Problem.from_model` for the arguments."""
    if "accuracy" in settings:
        raise TypeError("unexpected keyword argument 'accuracy': a model in memory is scored live, on `validation`")
    kind = get_kind(kind) if isinstance(kind, str) else kind
    parse_recovery = load("compress_gym.live.recovery:parse_recovery")
    shape = tuple(np.shape(example_input))
    if len(shape) != 4 or shape[0] != 1:
        raise ValueError(f"example_input has shape {shape}; expected one image, (1, channels, height, width)")
    scored = labelled("validation", validation, shape[1:])
    labels_of = {"validation": scored}
    if isinstance(calibration, (tuple, list)):
        seen = labelled("calibration", calibration, shape[1:])
        labels_of["calibration"] = seen
    elif parse_recovery(recovery).finetune_epochs:
        raise ValueError(
            f"recovery={recovery!r}: fine-tuning needs labels; give calibration=(images, labels), or use 'none', "
            "'adaptive-bn' or 'reconstruct'"
        )
    else:
        images = inputs("calibration", calibration, shape[1:])
        seen = Split(images, np.zeros(len(images), dtype=np.int64))
    network: Network = load("compress_gym.networks.trace:trace")(module, shape[1:], type(module).__name__)
    for argument, split in labels_of.items():
        check_labels(argument, split, network.layers[-1].out_channels)
    declared = Declaration(
        name=network.name,
        data=None,
        network=NetworkSource(build="builtins:object"),
        kinds=(kind.id,),
        recoveries=(recovery,),
        calibration=Calibration(images=len(seen.labels)),
        options={"levels": levels, **({} if fixed is None else {"fixed": list(fixed)})},
    )
    data = Dataset(network.name, seen, scored, scored)
    case = get_case(kind, Task(declared, Path(), InMemory(network, module, data)))
    cost = case.counted_cost if device is None else "latency_ms"
    return case.problem(device, "live", **{"cost": cost, **settings})
