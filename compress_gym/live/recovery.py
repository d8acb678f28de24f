"""What is done to a compressed network before it is scored.

`none` leaves it as it is. `reconstruct` refits weights to the uncompressed network's outputs (AMC, section 3.3).
`bias-correction` takes back what quantisation does to the mean of each output channel (Nagel et al., 2019).
`adaptive-bn` re-estimates the batch-norm statistics on training images (EagleEye's "adaptive batch normalization").
`finetune-N` trains it for N epochs; gradients pass straight through roundings. Steps are joined by a plus sign:
`reconstruct+adaptive-bn`. They are taken in this order, those after `reconstruct` on the quantised network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from compress_gym.support.errors import unknown_name

RECOVERIES = ("none", "reconstruct", "adaptive-bn", "reconstruct+adaptive-bn", "bias-correction", "finetune-N")
_STEPS = ("reconstruct", "bias-correction", "adaptive-bn")
# Statistics are averages over batches of this size.
CALIBRATION_BATCH = 256


@dataclass(frozen=True)
class Recovery:
    """The steps of a recovery.

    Attributes:
        reconstruct: Refit the weights of layers whose inputs were pruned.
        adaptive_bn: Re-estimate batch-norm statistics.
        finetune_epochs: Train.
        bias_correction: Move biases so that quantised layers keep the means of their outputs; before batch norms.
    """

    reconstruct: bool = False
    adaptive_bn: bool = False
    finetune_epochs: int = 0
    bias_correction: bool = False


def parse_recovery(name: str) -> Recovery:
    """Returns the steps of a recovery.

    Raises:
        KeyError: A step is not known, or given twice; the message lists what is legal.
    """
    if name == "none":
        return Recovery()
    steps = name.split("+")
    epochs = [int(m[1]) for step in steps if (m := re.fullmatch(r"finetune-([1-9]\d{0,3})", step))]
    rest = [step for step in steps if not step.startswith("finetune-")]
    if len(rest) + len(epochs) != len(steps) or len(epochs) > 1 or sorted(set(rest)) != sorted(rest):
        raise unknown_name("recovery", name, RECOVERIES)
    if set(rest) - set(_STEPS):
        raise unknown_name("recovery", name, RECOVERIES)
    reconstruct, bias_correction, adaptive_bn = (step in rest for step in _STEPS)
    return Recovery(reconstruct, adaptive_bn, epochs[0] if epochs else 0, bias_correction)


def adaptive_batch_norm(module: nn.Module, calibration: torch.Tensor) -> nn.Module:
    """Re-estimates every batch norm's mean and variance on training images, in place; in evaluation mode.

    Raises:
        ValueError: The module has no batch norm, so there is nothing to re-estimate.
    """
    with torch.no_grad(), estimating(require_batch_norms(module)):
        for batch in calibration.split(CALIBRATION_BATCH):
            module(batch)
    return module.eval()


@contextmanager
def estimating(norms: Sequence[nn.BatchNorm1d | nn.BatchNorm2d]) -> Iterator[None]:
    """Lets batch norms forget their statistics and estimate new ones from the batches that pass meanwhile."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average: of all batches, equally
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum  # a training that follows forgets early batches again
            norm.eval()


def require_batch_norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Returns the batch norms of a module in definition order.

    Raises:
        ValueError: There are none.
    """
    norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    if not norms:
        raise ValueError(
            "recovery='adaptive-bn' needs a network with batch norm; this one has none (use recovery='none')"
        )
    return norms
