from __future__ import annotations

import numpy as np
import pytest
import torch

from compress_gym.devices.operations import BOUNDARIES, Operation
from compress_gym.live.session import open_session
from compress_gym.making.profile.benches import RUNTIMES, OnnxBench, open_bench
from compress_gym.making.profile.onnx_runtime import operation_model
from compress_gym.making.profile.timing import sample_us
from compress_gym.networks import Network
from compress_gym.networks.network import LAYER_KINDS, WEIGHTED
from compress_gym.networks.trace import trace
from compress_gym.support.processor import bf16_supported, one_thread
from tests.tiny_net import TinyNet

SHAPES = {
    "conv": Operation("conv", 8, 12, 3, 2, 1, 8, 8),
    "depthwise": Operation("depthwise", 8, 8, 3, 1, 8, 8, 8),
    "linear": Operation("linear", 8, 10, in_height=2, in_width=2),
    "max-pool": Operation("max-pool", 8, 8, 2, 2, 1, 8, 8),
    "avg-pool": Operation("avg-pool", 8, 8, 2, 2, 1, 8, 8),
}
KINDS = (*LAYER_KINDS, "call", "layout", *BOUNDARIES)


def shape(kind, bits=32):
    plain = SHAPES.get(kind, Operation(kind, 8, 8, in_height=8, in_width=8))
    return Operation(**{**vars(plain), "weight_bits": bits, "activation_bits": bits})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [32, 8])
def test_every_kind_runs_under_onnxruntime(kind, bits):
    bench = open_bench("onnxruntime", "int8" if bits == 8 else "fp32", 1, False, 1)
    assert (sample_us(bench.operation(shape(kind, bits))(), 2) > 0).all()


@pytest.mark.parametrize("kind", ["conv", "depthwise", "linear", "add", "multiply", "concat", "avg-pool"])
def test_with_8_bits_everything_between_bytes_is_quantised(kind, tmp_path):
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    onnxruntime.InferenceSession(operation_model(shape(kind, 8)), options, providers=["CPUExecutionProvider"])
    nodes = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert any(node.startswith("QLinear") or node == "QGemm" for node in nodes), nodes
    assert not nodes & {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"}, nodes


def test_a_quantised_operation_computes_what_the_float_one_does():
    """Weights and inputs are rounded: outputs agree to a few steps of 0.02, where they are not clipped."""
    operation = shape("conv", 8)
    session = open_session(operation_model(operation))
    entry = session.get_inputs()[0]
    found = session.run(None, {entry.name: np.full(entry.shape, 3, np.uint8)})[0] * 0.02
    rng = np.random.default_rng(0)
    weight = np.clip(np.rint(rng.standard_normal((12, 8, 3, 3)) * 40), -127, 127) * 0.02
    bias = np.rint(rng.standard_normal(12) * 1000) * 4e-4
    image = torch.full((1, 8, 8, 8), 3 * 0.02, dtype=torch.float64)
    expected = torch.conv2d(image, torch.from_numpy(weight), torch.from_numpy(bias), 2, 1).clamp(0, 255 * 0.02).numpy()
    assert np.abs(found - expected).max() <= 0.02


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BOUNDARIES])
def test_every_kind_runs_under_torch(kind):
    with one_thread():
        bench = open_bench("torch", "fp32", 1, False, 2)
        assert (sample_us(bench.operation(shape(kind))(), 2) > 0).all()


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32")]
)
def test_whole_networks_run(runtime, precision, tmp_path):
    module = TinyNet().eval()
    network: Network = trace(module, (1, 16, 16), "tiny")
    with one_thread():
        bench = open_bench(runtime, precision, 1, False, 2)
        assert (sample_us(bench.network(lambda: module, network, tmp_path / "net", ())(), 2) > 0).all()


def test_of_two_precisions_each_layer_has_its_own(tmp_path):
    """A layer in full precision keeps its float operation, the others are quantised."""
    import onnx
    import onnxruntime

    module = TinyNet().eval()
    network = trace(module, (1, 16, 16), "tiny")
    weighted = [layer.name for layer in network.layers if layer.kind in WEIGHTED]
    for floats in ((), weighted[1:2], weighted[:1], weighted):
        path = OnnxBench("mixed", 1, 1).export(
            lambda: module, network, tmp_path / f"net{len(floats)}-{floats[:1]}", floats
        )
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        in_float = [kind for kind in kinds if kind in ("Conv", "FusedConv", "Gemm")]
        in_bytes = [kind for kind in kinds if kind in ("QLinearConv", "QGemm")]
        assert (len(in_float), len(in_bytes)) == (len(floats), len(weighted) - len(floats)), (floats, kinds)


def test_what_cannot_be_measured_is_told():
    for kind in BOUNDARIES:
        with pytest.raises(ValueError, match="cannot be measured under torch"):
            open_bench("torch", "fp32", 1, False, 1).operation(shape(kind))
    with pytest.raises(ValueError, match=r"bits=\(4, 4\) cannot be measured"):
        operation_model(shape("conv", 4))
    for runtime, precision in (("onnxruntime", "bf16"), ("torch", "int8")):
        with pytest.raises(ValueError, match=f"precision={precision!r} is not one of"):
            open_bench(runtime, precision, 1, False, 1)
    with pytest.raises(ValueError, match="precision='fp16' cannot be measured under torch here"):
        open_bench("torch", "fp16", 1, False, 1)
    with pytest.raises(ValueError, match="--cuda needs --runtime torch"):
        open_bench("onnxruntime", "fp32", 1, True, 1)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no CUDA device"):
            open_bench("torch", "fp16", 1, True, 1)
    if not bf16_supported():
        with pytest.raises(ValueError, match="does not multiply bfloat16"):
            open_bench("torch", "bf16", 1, False, 1)
    assert set(RUNTIMES) == {"onnxruntime", "torch"}
