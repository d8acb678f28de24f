"""AMC's reconstruction: the weights that read fewer channels are refitted so that a layer's outputs stay as they were.

Inputs and targets come from the uncompressed network (AMC section 3.3; so does its release), so a layer's solution
depends on the channels that enter it alone, not on other layers. The normal equations of every layer are summed once;
each (layer, kept inputs) is then one small solve, kept in a bank. AMC's release solves 1x1 convolutions only; patches
make it work for any kernel, stride and padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compress_gym.live.hooks import run_with_hooks
from compress_gym.live.prune import Kept, channel_index, feature_index, set_weight
from compress_gym.networks import Layer, Network

POSITIONS = 10
# Keeps the normal equations solvable where channels are (nearly) dead; relative to their mean diagonal.
_RIDGE = 1e-6
_BATCH = 50


@dataclass
class ReconstructionBank:
    """Solutions of a network's layers, computed when first asked for.

    Attributes:
        network: The network.
        moments: Layer name to X^T X and X^T Y of its input patches X `[samples, in * kernel^2]` and outputs Y
            `[samples, out]`, both float64.
        solutions: (layer name, kept channels of each input group) to weights `[out, kept * kernel^2]`, float32.
    """

    network: Network
    moments: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    solutions: dict[tuple[str, tuple[int, ...]], torch.Tensor] = field(default_factory=dict)

    def apply(self, small: nn.Module, kept: Kept) -> nn.Module:
        """Gives the layers of a compressed model their refitted weights, in place.

        Args:
            small: From `remove_channels`.
            kept: The channels that were kept. A group's channels must be determined by how many they are.
        """
        for layer in self.network.layers:
            inputs = channel_index(layer.inputs, kept)
            if layer.name not in self.moments or inputs is None:
                continue
            counts = tuple(len(kept.get(s.group or "", range(s.channels))) for s in layer.inputs)
            key = (layer.name, counts)
            if key not in self.solutions:
                self.solutions[key] = solve(*self.moments[layer.name], _columns(inputs, layer)).float()
            outputs = channel_index(layer.outputs, kept)
            solution = self.solutions[key]
            weight = solution if outputs is None else solution[outputs]
            target = small.get_submodule(layer.name)
            shape = (len(weight), -1, layer.kernel, layer.kernel) if layer.kind == "conv" else (len(weight), -1)
            set_weight(target, weight.reshape(shape))
        return small


def solve(gram: torch.Tensor, cross: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Solves min |Y - X_S W^T|^2 for the input columns S: float64 `[out, len(columns)]`, of X^T X and X^T Y."""
    part = gram[columns][:, columns]
    part = part + _RIDGE * part.diagonal().mean() * torch.eye(len(part), dtype=part.dtype)
    return torch.cholesky_solve(cross[columns], torch.linalg.cholesky(part)).T


def build_bank(
    module: nn.Module, network: Network, images: torch.Tensor, seed: int = 0, positions: int = POSITIONS
) -> ReconstructionBank:
    """Sums the normal equations of every layer that can be refitted, of random positions in each image (AMC: 10).

    Depth-wise and grouped convolutions keep their weights and are not in the bank.
    """
    rng = np.random.default_rng(seed)
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    hooks = {
        layer.name: _summing(layer, moments, rng, positions)
        for layer in network.layers
        if layer.kind in ("conv", "linear") and layer.groups == 1 and any(s.group is not None for s in layer.inputs)
    }
    run_with_hooks(module, hooks, images.split(_BATCH))
    return ReconstructionBank(network, moments)


def _summing(
    layer: Layer, moments: dict[str, tuple[torch.Tensor, torch.Tensor]], rng: np.random.Generator, positions: int
) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
    def hook(target: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x, y = samples(target, inputs[0], output, rng, positions)
        gram, cross = x.T @ x, x.T @ y
        if layer.name in moments:
            gram, cross = gram + moments[layer.name][0], cross + moments[layer.name][1]
        moments[layer.name] = gram, cross

    return hook


def samples(
    target: nn.Module, x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator, positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws input patches and outputs (bias taken off) of a layer at random positions.

    Returns:
        float64 `[samples, in * kernel^2]` and `[samples, out]`.
    """
    bias = target.bias
    if isinstance(target, nn.Linear):
        x, y = x.double(), y.double()
    else:
        assert isinstance(target, nn.Conv2d)
        (kernel, _), (stride, _) = target.kernel_size, target.stride
        mode = "constant" if target.padding_mode == "zeros" else target.padding_mode
        padded = F.pad(x, target._reversed_padding_repeated_twice, mode=mode)
        count, _, height, width = y.shape
        rows = torch.from_numpy(rng.integers(0, height, size=(count, positions, 1, 1)))
        columns = torch.from_numpy(rng.integers(0, width, size=(count, positions, 1, 1)))
        image = torch.arange(count)[:, None, None, None]
        down, right = (torch.arange(kernel) * dilation for dilation in target.dilation)
        # [count, positions, kernel, kernel, in], then in x kernel x kernel as in a weight.
        patches = padded[image, :, rows * stride + down[:, None], columns * stride + right]
        x = patches.permute(0, 1, 4, 2, 3).reshape(count * positions, -1).double()
        y = y[image[..., 0, 0], :, rows[..., 0, 0], columns[..., 0, 0]].reshape(count * positions, -1).double()
    if bias is not None:
        assert isinstance(bias, torch.Tensor)
        y = y - bias.detach().double()
    return x, y


def _columns(channels: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Returns the columns of X that belong to these input channels."""
    if layer.kind == "linear":
        return feature_index(channels, layer)
    area = layer.kernel**2
    return (channels[:, None] * area + torch.arange(area)).reshape(-1)
