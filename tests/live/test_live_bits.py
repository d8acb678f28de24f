"""Live scores of quantised networks, alone and pruned."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
import torch

from compress_gym.data import load_dataset
from compress_gym.kinds import get_case, scored_tasks
from compress_gym.live import compressor as compressor_module
from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.live.quantise import RememberedScales, input_ranges, quantise, weight_scales
from compress_gym.live.recovery import adaptive_batch_norm
from compress_gym.live.shared_layers import PrefixRunner, PrunedPrefixes
from compress_gym.live.training import Recipe
from compress_gym.problem.network_decisions import BitValues
from compress_gym.support.cards import read_card
from compress_gym.support.processor import bf16_supported
from compress_gym.tasks import get_task
from tests.helpers import image_scorer, needs_data, recorded_here
from tests.user_nets import build

TASK, DATA = get_task("digits-cnn"), load_dataset("digits")
CHANNELS, MIXED, JOINT = (get_case(kind, TASK).decisions() for kind in ("ChannelPrune", "MixedQuant", "JointPQ"))


def live(decisions, recovery="adaptive-bn", images=200, **settings):
    return image_scorer(
        *(TASK.network(), TASK.trained_module(), decisions),
        calibration=DATA.train.take(128),
        scored=DATA.validation.take(images),
        recovery=recovery,
        ranges=DATA.train.take(128),
        **settings,
    )


def measured_rows(case, rng):
    """Some measured strategies of a case, how many images each classified correctly, and the card."""
    if case.asset("measured").exists():
        card, sizes = read_card(case.asset("measured")), case.decisions().sizes
        rows = rng.integers(sizes, size=(50, len(sizes)))
        return rows, case.measured()(rows) * card["validation_images"], card
    measured = case.strategies()
    chosen = rng.permutation(len(measured.strategies))[:5]
    return measured.strategies[chosen], measured.correct.sum(1)[chosen], read_card(case.asset("strategies"))


@pytest.mark.parametrize("env", ["MixedQuant-v0", "JointPQ-v0"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "cifar10-plain20" else n for n in scored_tasks("JointPQ-v0")],
)
def test_measured_rows_are_scored_again(name, env):
    """Equal on the machine that recorded them, elsewhere within what the card says."""
    needs_data(name)
    case = get_case(env, name)
    rows, counts, card = measured_rows(case, np.random.default_rng())
    evaluator = case.scorer()
    difference = np.abs(evaluator.count_correct(rows) - counts)
    stated = re.match(r"a test allows (\d+) images of 400", card["stated_error"]["other_machine"])
    allowed = 0.5 if recorded_here(card) else int(stated[1]) * evaluator.images / 400
    assert difference.max() <= allowed, rows[difference.argmax()]
    for key in ("calibration_digest", "range_digest", "validation_images"):
        assert card[key] == evaluator.identity[key]


@pytest.mark.parametrize("recovery", ["none", "adaptive-bn"])
def test_what_strategies_share_changes_no_score(recovery):
    """In any order, and computed from the compressed module; folding batch norms may turn one image."""
    evaluator = live(MIXED, recovery)
    rows = np.random.default_rng(0).integers(3, size=(3, 10))
    rows = np.concatenate([rows, rows[:1], [[*rows[0][:7], 0, 0, 2]]])
    hits = evaluator.hits(rows)
    assert np.array_equal(hits[0], hits[3]) and np.array_equal(evaluator.hits(rows[::-1])[::-1], hits)
    for row, expected in zip(rows[:3], hits, strict=False):
        module = evaluator.compressor.build(row)
        with torch.no_grad():
            predicted = module(torch.from_numpy(DATA.validation.take(200).images)).argmax(1).numpy()
        assert (expected != (predicted == DATA.validation.labels[:200])).sum() <= 1


def test_copies_of_an_evaluator_that_was_used_score_alike():
    evaluator = live(MIXED, images=50)
    hits = evaluator.hits([[2, 0] * 5])
    for same in (copy.deepcopy(evaluator), pickle.loads(pickle.dumps(evaluator))):
        assert np.array_equal(same.hits([[2, 0] * 5]), hits)


def test_an_interrupted_score_leaves_nothing_behind(monkeypatch):
    evaluator, row = live(MIXED, images=50), [[2, 1] * 5]
    expected = evaluator.hits(row)
    evaluator.hits([[0] * 10])
    with monkeypatch.context() as interrupted:
        interrupted.setattr(PrefixRunner, "run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluator.hits(row)
    assert np.array_equal(evaluator.hits(row), expected)


def test_eight_bits_cost_at_most_a_third_of_a_point_and_fewer_cost_more():
    evaluator = get_case("MixedQuant", TASK).scorer()
    most, least = evaluator([[2] * 10, [0] * 10])
    assert most >= evaluator.baseline - 0.003 and least < most - 0.03


def test_layers_have_the_bits_that_were_chosen():
    evaluator = live(MIXED)
    values = {d.name: 8 for d in MIXED.decisions} | {"conv2.weight_bits": 2, "conv4.activation_bits": 4}
    module = evaluator.compressor.build(MIXED.encode(values))
    levels = {n: max(len(torch.unique(r)) for r in module.get_submodule(n).weight) for n in ("conv2", "conv3", "fc")}
    assert levels["conv2"] <= 3 < levels["conv3"] <= 255 and levels["fc"] <= 255
    seen = {}
    module.conv4.register_forward_hook(lambda m, inputs, output: seen.update(x=inputs[0]))
    module.fc.register_forward_hook(lambda m, inputs, output: seen.update(y=inputs[0]))
    with torch.no_grad():
        module(torch.from_numpy(DATA.validation.take(50).images))
    assert 8 < len(torch.unique(seen["x"])) <= 16 and len(torch.unique(seen["y"])) > 16


def test_pruned_and_quantised():
    evaluator = live(JOINT)
    values = {d.name: d.values[-1] for d in JOINT.decisions} | {"conv2.channels": 16, "conv3.weight_bits": 2}
    module = evaluator.compressor.build(JOINT.encode(values))
    assert module.conv3.weight.shape == (64, 16, 3, 3) and len(torch.unique(module.conv3.weight[0])) <= 3
    whole = JOINT.sizes - 1
    assert evaluator.count_correct(whole) == pytest.approx(live(MIXED).count_correct([[2] * 10]), abs=1)


def test_precisions_are_scored():
    decisions = get_case("MixedQuant", TASK).decisions(bits=BitValues((8, 32), paired=True))
    evaluator = live(decisions, "none")
    module = evaluator.compressor.build([1, 0, 1, 1, 1])
    assert torch.equal(module.conv1.weight, TASK.trained_module().conv1.weight)
    assert not torch.equal(module.conv2.weight, TASK.trained_module().conv2.weight)
    assert abs(evaluator([[1] * 5])[0] - evaluator.baseline) <= 0.01  # the last layer alone has 8 bits


def test_bias_correction_recovers():
    """Without batch norms re-estimated, 2-bit weights shift every mean."""
    rows = [[0, 2] * 5, [0, 1] * 5]
    assert live(MIXED, "bias-correction")(rows).mean() > live(MIXED, "none")(rows).mean() + 0.02


def test_finetuning_keeps_weights_rounded_and_recovers():
    recipe = Recipe(epochs=1, batch_size=50, peak_lr=0.02, weight_decay=0.0, augmentation="shift")
    evaluator = live(MIXED, "finetune-1", training=DATA.train.take(400), finetune=recipe)
    row = [0, 1] * 5
    module = evaluator.compressor.build(row)
    assert all(len(torch.unique(channel)) <= 3 for channel in module.conv4.weight)
    assert evaluator(row)[0] > live(MIXED, "none")(row)[0]


def test_quantised_networks_whose_channels_stay_have_a_recipe_of_their_own(monkeypatch):
    used = []
    monkeypatch.setattr(compressor_module, "train_module", lambda module, data, recipe, **settings: used.append(recipe))
    recipe = Recipe(epochs=1, batch_size=50, peak_lr=0.02, weight_decay=0.0, augmentation="shift")
    gentle = dataclasses.replace(recipe, peak_lr=0.004)
    settings = {"training": DATA.train.take(100), "finetune": recipe, "finetune_bits": gentle}
    evaluator, whole = live(JOINT, "finetune-3", **settings), JOINT.sizes - 1
    pruned = np.where([d.kind == "channels" for d in JOINT.decisions], 0, whole)
    for row in (whole, pruned):
        evaluator.compressor.build(row)
    live(CHANNELS, "finetune-3", **settings).compressor.build(CHANNELS.sizes - 1)
    assert [r.peak_lr for r in used] == [0.004, 0.02, 0.02] and {r.epochs for r in used} == {3}
    assert [r["peak_lr"] for r in evaluator.identity["finetune_recipes"]] == [0.02, 0.004]
    assert "finetune_recipes" not in live(JOINT).identity


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_finetuning_in_bfloat16_recovers_as_well():
    recipe = Recipe(epochs=1, batch_size=50, peak_lr=0.02, weight_decay=0.0, augmentation="shift")
    settings = {"training": DATA.train.take(400), "finetune": recipe, "images": 400}
    evaluator, exact = (live(MIXED, "finetune-1", bf16=b, **settings) for b in (True, False))
    row = [0, 1] * 5
    module = evaluator.compressor.build(row)
    assert module.conv1.weight.dtype == torch.float32 and not evaluator.bf16
    assert all(len(torch.unique(channel)) <= 3 for channel in module.conv4.weight)
    # It was another training: seen where nothing is rounded, since two bits hide small steps.
    assert not torch.equal(module.bn1.weight, exact.compressor.build(row).bn1.weight)
    assert evaluator(row)[0] >= exact(row)[0] - 0.03


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_bits_are_not_scored_in_bfloat16():
    with pytest.raises(ValueError, match="bf16=True: quantised networks are scored in float32"):
        live(MIXED, bf16=True)


@pytest.mark.parametrize("name", ["resnet20", "squeeze-excite"])
def test_streams_of_networks_with_branches(name):
    """Reused values are those of the whole network, also where operations overwrite their input."""
    module = build(name)
    batches = [torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    runner = PrefixRunner(module, [batches])
    with torch.no_grad():
        runner.run(0, 0)
        names = [n for n, m in module.named_modules() if isinstance(m, torch.nn.Conv2d)]
        for name in (names[-1], names[1], names[-1], names[0]):
            for model in (runner.model, module):
                model.get_submodule(name).weight.mul_(-1.5)
            found = runner.run(0, runner.position([name]))
            for batch, outputs in zip(batches, found, strict=True):
                assert torch.allclose(outputs, module(batch), atol=1e-6)


def test_remembered_scales_are_those_of_the_weights_at_hand():
    remembered = RememberedScales()
    weights = [torch.randn(4, 6, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    for weight in (*weights, *weights, weights[0].reshape(6, 4), weights[0].reshape(4, 3, 2)):
        for bits in (2, 8):
            assert torch.equal(remembered(weight, bits), weight_scales(weight, bits))


@pytest.mark.parametrize("adapts", [True, False])
@pytest.mark.parametrize("name", ["digits-cnn", "cifar10-resnet20"])
def test_ranges_of_pruned_networks_that_share_layers_are_those_of_each_alone(name, adapts):
    """Also after the pruned network was changed, as quantising does."""
    task = get_task(name)
    module, network, decisions = task.trained_module(), task.network(), get_case("ChannelPrune", task).decisions()
    images = torch.randn(12, *network.input_shape, generator=torch.Generator().manual_seed(0))
    layers = [layer.name for layer in network.layers if layer.kind in ("conv", "linear")]
    prefixes = PrunedPrefixes(module, layers, (images,) if adapts else (), images)
    first, second = np.random.default_rng(0).integers(decisions.sizes, size=(2, len(decisions)))
    late = [*first[:-1], (first[-1] + 1) % decisions.sizes[-1]]
    early = [(first[0] + 1) % decisions.sizes[0], *first[1:]]
    ranking = channel_ranking(module, network)
    for row in (first, late, first, second, early, late, late):
        counts = {d.subject: d.values[c] for d, c in zip(decisions.decisions, row, strict=True)}
        small = remove_channels(module, network, kept_channels(ranking, counts))
        found = prefixes.ranges(small)
        expected = input_ranges(adaptive_batch_norm(small, images) if adapts else small, layers, images)
        for layer in layers:
            assert found[layer].largest == expected[layer].largest and found[layer].signed == expected[layer].signed
            assert torch.equal(found[layer].counts, expected[layer].counts), layer
        quantise(small, {layer: (2, 2) for layer in layers}, expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ranges": None}, "need training images to find the ranges of inputs on; give ranges="),
        ({"recovery": "bias-correction", "decisions": CHANNELS}, "no bits are decided"),
        ({"ranges": DATA.train.take(0)}, "need training images"),
        ({"calibration": DATA.train.take(0)}, "calibration= holds 0 images"),
        ({"scored": DATA.validation.take(0)}, "scored= holds 0 images"),
        ({"training_device": "cuda"}, "quantised networks are trained on the processor"),
        ({"training_device": "tpu", "decisions": CHANNELS}, "'tpu' must be 'cpu' or 'cuda'"),
    ],
)
def test_what_is_missing_is_named(settings, words):
    images = {"calibration": DATA.train.take(64), "scored": DATA.validation.take(10), "ranges": DATA.train.take(64)}
    arguments = {"decisions": MIXED, "recovery": "none", **images, **settings}
    with pytest.raises(ValueError, match=words):
        image_scorer(*(TASK.network(), TASK.trained_module(), arguments.pop("decisions")), **arguments)([[0] * 10])
