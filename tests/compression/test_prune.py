from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.compression.recovery import RECOVERIES, adaptive_batch_norm
from compress_gym.tasks import get_task, list_tasks

every_task = pytest.mark.parametrize("name", list_tasks())


def masked(module, network, kept):
    """The same model at full size: removed channels are set to zero behind their batch norm."""
    copied = copy.deepcopy(module)
    for layer in network.layers:
        if layer.out_group in kept and layer.batch_norm:
            norm = copied.get_submodule(layer.batch_norm)
            gone = torch.ones(norm.num_features, dtype=torch.bool)
            gone[kept[layer.out_group]] = False
            with torch.no_grad():
                norm.weight[gone] = 0
                norm.bias[gone] = 0
    return copied


def random_kept(module, network, decisions, rng):
    row = rng.integers(decisions.sizes)
    counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
    return kept_channels(channel_ranking(module, network), counts), counts


@every_task
@pytest.mark.parametrize("seed", range(5))
def test_removed_and_masked_channels_give_equal_logits(name, seed):
    task = get_task(name)
    module, network, rng = task.trained_module(), task.network(), np.random.default_rng(seed)
    kept, counts = random_kept(module, network, task.channel_decisions(), rng)
    images = torch.from_numpy(rng.standard_normal((8, *network.input_shape)).astype(np.float32))
    small = remove_channels(module, network, kept)
    with torch.no_grad():
        removed, expected = small(images), masked(module, network, kept)(images)
    assert torch.allclose(removed, expected, atol=1e-4)
    for layer in network.layers:
        if layer.kind == "conv":
            assert small.get_submodule(layer.name).weight.shape[0] == counts[layer.out_group]
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in module.parameters())


@every_task
def test_costs_equal_the_counted_module(name):
    """MACs by hooks on the real smaller module, parameters by torch."""
    from compress_gym.costs.build import channel_cost_terms
    from compress_gym.devices import list_devices, load_device

    task = get_task(name)
    module, network, decisions = task.trained_module(), task.network(), task.channel_decisions()
    rng = np.random.default_rng(0)
    terms = channel_cost_terms(network, decisions, load_device(list_devices()[0]))
    for row in rng.integers(decisions.sizes, size=(5, len(decisions))):
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
        small = remove_channels(module, network, kept_channels(channel_ranking(module, network), counts))
        macs = []

        def count(layer, inputs, output, macs=macs):
            weights = layer.weight[0].numel()
            macs.append(weights * output.numel())

        for layer in small.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                layer.register_forward_hook(count)
        with torch.no_grad():
            small(torch.zeros(1, *network.input_shape))
        costs = dict(zip(terms.metrics, terms.evaluate(row[None])[0], strict=True))
        params = sum(p.numel() for p in small.parameters())
        assert costs["macs"] == sum(macs) and costs["params"] == params
        assert costs["size_bytes"] == 4 * params and costs["bops"] == 1024 * sum(macs)


@every_task
def test_the_most_important_channels_are_kept(name):
    task = get_task(name)
    module, network = task.trained_module(), task.network()
    ranking = channel_ranking(module, network)
    group = network.groups[0]
    weight = module.get_submodule(group.consumers[0]).weight.detach()
    score = weight.abs().sum(dim=(0, 2, 3))
    kept = kept_channels(ranking, {group.name: 4})[group.name]
    assert set(kept.tolist()) == set(torch.topk(score, 4).indices.tolist())
    assert kept.tolist() == sorted(kept.tolist())


def test_the_original_is_not_changed():
    task = get_task("digits-cnn")
    module = task.trained_module()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    task.live().compress([0] * 5)
    remove_channels(module, task.network(), {"conv1": torch.arange(3)})
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_adaptive_batch_norm_takes_the_batch_statistics():
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    images = torch.randn(64, 2, 4, 4) * 3 + 5
    adaptive_batch_norm(module, images)
    assert not module[0].training
    assert torch.allclose(module[0].running_mean, images.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(module[0].running_var, images.var(dim=(0, 2, 3)), atol=1e-4)


def test_adaptive_batch_norm_refuses_networks_without():
    with pytest.raises(ValueError, match="needs a network with batch norm"):
        RECOVERIES["adaptive-bn"](torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), torch.zeros(1, 1, 2, 2))
