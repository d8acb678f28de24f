from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.kinds import get_case
from compress_gym.live.prune import channel_index, channel_ranking, kept_channels, remove_channels
from compress_gym.live.reconstruct import build_bank, samples
from compress_gym.networks.trace import trace
from compress_gym.problem.network_decisions import channel_decisions
from compress_gym.support.processor import one_thread
from compress_gym.tasks import get_task
from tests.user_nets import USER_NETS, build, randomise_batch_norms, traced

SHAPE = (3, 12, 12)
# How strongly the bank holds solutions together (relative to the mean diagonal of X^T X).
RIDGE = 1e-6


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


class Chain(nn.Module):
    """Every kind of layer that can be refitted, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.plain, self.bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.wide = nn.Conv2d(8, 4, 5)  # 6x6 pixels become 2x2
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)
        self.hidden, self.fc = nn.Linear(16, 12), nn.Linear(12, 10)
        for module in self.modules():  # outputs of order one, so that no layer's inputs nearly depend on each other
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        act = torch.nn.functional.hardswish
        x = act(self.bn(self.plain(act(self.first(x)))))
        x = act(self.dilated(act(self.wide(act(self.pointwise(act(self.strided(x))))))))
        return self.fc(act(self.hidden(torch.flatten(x, 1))))


LAYERS = ("plain", "strided", "pointwise", "wide", "dilated", "hidden", "fc")


@pytest.fixture(scope="module")
def chain():
    """The network, its description, images, and the bank."""
    torch.manual_seed(0)
    with one_thread():
        images = torch.randn(130, *SHAPE)
        module = randomise_batch_norms(Chain(), images[:32])
        network = trace(module, SHAPE, "chain")
        return module, network, images, build_bank(module, network, images, seed=3)


def sampled(module, network, images, seed, positions=10):
    """The very patches and outputs that the bank sums, by layer: X and Y, float64."""
    rng, found, handles = np.random.default_rng(seed), {}, []

    def keep(name):
        def hook(target, inputs, output):
            found.setdefault(name, []).append(samples(target, inputs[0], output, rng, positions))

        return hook

    for layer in network.layers:
        if layer.kind in ("conv", "linear") and layer.groups == 1 and any(s.group for s in layer.inputs):
            handles.append(module.get_submodule(layer.name).register_forward_hook(keep(layer.name)))
    with torch.no_grad():
        for batch in images.split(50):
            module(batch)
    for handle in handles:
        handle.remove()
    return {name: tuple(torch.cat(side).numpy() for side in zip(*pairs, strict=True)) for name, pairs in found.items()}


def columns(layer, kept):
    """Columns of X of the kept channels, by a loop."""
    area = layer.kernel**2 if layer.kind == "conv" else layer.in_height * layer.in_width
    return [channel * area + k for channel in channel_index(layer.inputs, kept).tolist() for k in range(area)]


@pytest.mark.parametrize("name", LAYERS)
def test_patches_reproduce_the_layer(chain, name):
    """X W^T = Y with the weights of the uncompressed layer, at every position that was drawn."""
    module, network, images, _ = chain
    x, y = sampled(module, network, images, 0)[name]
    weight = module.get_submodule(name).weight.detach().double().flatten(1).numpy()
    assert len(x) == len(y) == len(images) * (10 if network.layer(name).kind == "conv" else 1)
    assert np.allclose(x @ weight.T, y, atol=1e-5)
    assert y.std() > 1e-2


@pytest.mark.parametrize("keep", [2, 4, 6])
@pytest.mark.parametrize("name", LAYERS)
def test_the_bank_holds_the_direct_least_squares_solution(chain, name, keep):
    module, network, images, bank = chain
    layer = network.layer(name)
    (group,) = [s.group for s in layer.inputs]
    keep = min(keep, layer.in_channels - 1)
    kept = kept_channels(channel_ranking(module, network), {group: keep})
    small = bank.apply(remove_channels(module, network, kept), kept)
    found = small.get_submodule(name).weight.detach().flatten(1).double().numpy()
    x, y = sampled(module, network, images, 3)[name]
    part = x[:, columns(layer, kept)]
    direct = np.linalg.lstsq(part, y, rcond=None)[0].T
    assert found.shape == direct.shape
    assert np.abs(found - direct).max() <= 1e-3 * np.abs(direct).max()
    # as good a fit, and not that of the weights that were there
    best = np.square(part @ direct.T - y).sum()
    selected = module.get_submodule(name).weight.detach().double().flatten(1).numpy()[:, columns(layer, kept)]
    assert np.square(part @ found.T - y).sum() <= best * (1 + 1e-6) + 1e-9
    assert best < 0.999 * np.square(part @ selected.T - y).sum()
    # and the same to the last digits of float32 if the ridge is written as rows of its own
    ridge = np.sqrt(RIDGE * np.square(part).sum(0).mean()) * np.eye(part.shape[1])
    exact = np.linalg.lstsq(np.vstack([part, ridge]), np.vstack([y, np.zeros((len(ridge), y.shape[1]))]), rcond=None)
    assert np.allclose(found, exact[0].T, rtol=1e-5, atol=1e-6)


def test_outputs_are_kept_along_with_inputs(chain):
    """A layer whose outputs shrink too keeps those rows of the solution, its bias and its batch norm."""
    module, network, _, bank = chain
    ranking = channel_ranking(module, network)
    inputs, both = kept_channels(ranking, {"first": 4}), kept_channels(ranking, {"first": 4, "plain": 5})
    whole = bank.apply(remove_channels(module, network, inputs), inputs).plain.weight
    part = bank.apply(remove_channels(module, network, both), both)
    assert torch.equal(part.plain.weight, whole[both["plain"]])
    assert torch.equal(part.bn.bias, module.bn.bias[both["plain"]])
    assert (part.plain.in_channels, part.plain.out_channels) == (4, 5)


def test_an_uncompressed_strategy_changes_nothing(chain):
    module, network, images, bank = chain
    before = {k: v.clone() for k, v in module.state_dict().items()}
    bank.apply(remove_channels(module, network, {}), {})
    same = bank.apply(remove_channels(module, network, {}), {})
    assert all(torch.equal(v, before[k]) for k, v in same.state_dict().items())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    task = get_task("digits-cnn")
    compressor = get_case("ChannelPrune", task).compressor(recovery="reconstruct")
    uncompressed = compressor.build(compressor.decisions.sizes - 1)
    trained = task.trained_module().state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in uncompressed.state_dict().items())


def test_refitting_all_channels_gives_the_weights_back(chain):
    module, network, images, bank = chain
    kept = {g.name: torch.arange(g.channels) for g in network.groups}
    refitted = bank.apply(remove_channels(module, network, kept), kept)
    with torch.no_grad():
        assert torch.allclose(refitted(images), module(images), atol=1e-3)


def test_a_solution_does_not_depend_on_other_layers(chain):
    module, network, images, _ = chain
    ranking, weights = channel_ranking(module, network), []
    for others in ({}, {"plain": 3, "strided": 2, "wide": 2}, {"plain": 5, "strided": 7, "hidden": 4}):
        kept = kept_channels(ranking, {"first": 4, "pointwise": 5, **others})
        bank = build_bank(module, network, images, seed=3)  # nothing is remembered from before
        small = bank.apply(remove_channels(module, network, kept), kept)
        outputs = {name: kept.get(name, torch.arange(8)) for name in ("plain",)}
        full = torch.full((8, 4, 3, 3), torch.nan)
        full[outputs["plain"]] = small.plain.weight.detach()
        weights.append((full, bank.solutions["plain", (4,)], bank.solutions["wide", (5,)]))
    for full, plain, wide in weights[1:]:
        assert torch.equal(plain, weights[0][1]) and torch.equal(wide, weights[0][2])
        there = ~torch.isnan(full)
        assert torch.equal(full[there], weights[0][0][there])


def test_solutions_are_computed_once(chain):
    module, network, images, _ = chain
    bank = build_bank(module, network, images[:50])
    kept = kept_channels(channel_ranking(module, network), {"first": 4, "hidden": 7})
    first = bank.apply(remove_channels(module, network, kept), kept)
    banked = dict(bank.solutions)
    assert set(banked) == {("plain", (4,)), ("fc", (7,))}
    for gram, cross in bank.moments.values():  # a second solve would fail on these
        gram.fill_(torch.nan), cross.fill_(torch.nan)
    second = bank.apply(remove_channels(module, network, kept), kept)
    assert all(bank.solutions[key] is solution for key, solution in banked.items()) and len(bank.solutions) == 2
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_banked_solutions_do_not_change_with_a_model_that_uses_them(chain):
    module, network, images, _ = chain
    bank = build_bank(module, network, images[:50])
    kept = kept_channels(channel_ranking(module, network), {"first": 4})
    small = bank.apply(remove_channels(module, network, kept), kept)
    before = bank.solutions["plain", (4,)].clone()
    with torch.no_grad():
        small.plain.weight.zero_()
    assert torch.equal(bank.solutions["plain", (4,)], before)


def test_the_bank_repeats_and_follows_its_seed(chain):
    module, network, images, bank = chain
    again, other = (build_bank(module, network, images, seed=seed) for seed in (3, 4))
    assert set(bank.moments) == set(LAYERS)
    for name in LAYERS:
        assert all(torch.equal(a, b) for a, b in zip(bank.moments[name], again.moments[name], strict=True))
    assert not torch.equal(other.moments["plain"][0], bank.moments["plain"][0])
    assert torch.equal(other.moments["fc"][0], bank.moments["fc"][0])  # every image, no positions to draw
    assert not any(m._forward_hooks for m in module.modules())


def test_reconstruction_lowers_the_error_of_the_outputs(chain):
    """On other images than those it was fitted on, for one group at a time and for all."""
    module, network, images, bank = chain
    ranking = channel_ranking(module, network)
    others = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(5))
    cases = [{g.name: g.channels // 2} for g in network.groups]
    for counts in [*cases, {g.name: g.channels * 3 // 4 for g in network.groups}]:
        kept = kept_channels(ranking, counts)
        plain = remove_channels(module, network, kept)
        refitted = bank.apply(remove_channels(module, network, kept), kept)
        with torch.no_grad():
            expected = module(others)
            errors = [(net(others) - expected).square().mean().item() for net in (plain, refitted)]
        assert errors[1] < errors[0], counts


def test_reconstruction_helps_a_trained_network():
    case = get_case("ChannelPrune", "digits-cnn")
    plain, refitted = (case.scorer(recovery=r, images=200) for r in ("none", "reconstruct"))
    rows = np.random.default_rng(0).integers(2, plain.decisions.sizes, size=(6, len(plain.decisions)))
    assert refitted(rows).mean() > plain(rows).mean() + 0.1


@pytest.mark.parametrize("name", ["digits-cnn", "resnet20", "mobilenet-v2", *USER_NETS])
def test_architectures_can_be_refitted(name):
    """Shapes fit everywhere; depth-wise and grouped convolutions and the first layer keep their weights."""
    module, network = build(name), traced(name)
    counts = {d.subject: d.values[-2] for d in channel_decisions(network, 4).decisions}
    images = torch.randn(4, *network.input_shape)
    bank = build_bank(module, network, images)
    for layer in network.layers:
        fixed = all(s.group is None for s in layer.inputs)
        banked = layer.kind in ("conv", "linear") and layer.groups == 1 and not fixed
        assert (layer.name in bank.moments) == banked
    kept = kept_channels(channel_ranking(module, network), counts)
    plain = remove_channels(module, network, kept)
    small = bank.apply(remove_channels(module, network, kept), kept)
    with torch.no_grad():
        assert torch.isfinite(small(images)).all()
    for (key, a), (_, b) in zip(plain.state_dict().items(), small.state_dict().items(), strict=True):
        assert a.shape == b.shape
        layer_name, _, kind = key.rpartition(".")
        if kind != "weight" or layer_name not in bank.moments:
            assert torch.equal(a, b), key


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding):
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=padding), nn.Hardswish(), nn.Conv2d(8, 8, 5, padding=padding)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    ).eval()
    images, network = torch.randn(40, *SHAPE), trace(module, SHAPE, "net")
    x, y = sampled(module, network, images, 0)["2"]
    assert np.allclose(x @ module[2].weight.detach().double().flatten(1).numpy().T, y, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"padding_mode": "reflect"}, {"padding_mode": "circular"}, {"dilation": (1, 2)}], ids=str
)
def test_unusual_convolutions_are_refitted_right_or_refused(settings):
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.Hardswish(), nn.Conv2d(8, 8, 3, padding=2, **settings)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    ).eval()
    try:
        network = trace(module, SHAPE, "net")
        x, y = sampled(module, network, torch.randn(40, *SHAPE), 0)["2"]
    except ValueError as refused:
        assert "'2'" in str(refused)
        return
    assert np.allclose(x @ module[2].weight.detach().double().flatten(1).numpy().T, y, atol=1e-5)
