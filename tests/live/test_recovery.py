from __future__ import annotations

import pytest
import torch
from torch import nn

from compress_gym.live.recovery import (
    CALIBRATION_BATCH,
    RECOVERIES,
    Recovery,
    adaptive_batch_norm,
    parse_recovery,
    require_batch_norms,
)
from compress_gym.support.processor import one_thread


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("none", Recovery()),
        ("reconstruct", Recovery(reconstruct=True)),
        ("adaptive-bn", Recovery(adaptive_bn=True)),
        ("reconstruct+adaptive-bn", Recovery(reconstruct=True, adaptive_bn=True)),
        ("finetune-1", Recovery(finetune_epochs=1)),
        ("finetune-20", Recovery(finetune_epochs=20)),
        ("adaptive-bn+finetune-2", Recovery(adaptive_bn=True, finetune_epochs=2)),
        ("reconstruct+adaptive-bn+finetune-2", Recovery(True, True, 2)),
    ],
)
def test_legal_names(name, steps):
    assert parse_recovery(name) == steps


@pytest.mark.parametrize(
    "name",
    [
        *("", "+", "adaptiv-bn", "Reconstruct", "reconstruct ", "reconstruct+", "+adaptive-bn", "none+adaptive-bn"),
        *("adaptive-bn+adaptive-bn", "finetune-1+finetune-2", "finetune", "finetune-", "finetune-0", "finetune--1"),
        *("finetune-01", "finetune-1.5", "finetune-N", "finetune-100000", "finetune-2x", "adaptive-bn,reconstruct"),
    ],
)
def test_illegal_names_are_told(name):
    with pytest.raises(KeyError) as refused:
        parse_recovery(name)
    assert f"recovery={name!r} is not known" in refused.value.args[0]
    assert all(repr(legal) in refused.value.args[0] for legal in RECOVERIES)


def test_the_closest_name_is_offered():
    with pytest.raises(KeyError, match="Did you mean 'adaptive-bn'"):
        parse_recovery("adaptiv-bn")


def test_adaptive_batch_norm_takes_the_batch_statistics():
    module = nn.Sequential(nn.BatchNorm2d(2))
    images = torch.randn(64, 2, 4, 4) * 3 + 5
    assert adaptive_batch_norm(module, images) is module
    assert not module[0].training
    assert torch.allclose(module[0].running_mean, images.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(module[0].running_var, images.var(dim=(0, 2, 3)), atol=1e-4)


def test_adaptive_batch_norm_averages_over_batches():
    """Three batches, of which the last is smaller, count equally; old statistics count nothing."""
    images = torch.randn(2 * CALIBRATION_BATCH + 20, 2, 2, 2) + torch.arange(2)[:, None, None]
    module = nn.Sequential(nn.BatchNorm2d(2))
    module[0].running_mean.fill_(1000)
    batches = images.split(CALIBRATION_BATCH)
    adaptive_batch_norm(module, images)
    expected = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(0)
    assert torch.allclose(module[0].running_mean, expected, atol=1e-5)
    first = module[0].running_var.clone()
    assert torch.equal(adaptive_batch_norm(module, images)[0].running_var, first)


def test_adaptive_batch_norm_leaves_weights_and_dropout_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.9), nn.BatchNorm2d(4)).eval()
    before = {name: p.clone() for name, p in module.named_parameters()}
    images = torch.randn(32, 1, 8, 8)
    adaptive_batch_norm(module, images)
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())
    with torch.no_grad():
        seen = module[0](images)
    assert torch.allclose(module[2].running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5)
    assert not any(m.training for m in module.modules())


def test_adaptive_batch_norm_reaches_batch_norms_of_features():
    """A batch norm of a linear layer's features is one as well."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
    module.eval()
    images = torch.randn(64, 1, 4, 4) + 3
    adaptive_batch_norm(module, images)
    with torch.no_grad():
        assert module(images).mean(0).abs().max() < 0.1


@pytest.mark.parametrize("act", [require_batch_norms, lambda m: adaptive_batch_norm(m, torch.zeros(1, 1, 2, 2))])
def test_adaptive_batch_norm_refuses_networks_without(act):
    with pytest.raises(ValueError, match="needs a network with batch norm"):
        act(nn.Sequential(nn.Conv2d(1, 1, 1)))


def test_what_comes_after_an_estimate_forgets_early_batches_again():
    """Fine-tuning would otherwise end with statistics of all its updates, most of them of other weights."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, momentum=0.3))
    adaptive_batch_norm(module, torch.randn(8, 1, 2, 2))
    assert module[1].momentum == 0.3
