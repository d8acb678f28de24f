"""Batch norms folded into the convolutions and linear layers before them."""

from __future__ import annotations

import torch
from torch import nn

from compress_gym.networks import Network


def fold_batch_norms(module: nn.Module, network: Network) -> nn.Module:
    """Folds every batch norm that follows a layer into it, in place, and leaves an identity; the others stay.

    In evaluation mode a batch norm is `(y - mean) / sqrt(var + eps) * weight + bias`: a scale and a shift of each
    output channel. The scales of quantised weights are folded, too, and have the sign of theirs. The description is
    that of the uncompressed network, the module may be compressed.
    """
    for layer in network.layers:
        if layer.batch_norm is None:
            continue
        target, norm = module.get_submodule(layer.name), module.get_submodule(layer.batch_norm)
        assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and isinstance(target, (nn.Conv2d, nn.Linear))
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            scale = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                scale = scale * norm.weight
            shift = -norm.running_mean * scale
            if norm.bias is not None:
                shift = shift + norm.bias
            if target.bias is not None:
                shift = shift + target.bias * scale
            weight = target.weight * scale.reshape(-1, *[1] * (target.weight.dim() - 1))
            target.weight, target.bias = nn.Parameter(weight), nn.Parameter(shift)
            scales = getattr(target, "weight_scales", None)
            if isinstance(scales, torch.Tensor):
                target.weight_scales = scales * scale
        parent, _, name = layer.batch_norm.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())
    return module
