"""What is trained on a CUDA device is what the processor trains."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from compress_gym.data import load_dataset
from compress_gym.live.cuda import RecordedGradients
from compress_gym.live.training import Recipe, train_module

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def small():
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), pooled)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Products are computed in whole float32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_recorded_gradients_are_the_gradients_and_leave_the_module_as_it_was():
    module = small().cuda().train()
    other, rng = copy.deepcopy(module), np.random.default_rng(0)
    recorded = RecordedGradients(module, lambda images, labels: cross_entropy(module(images), labels))
    for side in (16, 16, 24, 16):
        images = torch.from_numpy(rng.normal(size=(8, 1, side, side)).astype(np.float32))
        labels = torch.from_numpy(rng.integers(10, size=8))
        recorded(images, labels)
        other.zero_grad()
        cross_entropy(other(images.cuda()), labels.cuda()).backward()
        for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
            assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)
        for ours, theirs in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_network_is_trained_as_on_the_processor(bf16):
    data, trained = load_dataset("digits").train.take(256), {}
    recipe = Recipe(epochs=2, batch_size=64, peak_lr=0.01, weight_decay=5e-4, augmentation="shift")
    for device in ("cpu", "cuda"):
        trained[device] = small()
        train_module(trained[device], data, recipe, seed=0, bf16=bf16, device=device)
    states = zip(trained["cpu"].state_dict().values(), trained["cuda"].state_dict().values(), strict=True)
    for ours, theirs in states:
        assert theirs.device.type == "cpu" and torch.allclose(ours, theirs, atol=2e-2 if bf16 else 1e-3)
