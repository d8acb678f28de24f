"""Channels of a real torch model removed (not masked), along the network's channel groups."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from compress_gym.networks import ChannelGroup, Layer, Network, Segment

# What is kept: group name to sorted channel indices; groups left out are kept whole.
Kept = Mapping[str, torch.Tensor]


def channel_ranking(module: nn.Module, network: Network) -> dict[str, torch.Tensor]:
    """Ranks the channels of every group by the sum of absolute weights that read them.

    The criterion of AMC's release: the sum of |W| per input channel. Ties go to the lower index. Depth-wise
    convolutions have no say: they pass channels on to the layers that do.

    Returns:
        Group name to channel indices, most important first, int64 `[channels]`. In groups with divisions, channels
        of equal rank within their divisions follow each other, so that each prefix of a legal length is balanced.
    """
    scores = {group.name: torch.zeros(group.channels, dtype=torch.float64) for group in network.groups}
    for layer in network.layers:
        if layer.kind not in ("conv", "linear"):
            continue
        per_input = _sum_per_input(_weight(module, layer), layer)
        for segment, part in _parts(layer.inputs):
            if segment.group in scores:
                scores[segment.group] += per_input[part]
    return {group.name: _order(scores[group.name], group) for group in network.groups}


def kept_channels(ranking: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Chooses the most important channels of each group, so many, in their original order; others are kept whole."""
    return {name: torch.sort(ranking[name][:count]).values for name, count in counts.items()}


def channel_index(segments: tuple[Segment, ...], kept: Kept) -> torch.Tensor | None:
    """Returns which channels of a tensor made of segments stay, int64; `None` if all do."""
    pieces = [kept.get(s.group or "") for s in segments]
    if all(piece is None for piece in pieces):
        return None
    indices = [
        part.start + (torch.arange(s.channels) if piece is None else piece)
        for (s, part), piece in zip(_parts(segments), pieces, strict=True)
    ]
    return torch.cat(indices)


def remove_channels(module: nn.Module, network: Network, kept: Kept) -> nn.Module:
    """Returns a copy of a model with only these channels of its convolutions, batch norms and linear layers."""
    small = copy.deepcopy(module)
    for layer in network.layers:
        outputs, inputs = channel_index(layer.outputs, kept), channel_index(layer.inputs, kept)
        if layer.kind in ("conv", "depthwise", "linear"):
            target = small.get_submodule(layer.name)
            weight = shrunk_weight(_weight(small, layer), layer, outputs, inputs)
            set_weight(target, weight)
            _select(target, "bias", outputs)
        if norm := layer.name if layer.kind == "batch-norm" else layer.batch_norm:
            target = small.get_submodule(norm)
            for name in ("weight", "bias", "running_mean", "running_var"):
                _select(target, name, outputs)
            if outputs is not None:
                target.num_features = len(outputs)  # type: ignore[assignment]
    return small


def shrunk_weight(
    weight: torch.Tensor, layer: Layer, outputs: torch.Tensor | None, inputs: torch.Tensor | None
) -> torch.Tensor:
    """Returns a layer's weight `[out, in / groups, ...]` with only these output and input channels."""
    if layer.kind == "depthwise":
        return weight if outputs is None else weight[outputs]
    if layer.groups > 1:
        return _shrunk_grouped(weight, layer, outputs, inputs)
    if outputs is not None:
        weight = weight[outputs]
    if inputs is not None:
        weight = weight[:, feature_index(inputs, layer)]
    return weight


def feature_index(channels: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Returns the input features of these channels: a flattened channel has height x width of them."""
    pixels = layer.in_height * layer.in_width if layer.kind == "linear" else 1
    return (channels[:, None] * pixels + torch.arange(pixels)).reshape(-1)


def set_weight(target: nn.Module, weight: torch.Tensor) -> None:
    """Gives a convolution or linear layer another weight, of whatever width."""
    target.weight = nn.Parameter(weight.detach().clone(), requires_grad=True)
    if isinstance(target, nn.Conv2d):
        if target.groups == target.in_channels == target.out_channels:
            target.groups = weight.shape[0]  # depth-wise
        target.out_channels, target.in_channels = weight.shape[0], weight.shape[1] * target.groups
    elif isinstance(target, nn.Linear):
        target.out_features, target.in_features = weight.shape


def _shrunk_grouped(
    weight: torch.Tensor, layer: Layer, outputs: torch.Tensor | None, inputs: torch.Tensor | None
) -> torch.Tensor:
    """Each group of a grouped convolution keeps its own channels, equally many."""
    rows, columns = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    outputs = torch.arange(layer.out_channels) if outputs is None else outputs
    inputs = torch.arange(layer.in_channels) if inputs is None else inputs
    pieces = []
    for group in range(layer.groups):
        kept_rows = outputs[outputs // rows == group]
        kept_columns = inputs[inputs // columns == group] - group * columns
        pieces.append(weight[kept_rows][:, kept_columns])
    return torch.cat(pieces)


def _sum_per_input(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Returns the sum of |W| that reads each input channel, float64 `[in_channels]`."""
    size = weight.detach().double().abs()
    if layer.kind == "linear":
        return size.sum(0).reshape(layer.in_channels, -1).sum(1)
    size = size.sum((2, 3)).reshape(layer.groups, -1, size.shape[1])
    return size.sum(1).reshape(-1)


def _order(score: torch.Tensor, group: ChannelGroup) -> torch.Tensor:
    divided = score.reshape(group.divisions, -1)
    order = torch.argsort(divided, dim=1, descending=True, stable=True)
    offsets = torch.arange(group.divisions)[:, None] * divided.shape[1]
    return (order + offsets).T.reshape(-1)


def _parts(segments: tuple[Segment, ...]) -> Iterator[tuple[Segment, slice]]:
    """Yields each segment with the channels it covers."""
    start = 0
    for segment in segments:
        yield segment, slice(start, start + segment.channels)
        start += segment.channels


def _weight(module: nn.Module, layer: Layer) -> torch.Tensor:
    weight = module.get_submodule(layer.name).weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _select(module: nn.Module, name: str, index: torch.Tensor | None) -> None:
    tensor = getattr(module, name, None)
    if tensor is None or index is None:
        return
    selected = tensor.detach()[index]
    setattr(module, name, nn.Parameter(selected) if isinstance(tensor, nn.Parameter) else selected)
