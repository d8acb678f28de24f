"""Costs that follow from shapes alone: multiply-accumulates, parameters, bytes, bit operations."""

from __future__ import annotations

from typing import Any

from compress_gym.networks import Layer

METRICS = ("macs", "params", "size_bytes", "bops")


def layer_costs(
    layer: Layer, in_channels: Any, out_channels: Any, weight_bits: Any = 32, activation_bits: Any = 32
) -> tuple[Any, Any, Any, Any]:
    """Computes the analytic costs of one layer, or of many forms of it: numbers may be integer arrays that broadcast.

    Args:
        layer: The uncompressed layer.
        in_channels: Channels that enter after compression.
        out_channels: Channels that leave after compression.
        weight_bits: Bits of a weight.
        activation_bits: Bits of an input activation.

    Returns:
        `METRICS` in order: multiply-accumulates of one input; trainable parameters, batch norm included;
        bytes of the parameters (weights at `weight_bits`, biases and batch norms at 32 bits); and bit
        operations, macs x weight bits x activation bits. Pooling counts as free.
    """
    weights = layer.weights(in_channels, out_channels)
    norms = layer.batch_norm is not None or layer.kind == "batch-norm"
    others = out_channels * (layer.bias + 2 * norms)
    macs = weights * layer.out_height * layer.out_width
    size_bytes = weights * weight_bits / 8 + others * 4
    return 1.0 * macs, 1.0 * (weights + others), 1.0 * size_bytes, 1.0 * (macs * weight_bits * activation_bits)
