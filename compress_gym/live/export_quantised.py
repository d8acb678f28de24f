"""From a quantised torch model to an ONNX file with the same integers: QuantizeLinear and DequantizeLinear nodes.

Where weights and inputs have 8 bits, ONNX Runtime fuses such nodes into integer operations (on x86 processors without
VNNI its sums saturate unless the session option `session.x64quantprecision` is set, as it is in `open_session`). No
runtime here computes with fewer bits: layers of 2 to 7 are annotated in the same way (their integers are clipped to the
width) and run as 8 bits or as floats, their biases added as floats; the file's metadata names them under
`simulated_bits`.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from compress_gym.live.export import export_onnx
from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.quantise import InputQuantiser
from compress_gym.networks import Network
from compress_gym.problem.network_decisions import weighted_layers

RUN_BITS = 8


def export_quantised(module: nn.Module, network: Network, path: Path, batch: int = 1) -> Path:
    """Writes a quantised model, which is not changed, as ONNX, and returns the path; layers not quantised stay floats.

    Args:
        module: From `NetworkCompressor.build`.
        network: The uncompressed network's description.
        path: Where to write.
        batch: Inputs a call.

    Raises:
        ValueError: The exported graph does not have one operation for each layer with weights.
    """
    plain: Any = copy.deepcopy(module).eval()
    layers = weighted_layers(network)
    quantisers = {name: _take_quantiser(plain.get_submodule(name)) for name in layers}
    fold_batch_norms(plain, network)
    scales = {name: _positive_scales(plain.get_submodule(name)) for name in layers}
    model = onnx.load(export_onnx(plain, network.input_shape, path, batch))
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    if len(nodes) != len(layers):
        raise ValueError(f"the graph of {network.name!r} has {len(nodes)} operations with weights, not {len(layers)}")
    rewriter = _Rewriter(model)
    simulated = {}
    for name, node in zip(layers, nodes, strict=True):
        widths = rewriter.quantise(node, quantisers[name], scales[name])
        if set(widths) - {RUN_BITS}:
            simulated[name] = widths
    model.metadata_props.add(key="simulated_bits", value=json.dumps(simulated))
    rewriter.sort()
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _take_quantiser(target: Any) -> InputQuantiser | None:
    """Takes the hook that rounds a layer's input off it."""
    found = [hook for hook in target._forward_pre_hooks.values() if isinstance(hook, InputQuantiser)]
    target._forward_pre_hooks.clear()
    return found[0] if found else None


def _positive_scales(target: Any) -> tuple[NDArray[np.float32], int] | None:
    """Returns the scales of a layer's weights and their bits; `None` if they are floats."""
    if not hasattr(target, "weight_scales"):
        return None
    # A factor of 0 leaves no weights, whatever their scale.
    scales = torch.where(target.weight_scales == 0, 1.0, target.weight_scales.abs())
    return scales.numpy().astype(np.float32), target.weight_bits


class _Rewriter:
    """Puts nodes around the operations of a graph."""

    def __init__(self, model: Any) -> None:
        self.graph = model.graph
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.added: list[Any] = []

    def quantise(
        self, node: Any, quantiser: InputQuantiser | None, scales: tuple[NDArray[np.float32], int] | None
    ) -> tuple[int, ...]:
        """Quantises one operation's input, weights and bias; returns the bits of weights and input, where quantised."""
        widths: list[int] = []
        if scales is not None:
            weight = numpy_helper.to_array(self.stored[node.input[1]])
            axis = 0 if node.op_type == "Conv" or _transposed(node) else 1
            shape = [1] * weight.ndim
            shape[axis] = -1
            integers = np.rint(weight / scales[0].reshape(shape)).astype(np.int8)
            node.input[1] = self.dequantised(node.input[1], integers, scales[0], axis)
            widths.append(scales[1])
        if quantiser is not None:
            step = np.float32(quantiser.scale)
            widths.append(int(quantiser.high).bit_length() + (quantiser.low < 0))
            if scales is not None and len(node.input) > 2:
                bias = numpy_helper.to_array(self.stored[node.input[2]])
                if set(widths) == {RUN_BITS}:
                    sums = np.rint(bias / (scales[0] * step)).astype(np.int32)
                    node.input[2] = self.dequantised(node.input[2], sums, scales[0] * step, 0)
                else:
                    self.add_after(node, bias)
            node.input[0] = self.rounded(node.input[0], node.name, quantiser, step)
        return tuple(widths)

    def dequantised(self, name: str, integers: NDArray[Any], scales: NDArray[np.float32], axis: int) -> str:
        """Stores integers and returns the name of the numbers they stand for."""
        zeros = np.zeros(len(scales), dtype=integers.dtype)
        inputs = [self.store(f"{name}_{part}", a) for part, a in (("q", integers), ("scale", scales), ("zero", zeros))]
        self.added.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], axis=axis))
        return f"{name}_dq"

    def add_after(self, node: Any, bias: NDArray[np.float32]) -> None:
        """Adds an operation's bias by a node of its own.

        As an input of the operation, ONNX Runtime (its `WeightBiasQuantization`) rounds it to multiples of both scales,
        which are coarse where there are few bits.
        """
        name, output = node.input.pop(), node.output[0]
        node.output[0] = f"{output}_without_bias"
        shape = (-1, 1, 1) if node.op_type == "Conv" else (-1,)
        added = self.store(f"{name}_added", bias.reshape(shape))
        self.added.append(helper.make_node("Add", [node.output[0], added], [output]))

    def rounded(self, name: str, reader: str, quantiser: InputQuantiser, step: np.float32) -> str:
        """Rounds a tensor for one reader."""
        own = f"{name}_for_{reader}"
        zero = np.array(0, dtype=np.int8 if quantiser.low < 0 else np.uint8)
        scale, zero_point = self.store(f"{own}_scale", np.array(step)), self.store(f"{own}_zero", zero)
        source = name
        if quantiser.high not in (127, 255):
            edges = [
                self.store(f"{own}_{edge}", np.array(value * step, dtype=np.float32))
                for edge, value in (("low", quantiser.low), ("high", quantiser.high))
            ]
            self.added.append(helper.make_node("Clip", [name, *edges], [f"{own}_clipped"]))
            source = f"{own}_clipped"
        self.added.append(helper.make_node("QuantizeLinear", [source, scale, zero_point], [f"{own}_q"]))
        self.added.append(helper.make_node("DequantizeLinear", [f"{own}_q", scale, zero_point], [f"{own}_dq"]))
        return f"{own}_dq"

    def store(self, name: str, array: NDArray[Any]) -> str:
        """Stores a constant under a name."""
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def sort(self) -> None:
        """Puts the nodes into an order in which each follows those it reads, and drops constants that nobody reads."""
        left = [*self.graph.node, *self.added]
        known = {"", *(t.name for t in self.graph.initializer), *(i.name for i in self.graph.input)}
        ordered: list[Any] = []
        while left:
            ready = [node for node in left if all(x in known for x in node.input)]
            ordered += ready
            known.update(y for node in ready for y in node.output)
            left = [node for node in left if not any(node is r for r in ready)]
        read = {x for node in ordered for x in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(ordered)
        self.graph.initializer.extend(kept)


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i == 1 for a in node.attribute)
