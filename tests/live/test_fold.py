from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.networks.trace import trace
from compress_gym.problem.network_decisions import channel_decisions
from compress_gym.support.processor import one_thread
from tests.user_nets import EVERY, build, randomise_batch_norms, traced

every_network = pytest.mark.parametrize("name", EVERY)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def check_folded(module, network):
    images = torch.randn(2, *network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(images)
        folded = fold_batch_norms(module, network)
        found = folded(images)
    assert folded is module and not module.training
    assert torch.allclose(found, expected, atol=1e-4), (found - expected).abs().max()
    assert expected.std() > 1e-3
    left = {name for name, m in module.named_modules() if isinstance(m, NORMS)}
    assert left == {layer.name for layer in network.layers if layer.kind == "batch-norm"}
    return left


@every_network
def test_folded_equals_unfolded(name):
    left = check_folded(build(name), traced(name))
    assert len(left) == (6 if name == "densenet-like" else 0)


@every_network
def test_folded_equals_unfolded_after_pruning(name):
    module, network = build(name), traced(name)
    decisions = channel_decisions(network)
    row = np.random.default_rng(0).integers(decisions.sizes)
    counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
    small = remove_channels(module, network, kept_channels(channel_ranking(module, network), counts))
    check_folded(small, network)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_biases_and_batch_norms_without_parameters(bias, affine):
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=bias), nn.BatchNorm2d(8, eps=0.1, affine=affine), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, groups=8, bias=bias), nn.BatchNorm2d(8, affine=affine), nn.Flatten()),
        *(nn.Linear(128, 12, bias=bias), nn.BatchNorm1d(12, affine=affine), nn.ReLU(), nn.Linear(12, 10)),
    )
    if affine:
        randomise_batch_norms(module, torch.randn(16, 3, 8, 8))
    else:
        for norm in (module[1], module[4], module[7]):
            norm.running_mean.normal_(0, 0.5)
            norm.running_var.uniform_(0.5, 2)
    assert check_folded(module.eval(), trace(module, (3, 8, 8), "net")) == set()


class Branches(nn.Module):
    """A convolution whose output is read before its batch norm as well: folding would change the other reader's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = self.a(x)
        return self.fc((torch.relu(self.bn(x)) + self.b(x)).mean((2, 3)))


def test_batch_norms_of_shared_outputs_stay():
    torch.manual_seed(0)
    module = randomise_batch_norms(Branches(), torch.randn(8, 3, 8, 8))
    assert check_folded(module, trace(module, (3, 8, 8), "net")) == {"bn"}


def test_a_copy_is_not_changed():
    module, network = build("resnet20"), traced("resnet20")
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fold_batch_norms(copy.deepcopy(module), network)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
