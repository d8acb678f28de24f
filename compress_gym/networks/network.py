"""The static description of a network: layers with shapes, and channels that shrink together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from compress_gym.support.errors import unknown_name

# `pool` is global average pooling; `batch-norm` one that cannot be folded into the layer before it.
LAYER_KINDS = (
    "conv", "depthwise", "linear", "pool", "max-pool", "avg-pool", "add", "multiply", "concat", "batch-norm"
)  # fmt: skip
WEIGHTED = ("conv", "depthwise", "linear")
_COMBINES = ("add", "multiply")


@dataclass(frozen=True)
class Segment:
    """Neighbouring channels of one group. Most tensors are one segment; a concatenation has several.

    Attributes:
        group: Name of the channel group; `None` is fixed (the network's input and output).
        channels: Number of channels, uncompressed.
    """

    group: str | None
    channels: int


@dataclass(frozen=True)
class Layer:
    """One layer of a network, uncompressed.

    Attributes:
        name: The module's name in the torch model (`conv1`), or the operation's in its graph (`add_1`).
        kind: One of `LAYER_KINDS`.
        inputs: Channels (or features) that enter, in order.
        outputs: Channels (or features) that leave, in order.
        in_height: Height of the input in pixels; of a linear layer, what was flattened (1 after global pooling).
        in_width: Width of the input in pixels.
        out_height: Height of the output in pixels.
        out_width: Width of the output in pixels.
        kernel: Side of the square kernel (1 where there is none).
        stride: Stride of the convolution or pooling.
        groups: Groups of the convolution.
        bias: Whether the layer has a bias of its own.
        batch_norm: Name of the batch norm that follows and can be folded into this layer, or `None`.
        relu: Whether a ReLU follows (after the batch norm).
    """

    name: str
    kind: str
    inputs: tuple[Segment, ...]
    outputs: tuple[Segment, ...]
    in_height: int = 1
    in_width: int = 1
    out_height: int = 1
    out_width: int = 1
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False
    batch_norm: str | None = None
    relu: bool = False

    def __post_init__(self) -> None:
        """Checks the kind."""
        if self.kind not in LAYER_KINDS:
            raise ValueError(f"layer {self.name!r}: kind={self.kind!r} is not one of {LAYER_KINDS}")

    @property
    def in_channels(self) -> int:
        """Channels that enter, uncompressed."""
        return sum(s.channels for s in self.inputs)

    @property
    def out_channels(self) -> int:
        """Channels that leave, uncompressed."""
        return sum(s.channels for s in self.outputs)

    @property
    def touched(self) -> tuple[str, ...]:
        """Names of the channel groups that enter or leave, each once."""
        names = (s.group for s in (*self.inputs, *self.outputs))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def kept(self, counts: Mapping[str, int]) -> tuple[int, int]:
        """Returns how many channels enter and leave when groups keep `counts` channels (left out: all)."""
        entering, leaving = (
            sum(s.channels if s.group is None else counts.get(s.group, s.channels) for s in side)
            for side in (self.inputs, self.outputs)
        )
        return entering, leaving

    def weights(self, in_channels: int, out_channels: int) -> int:
        """Returns the number of weights, biases and batch norms not counted, at these channel counts."""
        if self.kind == "depthwise":
            return out_channels * self.kernel**2
        if self.kind == "conv":
            return out_channels * (in_channels // self.groups) * self.kernel**2
        if self.kind == "linear":
            return out_channels * in_channels * self.in_height * self.in_width
        return 0


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be kept or removed together.

    Attributes:
        name: Name of the group: that of its first producer.
        channels: Number of channels, uncompressed.
        producers: Layers whose outputs these channels are, in forward order.
        consumers: Layers whose inputs these channels are, in forward order.
        divisions: Grouped convolutions need equally many channels in each of so many equal parts; 1 where none are.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    divisions: int = 1


@dataclass(frozen=True)
class Network:
    """A network as compression sees it.

    Attributes:
        name: Name of the architecture.
        input_shape: Shape of one input, channels first.
        layers: Layers in forward order.
        groups: Channel groups in forward order of their first producer.
        edges: Pairs of a layer that is read (`None`: the network's input) and its reader, in the order in which
            readers come and read. Nothing where layers are only described, as a transformer's are.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]
    edges: tuple[tuple[str | None, str], ...] = ()

    def __post_init__(self) -> None:
        """Checks the edges: what a layer reads was made before it, and has the channels that enter the layer.

        Raises:
            ValueError: They do not fit the layers; the message names the layer.
        """
        made: dict[str | None, tuple[Segment, ...]] = {None: (Segment(None, self.input_shape[0]),)}
        for layer in self.layers if self.edges else ():
            sources = self.sources[layer.name]
            if missing := [source for source in sources if source not in made]:
                raise ValueError(f"edges: layer {layer.name!r} reads {missing[0]!r}, which is no layer before it")
            read = [made[source] for source in sources]
            if layer.kind in _COMBINES:
                fits = read == [layer.inputs] * 2
            else:
                joined = tuple(segment for segments in read for segment in segments)
                fits = joined == layer.inputs and (len(read) == 1 or layer.kind == "concat" and len(read) > 1)
            if not fits:
                raise ValueError(
                    f"edges: layer {layer.name!r} ({layer.kind}) reads {list(sources)}, which make channels "
                    f"{[[(s.group, s.channels) for s in segments] for segments in read]}; "
                    f"{[(s.group, s.channels) for s in layer.inputs]} enter it"
                )
            made[layer.name] = layer.outputs
        ordered = (*((source, layer.name) for layer in self.layers for source in self.sources[layer.name]), None)
        if wrong := [edge for edge, expected in zip(self.edges, ordered, strict=False) if edge != expected]:
            raise ValueError(f"edges: {list(wrong[0])} is out of place; readers must be layers, in forward order")

    @cached_property
    def sources(self) -> dict[str, tuple[str | None, ...]]:
        """What each layer reads, in the order in which it does; `None` is the network's input."""
        read: dict[str, tuple[str | None, ...]] = {layer.name: () for layer in self.layers}
        for source, reader in self.edges:
            read[reader] = (*read.get(reader, ()), source)
        return read

    @cached_property
    def weighted_roots(self) -> dict[str, str | None]:
        """The weighted layer that made each layer's output: itself, or that of the latest layer that it reads.

        `None` is the network's input.
        """
        place: dict[str | None, int] = {None: -1, **{layer.name: n for n, layer in enumerate(self.layers)}}
        roots: dict[str | None, str | None] = {None: None}
        for layer in self.layers:
            latest = max(self.sources[layer.name], key=place.__getitem__)
            roots[layer.name] = layer.name if layer.kind in WEIGHTED else roots[latest]
        return {layer.name: roots[layer.name] for layer in self.layers}

    def layer(self, name: str) -> Layer:
        """Returns the layer of that name.

        Raises:
            KeyError: There is none; the message names the closest match.
        """
        found = next((layer for layer in self.layers if layer.name == name), None)
        if found is None:
            raise unknown_name("layer", name, [layer.name for layer in self.layers])
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns the description as plain data."""
        data = asdict(self)
        for layer, row in zip(self.layers, data["layers"], strict=True):
            for side in ("inputs", "outputs"):
                row[side] = [[s.group, s.channels] for s in getattr(layer, side)]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """Builds a network from `to_json`'s plain data.

        Raises:
            ValueError: There are no edges, or they do not fit the layers.
        """
        groups = tuple(
            ChannelGroup(**{**group, "producers": tuple(group["producers"]), "consumers": tuple(group["consumers"])})
            for group in data["groups"]
        )
        layers = tuple(
            Layer(**{**row, **{side: tuple(Segment(*s) for s in row[side]) for side in ("inputs", "outputs")}})
            for row in data["layers"]
        )
        try:
            edges = tuple((None if source is None else str(source), str(reader)) for source, reader in data["edges"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"edges: expected pairs of a layer that is read and its reader ({error!r})") from error
        if not edges:
            raise ValueError("edges: there are none")
        return cls(data["name"], tuple(data["input_shape"]), layers, groups, edges)


def description_digest(description: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a network's plain data as its file had it before it held edges, in hex.

    Cards and hashes of assets state this one; wrong edges are noticed when a network is built of them.
    """
    plain = {key: value for key, value in description.items() if key != "edges"}
    return hashlib.sha256((json.dumps(plain, indent=1) + "\n").encode()).hexdigest()
