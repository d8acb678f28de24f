from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.fuse import FusedConv2d, fuse_convolutions
from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.problem.network_decisions import channel_decisions
from compress_gym.support.processor import bf16_supported, one_thread
from tests.user_nets import EVERY, build, traced

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def images(shape, count=3):
    drawn = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=torch.channels_last)


# ReLUs (not ReLU6) that follow a convolution at once, or its sum with another value.
RELUS = {
    **{"digits-cnn": 5, "plain20": 19, "resnet20": 19, "resnet56": 55, "vgg16": 13, "resnet18": 17},
    **{"mobilenet-v2": 0, "densenet-like": 0, "resnext-like": 10, "squeeze-excite": 1},
}


def left(module):
    """How many additions and ReLUs are computed on their own, and how many are fused."""
    nodes = list(module.graph.nodes)
    alone = [n for n in nodes if "relu" in str(n.target).rpartition(".")[2] or n.name.startswith("add")]
    fused = [m for m in module.modules() if isinstance(m, FusedConv2d)]
    return len(alone), sum(m.relu for m in fused) + sum(len(n.args) == 2 for n in nodes if n.op == "call_module")


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_fused_equals_folded(name, pruned):
    module, network = build(name).to(memory_format=torch.channels_last), traced(name)
    if pruned:
        decisions = channel_decisions(network)
        row = np.random.default_rng(0).integers(decisions.sizes)
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
        module = remove_channels(module, network, kept_channels(channel_ranking(module, network), counts))
    x, folded = images(network.input_shape), fold_batch_norms(module, network)
    with torch.no_grad():
        expected = folded(x)
        fused = fuse_convolutions(folded, x[:1])
        assert fused is not folded and torch.allclose(fused(x), expected, atol=1e-4) and expected.std() > 1e-3
        assert sum(isinstance(m, FusedConv2d) and m.relu for m in fused.modules()) == RELUS[name]
        assert torch.equal(folded(x), expected), "the module itself stays as it was"


@pytest.mark.parametrize(("name", "expected"), [("plain20", (0, 19)), ("resnet20", (0, 19 + 9)), ("resnet56", (0, 82))])
def test_every_addition_and_relu_of_a_residual_network_is_fused(name, expected):
    folded = fold_batch_norms(build(name), traced(name))
    assert left(fuse_convolutions(folded, images((3, 32, 32), 1))) == expected


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2", "resnext-like"])
def test_fused_in_bfloat16_is_as_near_to_float32(name):
    network = traced(name)
    folded, x = fold_batch_norms(build(name), network), images(network.input_shape, 32)
    with torch.no_grad():
        exact = folded(x)
        coarse = copy.deepcopy(folded).to(torch.bfloat16)
        errors = [
            (module(x.to(torch.bfloat16)).float() - exact).abs().mean()
            for module in (coarse, fuse_convolutions(folded, x[:1]).to(torch.bfloat16))
        ]
    assert 0 < errors[1] <= 1.2 * errors[0]


class Odd(nn.Module):
    """What must not be fused: a broadcast sum, a value used twice, a layer called twice, padding by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.same, self.mirrored = nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 3, 1, 1, padding_mode="reflect")
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.a(x)
        y = torch.relu(x) + x
        y = torch.relu(self.b(torch.relu(self.b(y))))
        y = torch.relu(self.same(y)) + torch.relu(self.mirrored(y))
        y = y + self.gate(y.mean((2, 3), keepdim=True))
        return (y + y).mean((2, 3))


class Two(nn.Module):
    """Two convolutions, and a forward that a test gives."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.drop, self.forward_of = nn.Dropout(), forward

    def forward(self, x):
        return self.forward_of(self, x).mean((2, 3))


def adds_to_what_is_used_again(net, x):
    x = torch.relu(net.a(x))
    skip = x
    x += net.b(x)
    return torch.relu(net.b(x)) + skip


def multiplies_what_is_used_again(net, x):
    x = net.a(x)
    k = x
    k *= 2
    return torch.relu(net.b(x)) + x


def changes_a_term_before_it_is_added(net, x):
    x = net.a(x)
    y = net.b(x)
    x.add_(1)
    return y + x


def changes_a_term_under_another_name(net, x):
    x = net.a(x)
    y = net.b(x)
    net.drop(x).flatten(1).add_(1)
    return y + x


def calls_by_keyword(net, x):
    return torch.relu(input=net.b(input=net.drop(input=net.a(input=x))))


def changes_its_input(net, x):
    x *= 2.0
    return torch.relu(net.a(x))


@pytest.mark.parametrize(
    "forward",
    [
        adds_to_what_is_used_again,
        multiplies_what_is_used_again,
        changes_a_term_before_it_is_added,
        changes_a_term_under_another_name,
        calls_by_keyword,
        changes_its_input,
    ],
)
def test_what_would_change_is_left_alone(forward):
    torch.manual_seed(0)
    module, x = Two(forward).eval(), images((3, 8, 8))
    with torch.no_grad():
        before = x.clone()
        fused = fuse_convolutions(module, x[:2])
        assert torch.equal(x, before)
        assert torch.allclose(fused(x.clone()), module(x.clone()), atol=1e-5)


def test_odd_networks_are_fused_where_they_can_be():
    torch.manual_seed(0)
    module, x = Odd().eval(), images((3, 8, 8))
    with torch.no_grad():
        fused = fuse_convolutions(module, x[:1])
        assert fused is not module and torch.allclose(fused(x), module(x), atol=1e-5)


def test_nothing_is_fused_where_onednn_is_switched_off():
    module, x = Odd().eval(), images((3, 8, 8))
    with torch.backends.mkldnn.flags(enabled=False):
        assert fuse_convolutions(module, x[:1]) is module


def test_hooks_are_not_stepped_over():
    module, x = Two(lambda net, x: torch.relu(net.a(x))).eval(), images((3, 8, 8))
    module.a.register_forward_hook(lambda _module, _inputs, y: torch.round(y))
    assert fuse_convolutions(module, x[:1]) is module
