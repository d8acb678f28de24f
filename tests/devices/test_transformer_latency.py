"""Latencies of transformers as products of genes: fitted, stored, and as cost terms."""

import json

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner

from compress_gym.cli import cli
from compress_gym.devices import TransformerDevice, list_devices, load_device
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.devices.costs.transformer import transformer_cost_terms
from compress_gym.devices.published.hat import HAT_FEATURES, HatTable
from compress_gym.devices.transformer_latency import FEATURES, architecture_features
from compress_gym.kinds import get_case
from compress_gym.making.profile.transformer_latency import (
    fit_coefficients,
    hat_features,
    latency_errors,
    write_coefficients,
)
from compress_gym.problem.transformer_decisions import transformer_decisions
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import get_task
from tests.making.test_collect_translation import Own

RNG = np.random.default_rng(0)
METRICS = ("latency_ms", "latency_30_ms")
HAT = get_task("hat-wmt14").network()
# Of an architecture, as HAT averages them over layers.
AVERAGES = {
    "encoder_embed_dim": lambda a: a.encoder_embed,
    "encoder_layer_num": lambda a: len(a.encoder),
    "encoder_ffn_embed_dim_avg": lambda a: np.mean([e.ffn for e in a.encoder]),
    "encoder_self_attention_heads_avg": lambda a: np.mean([e.heads for e in a.encoder]),
    "decoder_embed_dim": lambda a: a.decoder_embed,
    "decoder_layer_num": lambda a: len(a.decoder),
    "decoder_ffn_embed_dim_avg": lambda a: np.mean([d.ffn for d in a.decoder]),
    "decoder_self_attention_heads_avg": lambda a: np.mean([d.self_heads for d in a.decoder]),
    "decoder_ende_attention_heads_avg": lambda a: np.mean([d.cross_heads for d in a.decoder]),
    "decoder_arbitrary_ende_attn_avg": lambda a: np.mean([d.span for d in a.decoder]),
}


def architectures(space, count):
    return [space.sample(np.random.default_rng(seed)) for seed in range(count)]


def stored(folder, task="multi30k-ende", **card):
    path = folder / "mine.csv"
    write_coefficients(path, METRICS, RNG.uniform(0, 1, (len(FEATURES), 2)).round(3))
    write_card(path, {"kind": "cpu", "task": task, **card})
    return path


def test_averages_give_the_features_of_the_architecture(tmp_path):
    drawn = architectures(HAT, 30)
    assert tuple(AVERAGES) == HAT_FEATURES
    columns = {name: np.array([float(average(a)) for a in drawn]) for name, average in AVERAGES.items()}
    table = HatTable(tmp_path, "hat", "", columns, {})
    assert np.allclose(hat_features(table), np.stack([architecture_features(a) for a in drawn]))


@pytest.mark.parametrize("relative", [False, True])
def test_coefficients_are_found_again(relative):
    features = np.stack([architecture_features(a) for a in architectures(HAT, 400)])
    true = np.where(np.arange(len(FEATURES)) % 3, 0, 1) / features.max(axis=0)
    found = fit_coefficients(features, features @ true, relative)
    assert (found >= 0).all() and np.allclose(features @ found, features @ true)


def test_errors_are_stated():
    error = latency_errors(np.array([1.0, 2.2, 3.0]), np.array([1.0, 2.0, 4.0]))
    assert error["median_absolute_error"] == 0.1 and error["kendall_tau"] == 1.0
    assert error["measured_ms"] == {"lowest": 1.0, "highest": 4.0}
    assert latency_errors(np.array([2.0, 1.0]), np.array([1.0, 2.0]))["kendall_tau"] == -1.0


@pytest.mark.parametrize("name", ["multi30k-ende", "hat-wmt14"])
def test_cost_terms_are_the_features_times_the_coefficients(tmp_path, name):
    case = get_case("TransformerNAS-v0", name)
    path = stored(tmp_path, name)
    device = load_device(path)
    problem = case.problem(path, Own(), budget=0.6)
    rows = problem.random(RNG, 20)
    costs = problem.costs(rows)
    for n, row in enumerate(rows):
        features = architecture_features(case.task.network().architecture(problem.describe(row)))
        assert [costs[metric][n] for metric in METRICS] == pytest.approx((features @ device.coefficients).tolist())
    assert problem.evaluate(rows).feasible.all()
    assert problem.origin["device"] == "mine" and len(problem.origin["device_hash"]) == 16


def test_shipped_devices_are_listed_and_loaded():
    for name in list_devices(TransformerDevice):
        device = load_device(name)
        assert device.name == name and get_task(device.task)
        assert device.metrics[0] == "latency_ms" and device.card["stated_error"]


def test_the_command_shows_their_cards():
    for name in list_devices(TransformerDevice):
        result = CliRunner().invoke(cli, ["devices", name, "--json"], catch_exceptions=False)
        assert json.loads(result.output)["task"] == load_device(name).task


def test_devices_of_other_transformers_are_refused(tmp_path):
    path = stored(tmp_path, "hat-wmt14")
    case = get_case("TransformerNAS-v0", "multi30k-ende")
    with pytest.raises(ValueError, match="measured with the transformers of task 'hat-wmt14', not of 'multi30k-ende'"):
        case.problem(path, Own())
    with pytest.raises(KeyError, match="device='nowhere.csv' is not known"):
        load_device("nowhere.csv")


def test_devices_of_operations_and_of_transformers_are_told_apart():
    decisions = transformer_decisions(HAT)
    assert isinstance(load_device("hat-titanxp"), TransformerDevice)
    of_transformers = "'bismo-edge' has latencies of single operations, not of whole transformers.*hat-titan"
    with pytest.raises(ValueError, match=of_transformers):
        transformer_cost_terms(HAT, decisions, load_device("bismo-edge"))
    with pytest.raises(ValueError, match=of_transformers):
        gym.make("compress_gym/TransformerNAS-v0", device="bismo-edge")
    case = get_case("ChannelPrune-v0", "digits-cnn")
    of_operations = "'hat-titanxp' has latencies of whole transformers, not of the operations.*use one of.*bismo-edge"
    with pytest.raises(ValueError, match=of_operations):
        network_cost_terms(case.task.network(), case.decisions(), load_device("hat-titanxp"))
    for env in ("ChannelPrune", "MixedQuant", "JointPQ"):
        with pytest.raises(ValueError, match=of_operations):
            gym.make(f"compress_gym/{env}-v0", task="digits-cnn", device="hat-titanxp")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text.replace("latency_ms", "seconds"), "expected the columns feature,latency_ms"),
        (lambda text: text.replace("e,", "x,", 1), "expected the columns|one row for each of the features"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "one row for each of the features"),
        (lambda text: text.rsplit(",", 1)[0] + ",-1.0\n", "must be finite and not negative"),
        (lambda text: text.rsplit(",", 1)[0] + ",nan\n", "must be finite and not negative"),
        (lambda text: text.rsplit(",", 1)[0] + ",fast\n", "not readable as coefficients"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, damage, words):
    path = stored(tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(AssetError, match="checksum differs"):
        load_device(path)
    write_card(path, {"kind": "cpu", "task": "multi30k-ende"})
    with pytest.raises(AssetError, match=words):
        load_device(path)


@pytest.mark.parametrize("card", [{"kind": "toaster"}, {"task": None}])
def test_cards_that_lack_something_are_refused(tmp_path, card):
    path = stored(tmp_path, **card) if "kind" in card else stored(tmp_path)
    if "task" in card:
        write_card(path, {"kind": "cpu"})
    with pytest.raises(AssetError, match="is not"):
        load_device(path)
