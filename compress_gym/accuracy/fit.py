"""Fits a surrogate to live scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compress_gym.accuracy.surrogate import SurrogateAccuracy, input_features
from compress_gym.decisions import DecisionSpace


@dataclass(frozen=True)
class FitSettings:
    """How a surrogate is fitted.

    Attributes:
        members: Networks of the ensemble; they differ in their starting weights and in the order of rows.
        hidden: Units of each of the two hidden layers.
        epochs: Passes over the rows.
        batch_size: Rows an update.
        lr: Peak learning rate of Adam under a one-cycle schedule.
        weight_decay: Decoupled weight decay.
    """

    members: int = 4
    hidden: int = 48
    epochs: int = 300
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 1e-2


def fit_surrogate(
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    accuracies: NDArray[np.float64],
    baseline: float,
    seed: int = 0,
    settings: FitSettings | None = None,
) -> SurrogateAccuracy:
    """Fits an ensemble by least squares of the accuracy.

    Args:
        decisions: The space.
        strategies: int64 `[N, T]`.
        accuracies: Live ones, fractions of 1, float64 `[N]`.
        baseline: Accuracy of the uncompressed network.
        seed: Of starting weights and orders.
        settings: Size and schedule.

    Returns:
        The surrogate. Its spread is 1 until it is calibrated on rows held out.
    """
    settings = settings or FitSettings()
    generator = torch.Generator().manual_seed(seed)
    table = input_features(decisions)
    inputs = torch.from_numpy(table[np.arange(len(decisions)), decisions.check(strategies)])
    targets = torch.from_numpy(accuracies.astype(np.float32))
    layers = [
        nn.Parameter(layer) for layer in _starting_layers(inputs.shape[1], settings.hidden, settings.members, generator)
    ]
    count = len(targets)
    updates = -(-count // settings.batch_size)
    optimizer = torch.optim.AdamW(layers, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=settings.epochs * updates)
    for _ in range(settings.epochs):
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(settings.members)])
        for rows in order.split(settings.batch_size, dim=1):
            predicted = torch.sigmoid(_logits(inputs[rows], *layers))
            loss = ((predicted - targets[rows]) ** 2).mean(dim=1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    first, second, last = (layer.detach().numpy().copy() for layer in layers)
    return SurrogateAccuracy(decisions, first, second, last, spread=1.0, baseline=baseline)


def _starting_layers(
    inputs: int, hidden: int, members: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def layer(fan_in: int, *units: int) -> torch.Tensor:
        weights = torch.randn(members, fan_in + 1, *units, generator=generator) * (2 / fan_in) ** 0.5
        weights[:, -1] = 0  # biases
        return weights

    return layer(inputs, hidden), layer(hidden, hidden), layer(hidden)


def _logits(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Maps inputs `[members, N, T]` to logits `[members, N]`."""
    h = torch.relu(torch.baddbmm(first[:, -1:], x, first[:, :-1]))
    h = torch.relu(torch.baddbmm(second[:, -1:], h, second[:, :-1]))
    return torch.baddbmm(last[:, None, -1:], h, last[:, :-1, None]).squeeze(-1)
