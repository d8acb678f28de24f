from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import nn

from compress_gym import CompressionEnv, Problem
from tests.user_nets import USER_NETS, build

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((32, 3, 16, 16)).astype(np.float32)
LABELS = RNG.integers(0, 10, size=32)
GIVEN = {"calibration": IMAGES, "validation": (IMAGES, LABELS)}


@pytest.mark.parametrize("name", USER_NETS)
@pytest.mark.parametrize("recovery", ["adaptive-bn", "reconstruct"])
def test_networks_outside_the_zoo_become_environments(name, recovery):
    module = build(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    problem = Problem.from_model(module, IMAGES[:1], **GIVEN, recovery=recovery, levels=4, budget=0.6)
    env = CompressionEnv(problem)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = env.step(env.action_space.sample())
    assert info["accuracy_source"] == "live" and info["feasible"] and info["cost_ratio"] <= 0.6 * (1 + 1e-6)
    small = problem.build(problem.decisions.encode(info["strategy"]))
    assert sum(p.numel() for p in small.parameters()) == info["params"]
    with torch.no_grad():
        hits = small(torch.from_numpy(IMAGES)).argmax(1).numpy() == LABELS
    assert info["accuracy"] == pytest.approx(hits.mean())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_the_environment_passes_gymnasiums_check():
    name = next(iter(USER_NETS))
    problem = Problem.from_model(build(name), torch.from_numpy(IMAGES[:1]), **GIVEN, levels=2)
    check_env(CompressionEnv(problem), skip_render_check=True)


def test_tensors_are_taken_as_well():
    module = build(next(iter(USER_NETS)))
    tensors = {"calibration": torch.from_numpy(IMAGES), "validation": (torch.from_numpy(IMAGES), torch.tensor(LABELS))}
    one, other = (Problem.from_model(module, IMAGES[:1], **given, levels=2) for given in (GIVEN, tensors))
    assert one.accuracy(one.uniform()) == other.accuracy(other.uniform())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"example_input": IMAGES[0]}, r"example_input has shape \(3, 16, 16\); expected one image"),
        (
            {"calibration": IMAGES[:, :1]},
            r"calibration has images of shape \(32, 1, 16, 16\); expected \[N, 3, 16, 16\]",
        ),
        ({"calibration": (IMAGES * 255).astype(np.uint8)}, "calibration has images of dtype uint8; expected floats"),
        ({"calibration": IMAGES * np.nan}, "expected finite"),
        ({"calibration": IMAGES[:0]}, "calibration has no images"),
        ({"validation": IMAGES}, "validation must be a pair"),
        ({"validation": (IMAGES, LABELS[:5])}, r"labels of shape \(5,\)"),
        ({"validation": (IMAGES, LABELS / 2)}, "dtype float64; expected integers"),
        ({"validation": (IMAGES, LABELS + 1)}, "labels from 1 to 10; the network has 10 outputs"),
        ({"calibration": (IMAGES, LABELS + 20), "recovery": "finetune-1"}, "calibration has labels from 20"),
        ({"validation": (IMAGES * 200, LABELS)}, "values up to .* as pixels of 0 to 255 have"),
        ({"kind": "TransformerNAS"}, "holds a Network, and TransformerNAS-v0 compresses a TransformerSpace"),
        ({"device": "epyc-milan-ort-fp32", "kind": "MixedQuant"}, "leaves no choice of bits"),
        ({"recovery": "finetune-2"}, "fine-tuning needs labels; give calibration="),
        ({"module": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 10))}, "needs a network with batch"),
        ({"budget": 1.5}, "budget=1.5"),
    ],
)
def test_bad_input_is_told(changes, words):
    arguments = {"module": build(next(iter(USER_NETS))), "example_input": IMAGES[:1], **GIVEN, "levels": 2, **changes}
    with pytest.raises(ValueError, match=words):
        Problem.from_model(arguments.pop("module"), arguments.pop("example_input"), **arguments)


@pytest.mark.parametrize(("kind", "slots"), [("MixedQuant", 2), ("JointPQ-v0", 3)])
def test_bits_are_decided_too(kind, slots, tmp_path):
    module = build(next(iter(USER_NETS)))
    problem = Problem.from_model(
        module, IMAGES[:1], **GIVEN, kind=kind, device="bismo-edge", recovery="none", levels=2, budget=0.8, bits=(4, 8)
    )
    env = CompressionEnv(problem)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(np.zeros(slots, dtype=np.float32))
    assert info["feasible"] and {"latency_ms", "energy_mj"} <= set(info)
    assert set(problem.describe(problem.uniform(1.0)).values()) >= {8}
    assert problem.export(env.strategy, tmp_path / "small.onnx").stat().st_size > 0


def test_labelled_calibration_images_fine_tune():
    module = build(next(iter(USER_NETS)))
    given = {"calibration": (IMAGES.repeat(4, 0), LABELS.repeat(4)), "validation": (IMAGES, LABELS)}
    problem = Problem.from_model(module, IMAGES[:1], **given, recovery="finetune-1", levels=2)
    assert 0 <= problem.accuracy(problem.uniform())[0] <= 1
