"""The channels and bits of a network's layers as decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress_gym.networks import Network
from compress_gym.networks.network import WEIGHTED
from compress_gym.problem.decisions import (
    FIXED_BITS,
    FLOAT_BITS,
    INPUT_KINDS,
    NUMBERED_KINDS,
    WEIGHT_KINDS,
    Decision,
    DecisionSpace,
)


def channel_values(channels: int, levels: int = 8, multiple: int = 4, divisions: int = 1) -> tuple[int, ...]:
    """Returns the channel counts one may keep: `levels` equal parts, rounded up to a multiple.

    Args:
        channels: Channels of the group.
        levels: How many counts, at most.
        multiple: Counts are multiples of this (and all channels, whatever their number).
        divisions: Counts are multiples of this without exception: the group's divisions.
    """
    multiple = math.lcm(multiple, divisions)
    parts = {-(-channels * k // (levels * multiple)) * multiple for k in range(1, levels + 1)}
    return tuple(sorted(min(channels, part) for part in parts))


def channel_decisions(network: Network, levels: int = 8) -> DecisionSpace:
    """Returns one `channels` decision per channel group, in forward order."""
    if not network.groups:
        raise ValueError(f"network={network.name!r} has no channels to decide: no convolution feeds another layer")
    values = {g.name: channel_values(g.channels, levels, divisions=g.divisions) for g in network.groups}
    return DecisionSpace(tuple(Decision(f"{name}.channels", "channels", v, name) for name, v in values.items()))


@dataclass(frozen=True)
class BitValues:
    """Which bits layers can have.

    Attributes:
        values: Bits, ascending.
        paired: Weights and inputs have the same bits: one decision, `precision` (32 stands for full precision).
    """

    values: tuple[int, ...]
    paired: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of a layer's decisions, in order."""
        return ("precision",) if self.paired else ("weight_bits", "activation_bits")


def weighted_layers(network: Network) -> list[str]:
    """Returns the names of the layers that have weights, in forward order."""
    return [layer.name for layer in network.layers if layer.kind in WEIGHTED]


def bit_decisions(network: Network, bits: BitValues, fixed: Sequence[str] | None = None) -> DecisionSpace:
    """Returns the decisions about the bits of every layer that has weights, in forward order.

    Args:
        network: The network.
        bits: What they can be.
        fixed: Layers that stay at 8 bits; default: the first and the last (HAQ's rule).

    Raises:
        ValueError: A fixed layer has no weights, or nothing is left to decide.
    """
    held = _fixed(network, fixed)
    rows = [_layer_bits(name, bits, held=False) for name in weighted_layers(network) if name not in held]
    if not rows:
        kept = "the first and the last layer stay at 8 bits, which" if fixed is None else f"fixed={list(held)}"
        raise ValueError(f"{kept} leaves no layer of {network.name!r} whose bits could be decided")
    return DecisionSpace(tuple(decision for row in rows for decision in row))


def joint_decisions(
    network: Network, bits: BitValues, fixed: Sequence[str] | None = None, levels: int = 8
) -> DecisionSpace:
    """Returns the decisions about bits and channels, layer by layer in forward order.

    A group's channels are decided with its first producer, after that layer's bits, so that every kind has the same
    place in each layer. Fixed layers that produce a group have bits of one value, 8.
    """
    held, channels = _fixed(network, fixed), channel_decisions(network, levels)
    groups = {d.subject: d for d in channels.decisions}
    rows: list[Decision] = []
    for name in weighted_layers(network):
        if name not in held or name in groups:
            rows += _layer_bits(name, bits, held=name in held)
        rows += [groups[name]] if name in groups else []
    return DecisionSpace(tuple(rows))


def _layer_bits(name: str, bits: BitValues, held: bool) -> list[Decision]:
    values = (FIXED_BITS,) if held else bits.values
    return [Decision(f"{name}.{kind}", kind, values, name) for kind in bits.kinds]


def _fixed(network: Network, fixed: Sequence[str] | None) -> tuple[str, ...]:
    names = weighted_layers(network)
    held = tuple(dict.fromkeys((*names[:1], *names[-1:]))) if fixed is None else tuple(fixed)
    for name in held:
        if name not in names:
            raise ValueError(f"fixed={list(held)}: {name!r} has no weights in {network.name!r}; legal: {names}")
    return held


def undecided_bits(decisions: DecisionSpace) -> tuple[int, int]:
    """Returns the bits of weights and of inputs of layers about which nothing is decided.

    8 where bits of other layers are decided, else 32: full precision.
    """
    kinds = {d.kind for d in decisions.decisions}
    weights, inputs = (FIXED_BITS if kinds & set(k) else FLOAT_BITS for k in (WEIGHT_KINDS, INPUT_KINDS))
    return weights, inputs


def layer_bits(
    decisions: DecisionSpace, strategy: NDArray[np.int64], layers: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Returns the bits of weights and of the input of each layer under a strategy `[T]`."""
    pairs = zip(decisions.decisions, strategy, strict=True)
    chosen = {(d.subject, d.kind): d.numbers[c] for d, c in pairs if d.kind in NUMBERED_KINDS}
    default = undecided_bits(decisions)

    def of(layer: str, kinds: tuple[str, ...], otherwise: int) -> int:
        return next((chosen[layer, kind] for kind in kinds if (layer, kind) in chosen), otherwise)

    return {x: (of(x, WEIGHT_KINDS, default[0]), of(x, INPUT_KINDS, default[1])) for x in layers}
