"""What is done to a compressed network before it is scored.

`none` leaves it as it is. `adaptive-bn` re-estimates the batch-norm statistics on training images
(EagleEye's "adaptive batch normalization"), which is what makes accuracy before fine-tuning predictive.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Recovery = Callable[[nn.Module, torch.Tensor], nn.Module]


def no_recovery(module: nn.Module, calibration: torch.Tensor) -> nn.Module:
    """Returns the module unchanged."""
    return module


def adaptive_batch_norm(module: nn.Module, calibration: torch.Tensor) -> nn.Module:
    """Re-estimates every batch norm's mean and variance on one batch of training images, in place.

    Args:
        module: The compressed model.
        calibration: Training images, float32 `[N, channels, height, width]`.

    Returns:
        The same module, in evaluation mode.

    Raises:
        ValueError: The module has no batch norm, so there is nothing to re-estimate.
    """
    for norm in require_batch_norms(module):
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average: after one batch, exactly that batch's statistics
        norm.train()
    with torch.no_grad():
        module(calibration)
    return module.eval()


def require_batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Returns the batch norms of a module in definition order.

    Raises:
        ValueError: There are none.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        raise ValueError(
            "recovery='adaptive-bn' needs a network with batch norm; this one has none (use recovery='none')"
        )
    return norms


RECOVERIES: dict[str, Recovery] = {"none": no_recovery, "adaptive-bn": adaptive_batch_norm}
