"""ONNX Runtime on this machine: operations as models, and what is timed of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.operations import BOUNDARIES, Operation
from compress_gym.making.profile.timing import Timed
from compress_gym.support.errors import needing

# Type, inputs, outputs, attributes.
Node: TypeAlias = tuple[str, list[str], list[str], dict[str, Any]]
Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]
_OPSET = 18
# What bytes stand for.
_BYTES: Arrays = {"scale8": np.array(0.02, np.float32), "zero8": np.array(0, np.uint8)}


def timed(session: Any) -> Timed:
    """Returns a session as a function of nothing that runs it once, on fixed random inputs."""
    rng = np.random.default_rng(0)
    feed = {
        x.name: (
            rng.integers(0, 256, x.shape, dtype=np.uint8)
            if x.type == "tensor(uint8)"
            else rng.standard_normal(x.shape).astype(np.float32)
        )
        for x in session.get_inputs()
    }
    return partial(session.run, None, feed)


def operation_model(operation: Operation) -> bytes:
    """Builds an ONNX model of one operation with random weights.

    A convolution has a bias (its folded batch norm) and a ReLU, as it runs in a deployed network. With 8 bits, inputs
    and outputs are bytes and everything between is quantised, as inside a quantised network.

    Raises:
        ValueError: The kind or the bits are not known to this runtime.
    """
    with needing("onnx", "devices", "measuring latency"):
        from onnx import TensorProto, helper, numpy_helper
    nodes, shapes, found = _graph(operation)
    weights = {name: w if name in _BYTES else w.astype(np.float32) for name, w in found.items()}
    kind_of_tensor, outputs = TensorProto.FLOAT, TensorProto.FLOAT
    bits = operation.weight_bits, operation.activation_bits
    if operation.kind in BOUNDARIES:
        bytes_enter = operation.kind == "dequantize"
        kind_of_tensor = TensorProto.UINT8 if bytes_enter else TensorProto.FLOAT
        outputs = TensorProto.FLOAT if bytes_enter else TensorProto.UINT8
    elif bits == (8, 8):
        nodes, weights = _quantized(nodes, shapes, weights)
        kind_of_tensor = outputs = TensorProto.UINT8
    elif bits != (32, 32):
        raise ValueError(f"bits={bits} cannot be measured under ONNX Runtime; legal: (32, 32) and (8, 8)")
    graph = helper.make_graph(
        [helper.make_node(kind, enter, leave, **attributes) for kind, enter, leave, attributes in nodes],
        "operation",
        [helper.make_tensor_value_info(name, kind_of_tensor, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", outputs, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def quantize_network(
    path: Path, input_shape: tuple[int, ...], batch: int = 1, floats: Collection[str] | None = None
) -> bytes:
    """Quantises an exported network to 8 bits (QDQ, weights per channel), its ranges from random inputs.

    Layers that are named by `floats` stay in full precision, with what follows them up to the next layer with weights,
    and with what comes before the first; `None`: everything is quantised. The accuracy means nothing; the speed does.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class RandomImages(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            images = (rng.standard_normal((batch, *input_shape)).astype(np.float32) for _ in range(4))
            self.left = iter([{"images": image} for image in images])

        def get_next(self) -> Any:
            return next(self.left, None)

    with TemporaryDirectory() as folder, _no_logging():
        quantised = Path(folder) / "quantised.onnx"
        quantize_static(
            path,
            quantised,
            RandomImages(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[] if floats is None else _float_nodes(path, floats),
        )
        return quantised.read_bytes()


def _float_nodes(path: Path, floats: Collection[str]) -> list[str]:
    """Returns the nodes that stay in full precision: by their weight's name, or with the latest of what they read."""
    import onnx

    # The layer with weights that made each tensor; inputs and constants are not among them.
    made: dict[str, str] = {}
    found = []
    for node in onnx.load(path).graph.node:
        weighted = node.op_type in ("Conv", "Gemm", "MatMul")
        own = [name.removesuffix(".weight") for name in node.input if weighted and name.endswith(".weight")]
        read = [name for name in made if name in node.input]  # in the order in which they were made
        root = own[0] if own else made[read[-1]] if read else None
        if root is None or root in floats:
            found.append(node.name)
        if root is not None:
            made.update(dict.fromkeys(node.output, root))
    return found


@contextmanager
def _no_logging() -> Iterator[None]:
    """Keeps the quantiser's advice off the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _quantized(nodes: list[Node], shapes: dict[str, list[int]], weights: dict[str, Array]) -> tuple[list[Node], Arrays]:
    """Puts quantise and dequantise nodes around an operation; ONNX Runtime fuses them into one quantised operation."""
    count = len(weights["w"]) if "w" in weights else 0
    quantised = dict(_BYTES)
    if count:
        quantised |= {
            "w": np.clip(np.rint(weights["w"] * 40), -127, 127).astype(np.int8),
            "w_scale": np.full(count, 0.02, np.float32),
            "w_zero": np.zeros(count, np.int8),
            "b": np.rint(weights["b"] * 1000).astype(np.int32),
            "b_scale": np.full(count, 4e-4, np.float32),
            "b_zero": np.zeros(count, np.int32),
        }
    renamed = {name: f"{name}_float" for name in (*shapes, *("w", "b")[: 2 * bool(count)])}
    before: list[Node] = [("DequantizeLinear", [x, "scale8", "zero8"], [renamed[x]], {}) for x in shapes]
    for name in ("w", "b") if count else ():
        scales = [f"{name}_scale", f"{name}_zero"]
        before.append(("DequantizeLinear", [name, *scales], [renamed[name]], {"axis": 0}))
    stored = {**weights, **quantised}
    middle: list[Node] = [
        (kind, [renamed.get(x, x) for x in inputs], ["y_float" if y == "y" else y for y in outputs], attributes)
        for kind, inputs, outputs, attributes in nodes
    ]
    return [*before, *middle, ("QuantizeLinear", ["y_float", "scale8", "zero8"], ["y"], {})], stored


def _graph(o: Operation) -> tuple[list[Node], dict[str, list[int]], Arrays]:
    """Returns an operation's nodes, the shapes of its inputs, and its weights."""
    rng = np.random.default_rng(0)
    image = [o.batch, o.in_channels, o.in_height, o.in_width]
    relu: Node = ("Relu", ["h"], ["y"], {})
    if o.kind in ("conv", "depthwise"):
        kernel = (o.out_channels, o.in_channels // o.groups, o.kernel, o.kernel)
        weights = {"w": rng.standard_normal(kernel), "b": rng.standard_normal(o.out_channels)}
        attributes = {"pads": [o.kernel // 2] * 4, "strides": [o.stride] * 2, "group": o.groups}
        return [("Conv", ["x", "w", "b"], ["h"], attributes), relu], {"x": image}, weights
    if o.kind == "linear":
        features = o.in_channels * o.in_height * o.in_width
        weights = {"w": rng.standard_normal((o.out_channels, features)), "b": rng.standard_normal(o.out_channels)}
        return [("Gemm", ["x", "w", "b"], ["y"], {"transB": 1})], {"x": [o.batch, features]}, weights
    if o.kind in ("add", "multiply"):
        name = "Add" if o.kind == "add" else "Mul"
        return [(name, ["x", "z"], ["h"], {}), relu], {"x": image, "z": image}, {}
    if o.kind == "concat":
        half = [o.batch, max(1, o.in_channels // 2), o.in_height, o.in_width]
        return [("Concat", ["x", "z"], ["y"], {"axis": 1})], {"x": half, "z": half}, {}
    if o.kind == "batch-norm":
        weights = {name: rng.random(o.in_channels) + 0.5 for name in ("scale", "shift", "mean", "var")}
        return [("BatchNormalization", ["x", *weights], ["h"], {}), relu], {"x": image}, weights
    if o.kind in ("max-pool", "avg-pool"):
        name = "MaxPool" if o.kind == "max-pool" else "AveragePool"
        attributes = {"kernel_shape": [o.kernel] * 2, "strides": [o.stride] * 2}
        return [(name, ["x"], ["y"], attributes)], {"x": image}, {}
    if o.kind == "pool":
        return [("GlobalAveragePool", ["x"], ["h"], {}), ("Flatten", ["h"], ["y"], {})], {"x": image}, {}
    if o.kind == "layout":
        # A pooling of single pixels does nothing but enter the runtime's own layout and leave it.
        return [("MaxPool", ["x"], ["y"], {"kernel_shape": [1, 1]})], {"x": image}, {}
    if o.kind in BOUNDARIES:
        name = "QuantizeLinear" if o.kind == "quantize" else "DequantizeLinear"
        return [(name, ["x", "scale8", "zero8"], ["y"], {})], {"x": image}, dict(_BYTES)
    if o.kind == "call":
        return [("Identity", ["x"], ["y"], {})], {"x": image}, {}
    raise ValueError(f"kind={o.kind!r} cannot be measured under ONNX Runtime")
