"""The exported integers are those that were scored."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compress_gym.data import Split, load_dataset
from compress_gym.kinds import get_case
from compress_gym.live.compressor import NetworkCompressor
from compress_gym.live.export_quantised import export_quantised
from compress_gym.live.session import open_session
from compress_gym.problem.network_decisions import BitValues
from compress_gym.tasks import get_task

TASK, VALIDATION = get_task("digits-cnn"), load_dataset("digits").validation


@pytest.mark.parametrize(
    ("width", "channels", "simulated"), [(8, 1.0, False), (8, 0.5, False), (4, 1.0, True), (2, 0.5, True)]
)
def test_a_file_is_as_accurate_as_its_strategy(tmp_path, width, channels, simulated):
    compressor = get_case("JointPQ", TASK).compressor()
    decisions = compressor.decisions
    values = {
        d.name: d.values[int(channels * (len(d.values) - 1))] if d.kind == "channels" else width
        for d in decisions.decisions
    }
    module = compressor.build(decisions.encode(values))
    path = export_quantised(module, TASK.network(), tmp_path / "network.onnx", batch=100)
    model = onnx.load(path)
    said = json.loads(next(p.value for p in model.metadata_props if p.key == "simulated_bits"))
    assert bool(said) == simulated and all(set(bits) == {width} for bits in said.values())
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 6 and "Round" not in kinds
    images = VALIDATION.images
    logits = run(open_session(path.read_bytes()), images)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    correct = [(x.argmax(1) == VALIDATION.labels).sum() for x in (logits, expected)]
    assert abs(int(correct[0]) - int(correct[1])) <= 0.003 * len(images) + 0.5
    if simulated:  # nothing that the runtime fuses changes a number: biases are added as floats
        assert np.abs(logits - expected).max() < 1e-3
    # Node by node, without what the runtime fuses, only biases that became integers differ.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = run(onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"]), images)
    assert np.abs(exact - expected).mean() < 0.01 * np.abs(expected).mean()


def run(session, images):
    return np.concatenate([session.run(None, {"images": part})[0] for part in np.split(images, 4)])


def test_floats_stay_floats(tmp_path):
    module = get_case("ChannelPrune", TASK).compressor(recovery="none").build([7] * 5)
    path = export_quantised(module, TASK.network(), tmp_path / "network.onnx", batch=10)
    assert "QuantizeLinear" not in [node.op_type for node in onnx.load(path).graph.node]
    images = VALIDATION.images[:10]
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    assert np.abs(open_session(path.read_bytes()).run(None, {"images": images})[0] - expected).max() < 1e-4


@pytest.mark.parametrize(("channels", "bound"), [(1.0, 0.05), (0.5, 0.03)])
def test_a_residual_network_answers_noise_as_its_file_does(tmp_path, channels, bound):
    """The shipped ResNet-20: sums of branches, strides, shortcuts without weights; no data set is needed."""
    task = get_task("cifar10-resnet20")
    decisions = get_case("JointPQ", task).decisions(bits=BitValues((8,)))
    seen, images = np.random.default_rng(0).standard_normal((2, 200, *task.network().input_shape), dtype=np.float32)
    noise = Split(seen, np.zeros(len(seen), dtype=np.int64))
    compressor = NetworkCompressor(task.network(), task.trained_module(), decisions, calibration=noise, ranges=noise)
    values = {
        d.name: d.values[int(channels * (len(d.values) - 1))] if d.kind == "channels" else 8
        for d in decisions.decisions
    }
    module = compressor.build(decisions.encode(values))
    path = export_quantised(module, task.network(), tmp_path / "network.onnx", batch=50)
    model = onnx.load(path)
    assert json.loads(next(p.value for p in model.metadata_props if p.key == "simulated_bits")) == {}
    # One a layer with weights, as each reader has its own: a tensor before a block enters its sum unrounded.
    assert [node.op_type for node in model.graph.node].count("QuantizeLinear") == 22
    logits = run(open_session(path.read_bytes()), images)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    # Measured with three draws of noise: 0.040 to 0.042 with all channels, 0.024 to 0.025 with half. Nearly all of it
    # are biases rounded to integers (0.007 and 0.006 with biases as floats). Beyond the bounds: the first input's scale
    # off by 2 % (0.085, 0.049), the last bit of the first weights lost (0.081, 0.043), a layer without its bias (0.6).
    assert np.abs(logits - expected).mean() < bound * np.abs(expected).mean()
    # Answers to noise are close calls: 3 to 11 of 200 were others; 93 and more where a layer had no bias.
    assert (logits.argmax(1) != expected.argmax(1)).sum() <= 16
