"""From a torch module to a `Network`: layers, shapes, and the channels that must shrink together.

`torch.fx` gives the graph and the shapes. Channels are followed through it as *segments*: a convolution makes a new
one, sums and products unify what they combine, concatenations put segments side by side, depth-wise convolutions and
everything element-wise pass them on. What cannot be followed is refused by name.

Torch-Pruning finds the same groups by autograd (the tests compare the two), but knows neither spatial sizes nor which
batch norms and ReLUs fuse into which layer, and needs the torch model at hand; so the library is not used here.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import lcm, prod
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from compress_gym.networks.network import WEIGHTED, ChannelGroup, Layer, Network, Segment

_RELU_MODULES = (nn.ReLU, nn.ReLU6)
_ELEMENTWISE_MODULES = (
    *_RELU_MODULES,
    *(nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh),
    *(nn.Dropout, nn.Dropout2d, nn.Identity),
)
_RELU_FUNCTIONS = (torch.relu, torch.relu_, F.relu, F.relu6, "relu", "relu_")
_ELEMENTWISE_FUNCTIONS = (
    *_RELU_FUNCTIONS,
    *(F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.dropout, F.dropout2d),
    *(torch.sigmoid, torch.tanh, F.sigmoid, F.tanh, "sigmoid", "tanh", "contiguous", "clone"),
)
_COMBINE: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "add"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "multiply"),
}
_FLATTEN = (torch.flatten, "flatten", "view", "reshape", torch.reshape)
_MEAN = (torch.mean, "mean")


@dataclass(eq=False)
class _Channels:
    """A segment while groups are still being found: unified ones point to one root."""

    count: int
    fixed: bool = False
    divisions: int = 1
    parent: _Channels | None = field(default=None, repr=False)

    def root(self) -> _Channels:
        return self if self.parent is None else self.parent.root()


@dataclass(frozen=True)
class _Tensor:
    """What a node of the graph yields.

    Attributes:
        segments: Its channels.
        shape: Its shape; of a flattened tensor, the shape before: a linear layer must know the pixels of a channel.
        made: The layer that made it, perhaps with something element-wise after it; `None`: the network's input.
        layer: The layer that yields it, into which a batch norm or ReLU may fuse.
        flat: Whether it was flattened.
    """

    segments: tuple[_Channels, ...]
    shape: tuple[int, ...]
    made: str | None = None
    layer: str | None = None
    flat: bool = False


@dataclass(frozen=True)
class _Found:
    layer: Layer
    inputs: tuple[_Channels, ...]
    outputs: tuple[_Channels, ...]
    sources: tuple[str | None, ...]


def trace(module: nn.Module, input_shape: tuple[int, ...], name: str) -> Network:
    """Describes a convolutional classifier.

    Args:
        module: The torch module; its `forward` must be traceable by `torch.fx`. It is not changed.
        input_shape: Shape of one input, `(channels, height, width)`.
        name: Name of the architecture.

    Returns:
        The network. The channels of its input and of its logits are fixed.

    Raises:
        ValueError: An operation cannot be followed, or the network does not end in logits `[N, classes]`; the message
            names the operation and its layer.
    """
    return _Tracer(module, input_shape, name).network()


class _Tracer:
    def __init__(self, module: nn.Module, input_shape: tuple[int, ...], name: str) -> None:
        self.name, self.input_shape = name, tuple(input_shape)
        try:
            self.graph = fx.symbolic_trace(module)
        except Exception as error:  # fx raises many kinds: what it says is what the user needs
            raise ValueError(f"network {name!r} cannot be traced by torch.fx: {error}") from error
        inputs = [node for node in self.graph.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise self.refuse(inputs[-1], "the network has more than one input")
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            with torch.no_grad():
                ShapeProp(self.graph).propagate(torch.zeros(1, *input_shape))
                probe = torch.linspace(-2, 2, prod(input_shape)).reshape(1, *input_shape)
                before = probe.clone()
                module(probe)
        except RuntimeError as error:
            raise ValueError(f"network {name!r} does not accept inputs of shape {self.input_shape}: {error}") from error
        finally:
            for part, training in modes.items():
                part.training = training
        if not torch.equal(probe, before):  # calibration images are passed again and again
            raise self.refuse(inputs[0], "the network changes its input in place; let it work on a copy")
        self.found: dict[str, _Found] = {}
        self.used: set[str] = set()
        self.tensors: dict[fx.Node, _Tensor] = {}

    def network(self) -> Network:
        for node in self.graph.graph.nodes:
            tensor = self.follow(node)
            if tensor is not None:
                self.tensors[node] = tensor
        names = self.name_groups()
        layers = tuple(
            replace(f.layer, inputs=_segments(f.inputs, names), outputs=_segments(f.outputs, names))
            for f in self.found.values()
        )
        edges = tuple((source, name) for name, found in self.found.items() for source in found.sources)
        return Network(self.name, self.input_shape, layers, tuple(self.groups(layers, names)), edges)

    def follow(self, node: fx.Node) -> _Tensor | None:
        """Returns what a node yields; `None` for shapes and other numbers."""
        if node.op == "placeholder":
            return _Tensor((_Channels(self.input_shape[0], fixed=True),), _shape(node))
        if node.op == "output":
            self.end(node)
            return None
        if node.op == "get_attr":
            raise self.refuse(node, "a parameter is used outside a layer")
        sources = [self.tensors[n] for n in node.all_input_nodes if n in self.tensors]
        target = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        if not sources or "tensor_meta" not in node.meta:
            return None  # shapes and other numbers
        if node.op == "call_module":
            return self.follow_module(node, target, sources[0])
        return self.follow_function(node, target, sources)

    def follow_module(self, node: fx.Node, module: Any, source: _Tensor) -> _Tensor:
        if any(True for _ in module.parameters()):
            if node.target in self.used:
                raise self.refuse(node, "the layer is used more than once")
            self.used.add(str(node.target))
        if isinstance(module, nn.Conv2d):
            return self.convolution(node, module, source)
        if isinstance(module, nn.Linear):
            return self.linear(node, module, source)
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            return self.batch_norm(node, source)
        if isinstance(module, _ELEMENTWISE_MODULES):
            return self.elementwise(node, source, isinstance(module, _RELU_MODULES))
        if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AvgPool2d)):
            return self.pool(node, source, "avg-pool")
        if isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)):
            return self.pool(node, source, "max-pool")
        if isinstance(module, nn.Flatten):
            return self.flatten(node, source)
        raise self.refuse(node, f"{type(module).__name__} is not understood")

    def follow_function(self, node: fx.Node, target: Any, sources: list[_Tensor]) -> _Tensor:
        if target in _ELEMENTWISE_FUNCTIONS:
            return self.elementwise(node, sources[0], target in _RELU_FUNCTIONS)
        if target in _COMBINE:
            if len(sources) == 1:  # with a number, or with itself
                return self.elementwise(node, sources[0], relu=False)
            return self.combine(node, sources[0], sources[1], _COMBINE[target])
        if target in (torch.cat, torch.concat):
            return self.concat(node)
        if target in (F.adaptive_avg_pool2d, F.avg_pool2d):
            return self.pool(node, sources[0], "avg-pool")
        if target in (F.max_pool2d, torch.max_pool2d, F.adaptive_max_pool2d):
            return self.pool(node, sources[0], "max-pool")
        if target in _MEAN and len(_shape(node)) in (2, 4) and _shape(node)[1:2] == sources[0].shape[1:2]:
            return self.pool(node, sources[0], "avg-pool")
        if target in _FLATTEN:
            return self.flatten(node, sources[0])
        raise self.refuse(node, f"{getattr(target, '__name__', target)} is not understood")

    def convolution(self, node: fx.Node, module: nn.Conv2d, source: _Tensor) -> _Tensor:
        kernel, stride = module.kernel_size, module.stride
        if kernel[0] != kernel[1] or stride[0] != stride[1]:
            raise self.refuse(node, f"kernel {kernel} with stride {stride}; only square ones are understood")
        entering, kind = source.segments, "conv"
        leaving: tuple[_Channels, ...] = (_Channels(module.out_channels),)
        if module.groups == module.in_channels == module.out_channels and module.groups > 1:
            leaving, kind = entering, "depthwise"
        elif module.groups > 1:
            if len(entering) > 1:
                raise self.refuse(node, "a grouped convolution reads a concatenation")
            for channels in (entering[0].root(), leaving[0]):
                channels.divisions = lcm(channels.divisions, module.groups)
        side, step, bias = kernel[0], stride[0], module.bias is not None
        return self.add(node, source, leaving, kind, kernel=side, stride=step, groups=module.groups, bias=bias)

    def linear(self, node: fx.Node, module: nn.Linear, source: _Tensor) -> _Tensor:
        if len(source.shape) != 2 and not source.flat:
            raise self.refuse(node, f"it is applied to a tensor of shape {source.shape}; flatten it first")
        leaving = (_Channels(module.out_features),)
        return self.add(node, source, leaving, "linear", bias=module.bias is not None)

    def batch_norm(self, node: fx.Node, source: _Tensor) -> _Tensor:
        self.refuse_pixels(node, source)
        if source.layer is not None and len(node.all_input_nodes[0].users) == 1:
            found = self.found[source.layer]
            if found.layer.kind in WEIGHTED and found.layer.batch_norm is None:
                self.found[source.layer] = replace(found, layer=replace(found.layer, batch_norm=str(node.target)))
                return source
        return self.add(node, source, source.segments, "batch-norm")

    def elementwise(self, node: fx.Node, source: _Tensor, relu: bool) -> _Tensor:
        if relu and source.layer is not None and len(node.all_input_nodes[0].users) == 1:
            found = self.found[source.layer]
            self.found[source.layer] = replace(found, layer=replace(found.layer, relu=True))
        return replace(source, layer=None)

    def pool(self, node: fx.Node, source: _Tensor, kind: str) -> _Tensor:
        after = _pixels(_Tensor(source.segments, _shape(node)))
        if kind == "avg-pool" and after == (1, 1):
            kind = "pool"
        # Kernel and stride only matter to a device; both are read off the shapes.
        side = 1 if kind == "pool" else max(1, round(_pixels(source)[0] / after[0]))
        return self.add(node, source, source.segments, kind, kernel=side, stride=side)

    def flatten(self, node: fx.Node, source: _Tensor) -> _Tensor:
        shape = _shape(node)
        if len(source.shape) == 2 and shape == source.shape:
            return source
        height, width = _pixels(source)
        if len(shape) != 2 or shape[1] != source.shape[1] * height * width:
            raise self.refuse(node, f"it turns shape {source.shape} into {shape}; only flattening is understood")
        if node.target in ("view", "reshape", torch.reshape) and shape[1] in node.args:
            raise self.refuse(node, f"the width {shape[1]} is fixed in the code; use flatten(1), or -1")
        return replace(source, flat=True, layer=None)

    def combine(self, node: fx.Node, left: _Tensor, right: _Tensor, kind: str) -> _Tensor:
        if [s.count for s in left.segments] != [s.count for s in right.segments]:
            raise self.refuse(
                node,
                f"it combines channels {[s.count for s in left.segments]} with "
                f"{[s.count for s in right.segments]}, which do not line up",
            )
        self.refuse_pixels(node, left, right)
        for a, b in zip(left.segments, right.segments, strict=True):
            _unify(a, b)
        larger = left if _pixels(left) >= _pixels(right) else right
        return self.add(node, larger, larger.segments, kind, (left.made, right.made))

    def concat(self, node: fx.Node) -> _Tensor:
        parts: Any = node.args[0] if node.args else node.kwargs["tensors"]
        if any(part not in self.tensors for part in parts):
            raise self.refuse(node, "it concatenates something that is not a tensor of channels")
        joined = [self.tensors[part] for part in parts]
        self.refuse_pixels(node, *joined)
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if given not in (1, 1 - len(_shape(node))):
            raise self.refuse(node, f"it concatenates along dim={given}; only channels (dim=1) are understood")
        segments = tuple(s for tensor in joined for s in tensor.segments)
        sources = tuple(tensor.made for tensor in joined)
        return self.add(node, replace(joined[0], segments=segments), segments, "concat", sources)

    def add(
        self,
        node: fx.Node,
        source: _Tensor,
        leaving: tuple[_Channels, ...],
        kind: str,
        sources: tuple[str | None, ...] | None = None,
        **fields: Any,
    ) -> _Tensor:
        """Records a layer and returns what it yields; `sources` are the layers it reads where there are several."""
        # A module without weights may be used again; then the operation's own name tells the uses apart.
        name = str(node.target) if node.op == "call_module" else node.name
        name = node.name if name in self.found else name
        after = _Tensor(leaving, _shape(node), name, name)
        layer = Layer(name, kind, (), (), *_pixels(source), *_pixels(after), **fields)
        self.found[name] = _Found(layer, source.segments, leaving, sources or (source.made,))
        return after

    def end(self, node: fx.Node) -> None:
        logits = [self.tensors[n] for n in node.all_input_nodes if n in self.tensors]
        if len(logits) != 1 or not self.found or len(_shape(node.all_input_nodes[0])) != 2:
            raise self.refuse(node, "a network must end in one tensor of logits [N, classes]")
        if not any(f.layer.kind in WEIGHTED for f in self.found.values()):
            raise self.refuse(node, "the network has no convolution or linear layer")
        for segment in logits[0].segments:
            segment.root().fixed = True

    def name_groups(self) -> dict[_Channels, str]:
        """Names each group of channels that may shrink after its first producer."""
        names: dict[_Channels, str] = {}
        for name, found in self.found.items():
            if found.layer.kind in ("conv", "linear"):
                for root in (s.root() for s in found.outputs):
                    if not root.fixed:
                        names.setdefault(root, name)
        return names

    def groups(self, layers: tuple[Layer, ...], names: dict[_Channels, str]) -> Iterator[ChannelGroup]:
        weighted = [x for x in layers if x.kind in WEIGHTED]
        for root, name in names.items():
            producers = tuple(x.name for x in weighted if any(s.group == name for s in x.outputs))
            consumers = tuple(x.name for x in weighted if any(s.group == name for s in x.inputs))
            yield ChannelGroup(name, root.count, producers, consumers, root.divisions)

    def refuse_pixels(self, node: fx.Node, *tensors: _Tensor) -> None:
        """Refuses flattened tensors that have more than one feature a channel."""
        if any(tensor.flat and _pixels(tensor) != (1, 1) for tensor in tensors):
            raise self.refuse(node, "it is applied to flattened pixels, several features a channel")

    def refuse(self, node: fx.Node, why: str) -> ValueError:
        layer = f" (layer {node.target!r})" if node.op == "call_module" else ""
        return ValueError(f"cannot trace operation {node.name!r}{layer} of network {self.name!r}: {why}")


def _unify(a: _Channels, b: _Channels) -> None:
    a, b = a.root(), b.root()
    if a is not b:
        a.fixed, a.divisions, b.parent = a.fixed or b.fixed, lcm(a.divisions, b.divisions), a


def _segments(channels: tuple[_Channels, ...], names: dict[_Channels, str]) -> tuple[Segment, ...]:
    return tuple(Segment(names.get(c.root()), c.count) for c in channels)


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _pixels(tensor: _Tensor) -> tuple[int, int]:
    return (tensor.shape[2], tensor.shape[3]) if len(tensor.shape) == 4 else (1, 1)
