from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.kinds import get_case
from compress_gym.live.prune import channel_index, channel_ranking, kept_channels, remove_channels
from compress_gym.networks import ChannelGroup, Layer, Network, Segment
from compress_gym.networks.network import WEIGHTED
from compress_gym.networks.trace import trace
from compress_gym.problem.network_decisions import channel_decisions
from compress_gym.support.processor import one_thread
from compress_gym.tasks import get_task, list_tasks
from tests.user_nets import EVERY, build, randomise_batch_norms, traced

every_network = pytest.mark.parametrize("name", EVERY)
every_task = pytest.mark.parametrize("name", list_tasks("ChannelPrune-v0"))


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def gone_from(segments, kept, channels):
    """Which channels of a tensor were removed, bool `[channels]`."""
    gone, start = torch.zeros(channels, dtype=torch.bool), 0
    for segment in segments:
        if segment.group in kept:
            gone[start : start + segment.channels] = True
            gone[start + kept[segment.group]] = False
        start += segment.channels
    return gone


def masked(module, network, kept):
    """The same model at full size: removed channels are zero behind their batch norm, or behind their layer."""
    copied = copy.deepcopy(module)
    for layer in network.layers:
        if layer.kind not in (*WEIGHTED, "batch-norm"):
            continue
        target = copied.get_submodule(layer.batch_norm or layer.name)
        gone = gone_from(layer.outputs, kept, layer.out_channels)
        with torch.no_grad():
            target.weight[gone] = 0
            if target.bias is not None:
                target.bias[gone] = 0
    return copied


def random_counts(decisions, rng):
    row = rng.integers(decisions.sizes)
    return {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}


def check_removed_equals_masked(module, network, counts, rng):
    kept = kept_channels(channel_ranking(module, network), counts)
    images = torch.from_numpy(rng.standard_normal((2, *network.input_shape)).astype(np.float32))
    small = remove_channels(module, network, kept)
    with torch.no_grad():
        removed, expected = small(images), masked(module, network, kept)(images)
        uncompressed = module(images)
    assert removed.shape == expected.shape and torch.isfinite(removed).all()
    assert torch.allclose(removed, expected, atol=1e-4), (removed - expected).abs().max()
    assert expected.std() > 1e-3 and not torch.allclose(expected, uncompressed, atol=1e-2)  # nothing trivially equal
    return small


@every_network
@pytest.mark.parametrize("seed", range(3))
def test_removed_and_masked_channels_give_equal_logits(name, seed):
    module, network, rng = build(name), traced(name), np.random.default_rng(seed)
    counts = random_counts(channel_decisions(network, 16), rng)
    small = check_removed_equals_masked(module, network, counts, rng)
    for layer in network.layers:
        if layer.kind in WEIGHTED:
            target = small.get_submodule(layer.name)
            entering, leaving = layer.kept(counts)
            assert target.weight.shape[0] == leaving
            assert target.weight.numel() == layer.weights(entering, leaving)
            if layer.kind == "linear":
                assert (target.out_features, target.in_features) == target.weight.shape
            else:
                assert (target.in_channels, target.out_channels) == (entering, leaving)
                assert target.groups == (entering if layer.kind == "depthwise" else layer.groups)
        if norm := layer.batch_norm or (layer.name if layer.kind == "batch-norm" else None):
            target = small.get_submodule(norm)
            assert target.num_features == len(target.running_var) == layer.kept(counts)[1]
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())


@every_network
def test_each_group_alone(name):
    """The cheapest value of one group, all others whole: an error in one group cannot hide behind another's."""
    module, network, rng = build(name), traced(name), np.random.default_rng(0)
    decisions = channel_decisions(network).decisions
    images = torch.from_numpy(rng.standard_normal((1, *network.input_shape)).astype(np.float32))
    for decision in decisions[:: max(1, len(decisions) // 6)]:
        kept = kept_channels(channel_ranking(module, network), {decision.subject: decision.values[0]})
        with torch.no_grad():
            removed = remove_channels(module, network, kept)(images)
            expected = masked(module, network, kept)(images)
        assert torch.allclose(removed, expected, atol=1e-4), decision.name


@every_network
def test_decisions_keep_grouped_convolutions_legal(name):
    network = traced(name)
    for group, decision in zip(network.groups, channel_decisions(network).decisions, strict=True):
        assert decision.subject == group.name and decision.values[-1] == group.channels
        assert all(value % group.divisions == 0 and value > 0 for value in decision.values)


@every_network
def test_a_smaller_network_is_what_a_trace_of_it_finds(name):
    module, network, rng = build(name), traced(name), np.random.default_rng(1)
    # Not fewer than two channels a division: a grouped convolution of one each is a depth-wise one.
    counts = random_counts(channel_decisions(network, levels=2), rng)
    small = remove_channels(module, network, kept_channels(channel_ranking(module, network), counts))
    again = trace(small, network.input_shape, network.name)
    assert {g.name: g.channels for g in again.groups} == counts
    assert [(g.producers, g.consumers) for g in again.groups] == [(g.producers, g.consumers) for g in network.groups]


@every_network
def test_costs_equal_the_counted_module(name):
    """MACs by hooks on the real smaller module, parameters by torch."""
    module, network = build(name), traced(name)
    decisions = channel_decisions(network)
    rng = np.random.default_rng(0)
    terms = network_cost_terms(network, decisions)
    for row in rng.integers(decisions.sizes, size=(3, len(decisions))):
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
        small = remove_channels(module, network, kept_channels(channel_ranking(module, network), counts))
        macs = []

        def count(layer, inputs, output, macs=macs):
            macs.append(layer.weight[0].numel() * output.numel())

        for layer in small.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(count)
        with torch.no_grad():
            small(torch.zeros(1, *network.input_shape))
        costs = dict(zip(terms.metrics, terms.evaluate(row[None])[0], strict=True))
        params = sum(p.numel() for p in small.parameters())
        assert costs["macs"] == sum(macs) and costs["params"] == params
        assert costs["size_bytes"] == 4 * params and costs["bops"] == 1024 * sum(macs)


@every_task
def test_trained_networks_removed_and_masked(name):
    task, rng = get_task(name), np.random.default_rng(0)
    check_removed_equals_masked(
        task.trained_module(), task.network(), random_counts(get_case("ChannelPrune", task).decisions(), rng), rng
    )


def direct_scores(module, network, group):
    """Sum of |W| that reads each channel of a group, by a loop over channels."""
    scores = np.zeros(group.channels)
    for layer in network.layers:
        if layer.kind not in ("conv", "linear"):
            continue
        weight = module.get_submodule(layer.name).weight.detach().double().abs()
        columns, start = weight.shape[1] * layer.groups, 0
        pixels = layer.in_height * layer.in_width if layer.kind == "linear" else 1
        assert columns == layer.in_channels * pixels
        for segment in layer.inputs:
            for channel in range(segment.channels if segment.group == group.name else 0):
                for feature in range((start + channel) * pixels, (start + channel + 1) * pixels):
                    block, column = divmod(feature, weight.shape[1])
                    rows = len(weight) // layer.groups
                    scores[channel] += weight[block * rows : (block + 1) * rows, column].sum().item()
            start += segment.channels
    return scores


@pytest.mark.parametrize("name", ["digits-cnn", "resnet20", "densenet-like", "resnext-like", "squeeze-excite"])
def test_the_most_important_channels_are_kept(name):
    module, network = build(name), traced(name)
    ranking = channel_ranking(module, network)
    for group in network.groups:
        scores = direct_scores(module, network, group)
        count = group.channels // 2
        kept = kept_channels(ranking, {group.name: count})[group.name].tolist()
        assert kept == sorted(kept) and sorted(ranking[group.name].tolist()) == list(range(group.channels))
        size, expected = group.channels // group.divisions, []
        for part in range(group.divisions):  # the best of each division, equally many
            best = np.argsort(-scores[part * size : (part + 1) * size], kind="stable")[: count // group.divisions]
            expected += sorted(int(part * size + c) for c in best)
        assert kept == expected


def test_ties_go_to_the_lower_index_and_divisions_stay_balanced():
    group = ChannelGroup("a", 12, ("a",), ("b",), divisions=3)
    layer = Layer("b", "linear", (Segment("a", 12),), (Segment(None, 2),))
    module = nn.Module()
    module.b = nn.Linear(12, 2)
    nn.init.constant_(module.b.weight, 0.5)
    ranking = channel_ranking(module, Network("net", (12,), (layer,), (group,)))["a"]
    assert ranking.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    module.b.weight.data[:, [6, 3]] = 2
    ranking = channel_ranking(module, Network("net", (12,), (layer,), (group,)))["a"]
    for count in (3, 6, 9):
        assert np.bincount(ranking[:count] // 4, minlength=3).tolist() == [count // 3] * 3
    assert ranking[:3].tolist() == [3, 6, 8]


def test_channel_index_of_a_concatenation():
    segments = (Segment("a", 4), Segment(None, 3), Segment("b", 2), Segment("a", 4))
    assert channel_index(segments, {}) is None
    assert channel_index(segments, {"c": torch.tensor([0])}) is None
    index = channel_index(segments, {"a": torch.tensor([1, 3])})
    assert index.tolist() == [1, 3, 4, 5, 6, 7, 8, 10, 12]


class Multiplier(nn.Module):
    """A grouped convolution with one input and two output channels a group."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn_a = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.b, self.bn_b = nn.Conv2d(4, 16, 3, padding=1, groups=4), nn.BatchNorm2d(16)
        self.c, self.fc = nn.Conv2d(16, 8, 1), nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.bn_b(self.b(torch.relu(self.bn_a(self.a(x))))))
        return self.fc(torch.relu(self.c(x)).mean((2, 3)))


@pytest.mark.parametrize("counts", [{"c": 4}, {"b": 8}, {"b": 4}, {"b": 8, "c": 4}])
def test_one_input_channel_a_group_is_not_a_depthwise_convolution(counts):
    torch.manual_seed(0)
    module = randomise_batch_norms(Multiplier(), torch.randn(8, 3, 8, 8))
    network = trace(module, (3, 8, 8), "multiplier")
    small = check_removed_equals_masked(module, network, counts, np.random.default_rng(0))
    assert small.b.groups == 4 and small.b.in_channels == 4


def test_the_original_is_not_changed():
    task = get_task("digits-cnn")
    module = task.trained_module()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    get_case("ChannelPrune", task).compressor().build([0] * 5)
    small = remove_channels(module, task.network(), {"conv1": torch.arange(4)})
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
