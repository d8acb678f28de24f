"""Fits a surrogate to live scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compress_gym.live.quantise import BITS
from compress_gym.problem.decisions import BIT_KINDS, DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy


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

    members: int = 2
    hidden: int = 32
    epochs: int = 300
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 0.3


def fit_surrogate(
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    accuracies: NDArray[np.float64],
    baseline: float,
    seed: int = 0,
    settings: FitSettings | None = None,
    start: SurrogateAccuracy | None = None,
) -> SurrogateAccuracy:
    """Fits an ensemble by cross-entropy: the likelihood of the correct and wrong images that were counted.

    The weights of a surrogate of some of the decisions (of the channels, say) may be given to `start` from; the other
    decisions start without influence. APQ (Wang et al. 2020) so transfers a predictor of full precision. The
    surrogate's spread is 1 until it is calibrated on rows held out.

    Raises:
        ValueError: `start` has other decisions, or another size than the settings.
    """
    settings = settings or FitSettings()
    generator = torch.Generator().manual_seed(seed)
    table = torch.from_numpy(input_features(decisions))
    rows = torch.from_numpy(decisions.check(strategies))
    inputs = table[torch.arange(len(decisions)), rows].flatten(1)
    targets = torch.from_numpy(accuracies.astype(np.float32))
    if start is None:
        starting = _starting_layers(inputs.shape[1], settings.hidden, settings.members, generator)
    else:
        starting = _layers_of(start, decisions, settings)
    layers = [nn.Parameter(layer) for layer in starting]
    count = len(targets)
    updates = -(-count // settings.batch_size)
    optimizer = torch.optim.AdamW(layers, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=settings.epochs * updates)
    for _ in range(settings.epochs):
        order = torch.stack([torch.randperm(count, generator=generator) for _ in range(settings.members)])
        for batch in order.split(settings.batch_size, dim=1):
            logits = _logits(inputs[batch], *layers)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[batch], reduction="none")
            loss = loss.mean(dim=1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    first, second, last = (layer.detach() for layer in layers)
    added = torch.einsum("tvf,mtfh->mtvh", table, first[:, :-1].unflatten(1, (len(decisions), -1)))
    added[:, 0] += first[:, -1:]
    return SurrogateAccuracy(
        decisions, added.numpy().copy(), second.numpy().copy(), last.numpy().copy(), spread=1.0, baseline=baseline
    )


def input_features(decisions: DecisionSpace) -> NDArray[np.float32]:
    """Returns how a choice is seen while fitting.

    Channels: the value's share of the largest, the share's log and inverse. Narrow layers hurt far more than linearly:
    with the share alone, the error on ResNet-20 was two thirds higher. Bits: what is missing to the most, and size and
    power of the rounding error, which halves and quarters with each bit; with the features of channels, MixedQuant's
    error was a seventh higher on ResNet-20 and a sixth on Plain-20. Labels: a column each, 1 where it is chosen.

    Returns:
        float32 `[T, most values, columns]`, padded with zeros: 3 columns, more where a decision has more labels.

    Raises:
        ValueError: A decision has a value that is not positive.
    """
    columns = max([3, *(len(d.values) for d in decisions.decisions if d.has_labels)])
    table = np.zeros((len(decisions), int(decisions.sizes.max()), columns), dtype=np.float32)
    for row, decision in zip(table, decisions.decisions, strict=True):
        if decision.has_labels:
            np.fill_diagonal(row[: len(decision.values)], 1)
            continue
        if decision.numbers[0] <= 0:
            raise ValueError(
                f"decision {decision.name!r} has the value {decision.values[0]}; shares need positive values"
            )
        values = np.array(decision.values, dtype=np.float64)
        share = values / values[-1]
        if decision.kind in BIT_KINDS:
            error = 2.0 ** (BITS[0] - values)
            features = (1 - share, error, error**2)
        else:
            features = (2 * share - 1, np.log2(share) / 2 + 0.5, 0.25 / share - 0.5)
        row[: len(share), :3] = np.stack(features, axis=1)
    return table


def _starting_layers(
    inputs: int, hidden: int, members: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def layer(fan_in: int, *units: int) -> torch.Tensor:
        weights = torch.randn(members, fan_in + 1, *units, generator=generator) * (2 / fan_in) ** 0.5
        weights[:, -1] = 0  # biases
        return weights

    return layer(inputs, hidden), layer(hidden, hidden), layer(hidden)


def _layers_of(
    start: SurrogateAccuracy, decisions: DecisionSpace, settings: FitSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Takes layers over from a surrogate of some of the decisions; its first layer is looked up and solved for."""
    if (start.shape[0], start.shape[2]) != (settings.members, settings.hidden):
        raise ValueError(
            f"start has {start.shape[0]} networks of {start.shape[2]} units, the settings {settings.members} of "
            f"{settings.hidden}"
        )
    ours = {d.name: (t, d) for t, d in enumerate(decisions.decisions)}
    table = torch.from_numpy(input_features(decisions)).double()
    features, width = table.shape[2], table.shape[2] * len(decisions)
    first = torch.zeros(settings.members, width + 1, settings.hidden, dtype=torch.float64)
    for theirs, added in zip(start.decisions.decisions, start.first.swapaxes(0, 1), strict=True):
        t, own = ours.get(theirs.name, (0, None))
        if own is None or own.values != theirs.values:
            raise ValueError(f"start decides {theirs.name} of {list(theirs.values)}, which the decisions do not")
        seen = torch.cat([table[t, : len(own.values)], torch.ones(len(own.values), 1)], dim=1)
        wanted = torch.from_numpy(added[:, : len(own.values)]).double()
        solved = torch.linalg.lstsq(seen.expand(settings.members, -1, -1), wanted, driver="gelsd").solution
        first[:, t * features : (t + 1) * features] = solved[:, :features]
        first[:, -1] += solved[:, features]
    return first.float(), torch.from_numpy(start.second.copy()), torch.from_numpy(start.last.copy())


def _logits(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Maps inputs `[members, N, columns T]` to logits `[members, N]`."""
    h = torch.relu(torch.baddbmm(first[:, -1:], x, first[:, :-1]))
    h = torch.relu(torch.baddbmm(second[:, -1:], h, second[:, :-1]))
    return torch.baddbmm(last[:, None, -1:], h, last[:, :-1, None]).squeeze(-1)
