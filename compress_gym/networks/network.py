"""The static description of a network: layers with shapes, and channels that shrink together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

LAYER_KINDS = ("conv", "depthwise", "pool", "linear")


@dataclass(frozen=True)
class Layer:
    """One layer of a network, uncompressed.

    Attributes:
        name: The module's name in the torch model (`conv1`).
        kind: One of `LAYER_KINDS`.
        in_channels: Channels (or features) that enter.
        out_channels: Channels (or features) that leave.
        in_height: Height of the input in pixels (1 for a linear layer).
        in_width: Width of the input in pixels (1 for a linear layer).
        kernel: Side of the square kernel (1 for pooling and linear layers).
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        bias: Whether the layer has a bias of its own.
        batch_norm: Name of the batch norm that follows, or `None`.
        relu: Whether a ReLU follows (after the batch norm).
        in_group: Name of the channel group that enters; `None` is the network's fixed input.
        out_group: Name of the channel group that leaves; `None` is the network's fixed output.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False
    batch_norm: str | None = None
    relu: bool = False
    in_group: str | None = None
    out_group: str | None = None

    def __post_init__(self) -> None:
        """Checks the kind."""
        if self.kind not in LAYER_KINDS:
            raise ValueError(f"layer {self.name!r}: kind={self.kind!r} is not one of {LAYER_KINDS}")

    def weights(self, in_channels: int, out_channels: int) -> int:
        """Returns the number of weights, biases not counted, at these channel counts."""
        if self.kind == "pool":
            return 0
        groups = out_channels if self.kind == "depthwise" else self.groups
        return out_channels * (in_channels // groups) * self.kernel**2

    @property
    def out_height(self) -> int:
        """Height of the output in pixels ("same" padding, global pooling)."""
        return 1 if self.kind == "pool" else math.ceil(self.in_height / self.stride)

    @property
    def out_width(self) -> int:
        """Width of the output in pixels ("same" padding, global pooling)."""
        return 1 if self.kind == "pool" else math.ceil(self.in_width / self.stride)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be kept or removed together.

    Attributes:
        name: Name of the group: that of its first producer.
        channels: Number of channels, uncompressed.
        producers: Layers whose outputs these channels are, in forward order.
        consumers: Layers whose inputs these channels are, in forward order.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A network as compression sees it.

    Attributes:
        name: Name of the architecture.
        input_shape: Shape of one input, channels first.
        layers: Layers in forward order.
        groups: Channel groups in forward order of their first producer.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]

    def layer(self, name: str) -> Layer:
        """Returns the layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    def to_json(self) -> dict[str, Any]:
        """Returns the description as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Network:
        """Builds a network from `to_json`'s plain data."""
        groups = tuple(
            ChannelGroup(g["name"], g["channels"], tuple(g["producers"]), tuple(g["consumers"])) for g in data["groups"]
        )
        layers = tuple(Layer(**layer) for layer in data["layers"])
        return cls(data["name"], tuple(data["input_shape"]), layers, groups)
