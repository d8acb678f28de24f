"""From a torch module to a `Network`: plain chains of convolutions, batch norms, ReLUs, pooling and linear layers.

Anything that is not a chain (residual sums, concatenations) is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from compress_gym.networks.network import ChannelGroup, Layer, Network

_RELU = (torch.relu, torch.relu_, nn.functional.relu)
_FLATTEN = (torch.flatten,)


def trace_chain(module: nn.Module, input_shape: tuple[int, ...], name: str) -> Network:
    """Describes a plain feed-forward classifier.

    Args:
        module: The torch module; its `forward` must be traceable by `torch.fx`.
        input_shape: Shape of one input, `(channels, height, width)`.
        name: Name of the architecture.

    Returns:
        The network, with one channel group per convolution.

    Raises:
        ValueError: An operation is not understood or not part of a chain; the message names it.
    """
    graph = fx.symbolic_trace(module)
    layers: list[Layer] = []
    shape = input_shape
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        _require_chain(node)
        target = graph.get_submodule(node.target) if node.op == "call_module" else node.target
        if isinstance(target, (nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d)):
            layers.append(_layer(node.target, target, shape, layers))
            shape = (layers[-1].out_channels, layers[-1].out_height, layers[-1].out_width)
        elif isinstance(target, nn.BatchNorm2d) and layers and not layers[-1].relu and not layers[-1].batch_norm:
            layers[-1] = replace(layers[-1], batch_norm=node.target)
        elif (isinstance(target, nn.ReLU) or target in _RELU) and layers:
            layers[-1] = replace(layers[-1], relu=True)
        elif not (isinstance(target, nn.Flatten) or target in _FLATTEN):
            raise ValueError(f"cannot trace operation {node.name!r} ({node.target}) of network {name!r}")
    if not layers or layers[-1].kind != "linear":
        raise ValueError(
            f"network {name!r} must end in a linear layer; it ends in {layers[-1].kind if layers else 'nothing'}"
        )
    layers[-1] = replace(layers[-1], out_group=None)
    return Network(name, tuple(input_shape), tuple(layers), _groups(layers))


def _require_chain(node: fx.Node) -> None:
    if len(node.all_input_nodes) != 1 or len(node.users) != 1:
        raise ValueError(
            f"operation {node.name!r} has {len(node.all_input_nodes)} inputs and {len(node.users)} users; "
            "only plain chains of layers can be traced"
        )


def _layer(name: str, module: Any, shape: tuple[int, ...], before: list[Layer]) -> Layer:
    group = before[-1].out_group if before else None
    channels, height, width = shape
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if module.output_size not in (1, (1, 1)):
            raise ValueError(f"pooling {name!r} has output_size={module.output_size}; only 1 is understood")
        return Layer(name, "pool", channels, channels, height, width, in_group=group, out_group=group)
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        if module.in_features != channels * height * width or height * width != 1:
            raise ValueError(f"linear layer {name!r} must follow global pooling; its input is {shape}")
        return Layer(
            name,
            "linear",
            channels,
            module.out_features,
            1,
            1,
            bias=bias,
            in_group=group,
            out_group=name,
        )
    kernel, stride = module.kernel_size[0], module.stride[0]
    if (
        module.groups != 1
        or kernel % 2 == 0
        or module.kernel_size != (kernel, kernel)
        or module.stride != (stride, stride)
        or module.padding != (kernel // 2, kernel // 2)
        or module.dilation != (1, 1)
    ):
        raise ValueError(f"convolution {name!r}: only square, odd, ungrouped, 'same'-padded kernels are understood")
    return Layer(
        name,
        "conv",
        channels,
        module.out_channels,
        height,
        width,
        kernel=kernel,
        stride=stride,
        bias=bias,
        in_group=group,
        out_group=name,
    )


def _groups(layers: list[Layer]) -> tuple[ChannelGroup, ...]:
    names = dict.fromkeys(layer.out_group for layer in layers if layer.out_group is not None)
    groups = []
    for name in names:
        producers = [x for x in layers if x.out_group == name and x.kind != "pool"]
        consumers = [x for x in layers if x.in_group == name and x.kind != "pool"]
        groups.append(
            ChannelGroup(
                name,
                producers[0].out_channels,
                tuple(x.name for x in producers),
                tuple(x.name for x in consumers),
            )
        )
    return tuple(groups)
