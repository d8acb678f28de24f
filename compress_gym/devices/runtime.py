"""ONNX Runtime on this machine: sessions, operations as models, and timing that drift hits evenly."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.operations import Operation
from compress_gym.errors import missing_extra

WARMUP = 3
_OPSET = 18


def open_session(model: bytes, threads: int = 1) -> Any:
    """Opens an ONNX model for the processor.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnxruntime", "devices", "measuring latency") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def sample_us(session: Any, repetitions: int) -> NDArray[np.float64]:
    """Times single calls of a session on fixed random inputs, after a warm-up.

    Returns:
        Microseconds of each call, float64 `[repetitions]`.
    """
    rng = np.random.default_rng(0)
    feed = {x.name: rng.standard_normal(x.shape).astype(np.float32) for x in session.get_inputs()}
    for _ in range(WARMUP):
        session.run(None, feed)
    times = np.empty(repetitions)
    for i in range(repetitions):
        start = time.perf_counter_ns()
        session.run(None, feed)
        times[i] = (time.perf_counter_ns() - start) / 1000
    return times


def operation_model(operation: Operation) -> bytes:
    """Builds an ONNX model of one operation with random weights.

    A convolution has a bias (its folded batch norm) and a ReLU, as it runs in a deployed network.

    Raises:
        ValueError: The kind is not known to this runtime.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise missing_extra("onnx", "devices", "measuring latency") from error
    nodes, shapes, weights = _graph(operation)
    graph = helper.make_graph(
        [helper.make_node(*node, **attributes) for *node, attributes in nodes],
        "operation",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _graph(o: Operation) -> tuple[list[tuple[Any, ...]], dict[str, list[int]], dict[str, NDArray[np.float64]]]:
    """Returns an operation's nodes (type, inputs, outputs, attributes), the shapes of its inputs, and its weights."""
    rng = np.random.default_rng(0)
    image = [o.batch, o.in_channels, o.in_height, o.in_width]
    relu: tuple[Any, ...] = ("Relu", ["h"], ["y"], {})
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
    if o.kind == "call":
        return [("Identity", ["x"], ["y"], {})], {"x": image}, {}
    raise ValueError(f"kind={o.kind!r} cannot be measured under ONNX Runtime")
