"""Channels of a real torch model removed (not masked), along the network's channel groups."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from compress_gym.networks import Network


def channel_ranking(module: nn.Module, network: Network) -> dict[str, torch.Tensor]:
    """Ranks the channels of every group by the sum of absolute weights that read them.

    The criterion of AMC's release: the sum of |W| per input channel. Ties go to the lower index.

    Returns:
        Group name to channel indices, most important first, int64 `[channels]`.
    """
    ranking = {}
    for group in network.groups:
        score = torch.zeros(group.channels, dtype=torch.float64)
        for name in group.consumers:
            weight = _parameter(module, name, "weight").detach().double().abs()
            score += weight.sum(dim=[d for d in range(weight.dim()) if d != 1])
        ranking[group.name] = torch.argsort(score, descending=True, stable=True)
    return ranking


def kept_channels(ranking: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Chooses the most important channels, in their original order.

    Args:
        ranking: From `channel_ranking`.
        counts: Group name to the number of channels to keep; groups left out are kept whole.

    Returns:
        Group name to sorted channel indices.
    """
    return {name: torch.sort(ranking[name][:count]).values for name, count in counts.items()}


def remove_channels(module: nn.Module, network: Network, kept: Mapping[str, torch.Tensor]) -> nn.Module:
    """Returns a smaller copy of a model; the original is not changed.

    Args:
        module: A model that `network` describes.
        network: Its description.
        kept: Group name to the sorted indices of the channels to keep.

    Returns:
        A module of the same class whose convolutions, batch norms and linear layers are smaller.
    """
    small = copy.deepcopy(module)
    for layer in network.layers:
        if layer.kind == "pool":
            continue
        target = small.get_submodule(layer.name)
        outputs = kept.get(layer.out_group) if layer.out_group else None
        inputs = kept.get(layer.in_group) if layer.in_group else None
        if outputs is not None:
            _select(target, "weight", 0, outputs)
            _select(target, "bias", 0, outputs)
        if inputs is not None:
            _select(target, "weight", 1, inputs)
        _set_width(target)
        if layer.batch_norm and outputs is not None:
            norm = small.get_submodule(layer.batch_norm)
            for name in ("weight", "bias", "running_mean", "running_var"):
                _select(norm, name, 0, outputs)
            norm.num_features = len(outputs)  # type: ignore[assignment]
    return small


def _parameter(module: nn.Module, layer: str, name: str) -> torch.Tensor:
    tensor = getattr(module.get_submodule(layer), name)
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _select(module: nn.Module, name: str, dim: int, index: torch.Tensor) -> None:
    tensor = getattr(module, name)
    if tensor is None:
        return
    selected = tensor.detach().index_select(dim, index)
    setattr(module, name, nn.Parameter(selected) if isinstance(tensor, nn.Parameter) else selected)


def _set_width(module: nn.Module) -> None:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape[0], weight.shape[1]
