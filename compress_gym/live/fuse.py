"""Additions and ReLUs computed by the convolution before them, as oneDNN can: scoring waits for memory otherwise.

They are the operations that `torch.compile` uses on processors; compiling every compressed network would take longer
than scoring it.
"""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

_RELU_FUNCTIONS = (torch.relu, torch.relu_, F.relu, "relu", "relu_")
_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")


class FusedConv2d(nn.Module):
    """A convolution, then the addition of another tensor if one is given, then a ReLU if it is asked for."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Takes over a convolution; nothing is fused into it yet."""
        super().__init__()
        self.convolution, self.relu = convolution, False

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """Maps `[N, in_channels, H, W]`, and what is added of the output's shape, to `[N, out_channels, H', W']`."""
        c, run = self.convolution, torch.ops.mkldnn._convolution_pointwise
        geometry = (c.padding, c.stride, c.dilation, c.groups)
        if other is None:
            y = run(x, c.weight, c.bias, *geometry, "relu" if self.relu else "none", [], "")
        else:
            y = run.binary(x, other, c.weight, c.bias, *geometry, "add", 1.0, "relu" if self.relu else None, [], None)
        assert isinstance(y, torch.Tensor)
        return y


def fuse_convolutions(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """Fuses what can be, wherever a value has no other use; the rest stays as it is.

    Args:
        module: A float32 model in evaluation mode that `torch.fx` can trace, batch norms folded.
        example: A few inputs `[N, channels, height, width]`, which both models are tried on.

    Returns:
        A model that shares the parameters. The very module where it has hooks, which fusing would step over, where
        oneDNN is not there, and where the fused model answers otherwise: `torch.fx` follows no value that is changed
        in place under another name.
    """
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    if hooked or not _has_onednn():
        return module
    with torch.no_grad():
        expected = module(example.clone())  # a model may change its input
        fused = _fused(module, example)
        found = fused(example.clone())
    scale = float(expected.abs().max())
    return fused if torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * scale) else module


def _has_onednn() -> bool:
    """Returns whether torch has oneDNN's own kernels; those of ARM's library are not fused by torch either."""
    acl = getattr(torch.ops.mkldnn, "_is_mkldnn_acl_supported", lambda: False)
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled and not acl())


def _fused(module: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    graph = fx.symbolic_trace(module)
    ShapeProp(graph).propagate(example.clone())
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    once = [str(name) for name, uses in Counter(node.target for node in calls).items() if uses == 1]
    for name in (str(node.target) for node in calls if str(node.target) in once and len(node.args) == 1):
        part = graph.get_submodule(name)
        if type(part) is nn.Conv2d and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            graph.set_submodule(name, FusedConv2d(part))
    for node in calls:
        if isinstance(_part(graph, node), (nn.Identity, nn.Dropout, nn.Dropout2d)) and node.args:
            _replace(graph, node, node.args[0])  # drop-out rests in evaluation
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    for node in list(graph.graph.nodes):
        if _is(node, _ADDITIONS):
            _fuse_addition(graph, node, order)
    for node in list(graph.graph.nodes):
        if _is(node, _RELU_FUNCTIONS) or isinstance(_part(graph, node), nn.ReLU):
            fused = _fusable(graph, node.args[0]) if node.args else None
            if fused is not None and not fused.relu:
                fused.relu = True
                _replace(graph, node, node.args[0])
    graph.graph.lint()
    graph.recompile()
    return graph


def _fuse_addition(graph: fx.GraphModule, node: fx.Node, order: dict[fx.Node, int]) -> None:
    """Fuses an addition into the later of its terms, if that is a convolution and the other has the same shape."""
    terms = [term for term in node.args if isinstance(term, fx.Node)]
    if len(terms) != 2 or len(node.args) != 2 or node.kwargs or terms[0] is terms[1]:
        return
    earlier, later = sorted(terms, key=order.__getitem__)
    if _shape(earlier) == _shape(later) and _fusable(graph, later) is not None and len(later.args) == 1:
        later.args = (later.args[0], earlier)
        _replace(graph, node, later)


def _fusable(graph: fx.GraphModule, node: Any) -> FusedConv2d | None:
    """Returns the convolution a node calls, if its value has one use."""
    part = _part(graph, node)
    return part if isinstance(part, FusedConv2d) and len(node.users) == 1 else None


def _part(graph: fx.GraphModule, node: Any) -> nn.Module | None:
    """Returns the submodule a node calls, if it calls one."""
    return graph.get_submodule(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None


def _is(node: fx.Node, targets: tuple[Any, ...]) -> bool:
    return node.op in ("call_function", "call_method") and node.target in targets


def _shape(node: fx.Node) -> Any:
    meta = node.meta.get("tensor_meta")
    return getattr(meta, "shape", None)


def _replace(graph: fx.GraphModule, node: fx.Node, by: fx.Node) -> None:
    node.replace_all_uses_with(by)
    graph.graph.erase_node(node)
