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
    """Times single calls of a session on a fixed random input, after a warm-up.

    Returns:
        Microseconds of each call, float64 `[repetitions]`.
    """
    entry = session.get_inputs()[0]
    data = np.random.default_rng(0).standard_normal(entry.shape).astype(np.float32)
    feed = {entry.name: data}
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
    o, rng, weights = operation, np.random.default_rng(0), {}
    shape: list[int] = [o.batch, o.in_channels, o.in_height, o.in_width]
    if o.kind in ("conv", "depthwise"):
        kernel = (o.out_channels, o.in_channels // o.groups, o.kernel, o.kernel)
        weights = {"w": rng.standard_normal(kernel), "b": rng.standard_normal(o.out_channels)}
        pads = [o.kernel // 2] * 4
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["h"], pads=pads, strides=[o.stride] * 2, group=o.groups),
            helper.make_node("Relu", ["h"], ["y"]),
        ]
    elif o.kind == "linear":
        shape = [o.batch, o.in_channels]
        weights = {
            "w": rng.standard_normal((o.out_channels, o.in_channels)),
            "b": rng.standard_normal(o.out_channels),
        }
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    elif o.kind == "pool":
        nodes = [helper.make_node("GlobalAveragePool", ["x"], ["h"]), helper.make_node("Flatten", ["h"], ["y"])]
    elif o.kind == "call":
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
    else:
        raise ValueError(f"kind={o.kind!r} cannot be measured under ONNX Runtime")
    graph = helper.make_graph(
        nodes,
        "operation",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
