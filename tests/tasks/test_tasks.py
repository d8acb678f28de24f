from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from compress_gym.data.archives import DATA_VARIABLE
from compress_gym.networks.trace import trace
from compress_gym.problem.decisions import channel_decisions
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import TASKS, get_task, list_tasks
from tests.helpers import needs_data

every_task = pytest.mark.parametrize("name", list_tasks())


@pytest.fixture
def broken(tmp_path):
    """A copy of a task whose assets may be damaged."""
    task = get_task("digits-cnn")
    shutil.copytree(task.folder, tmp_path / task.name)
    return dataclasses.replace(task, assets=tmp_path)


@every_task
def test_the_description_is_that_of_the_module(name):
    task = get_task(name)
    network = task.network()
    assert trace(task.untrained_module(), network.input_shape, network.name) == network


@every_task
def test_cards_hold_their_provenance(name):
    task = get_task(name)
    assets = [*task.folder.glob("*.safetensors"), *task.folder.glob("*.npz")]
    names = {asset.stem for asset in assets}
    assert names >= {"weights", "measured"} or names >= {"weights", "strategies", "surrogate"}
    for asset in assets:
        card = json.loads(asset.with_suffix(".json").read_text())
        assert {"what", "command", "date", "hardware", "versions", "sha256"} <= set(card)


def test_digits_cnn_is_as_accurate_as_promised():
    card = get_task("digits-cnn").weights_card()
    assert card["test_accuracy"] >= 0.98
    live = get_task("digits-cnn").live(split="test")
    assert live.baseline == card["test_accuracy"]


def test_digits_cnn_is_as_large_as_promised():
    task = get_task("digits-cnn")
    assert task.channel_decisions().count == 32768
    assert (task.folder / "measured.npz").stat().st_size < 1_000_000


DAMAGES = {
    "truncated": lambda b: b[: len(b) // 2],
    "changed": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 255]) + b[len(b) // 2 + 1 :],
    "empty": lambda b: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(
    ("asset", "read"),
    [("weights.safetensors", lambda t: t.trained_module()), ("measured.npz", lambda t: t.measured())],
)
def test_damaged_files_are_named(broken, asset, read, damage):
    path = broken.folder / asset
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(AssetError, match=f"{asset}: the checksum differs"):
        read(broken)
    # and if the card was changed along with the file
    card = json.loads(path.with_suffix(".json").read_text())
    write_card(path, card)
    if damage is not DAMAGES["changed"] or asset == "measured.npz":
        with pytest.raises(AssetError, match=f"{asset}: not readable"):
            read(broken)


def test_missing_files_are_named(broken):
    (broken.folder / "weights.safetensors").unlink()
    with pytest.raises(AssetError, match="weights.safetensors: the file is missing"):
        broken.trained_module()
    (broken.folder / "network.json").unlink()
    with pytest.raises(AssetError, match="network.json: the file is missing"):
        broken.network()


def test_weights_of_another_shape_are_named(broken):
    from compress_gym.live.weights import save_weights

    path = broken.folder / "weights.safetensors"
    module = broken.live().compress([0] * 5)
    save_weights(module, path)
    write_card(path, {})
    with pytest.raises(AssetError, match=r"tensor 'bn1.bias' has shape \(4,\), the network's has \(32,\)"):
        broken.trained_module()
    save_weights(module.conv1, path)
    write_card(path, {})
    with pytest.raises(AssetError, match="tensors differ from the network's"):
        broken.trained_module()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"correct": np.zeros(10, np.uint16)}, r"shape \(10,\)"),
        ({"correct": np.full(32768, 401, np.uint16)}, "maximum 401"),
        ({"decisions": np.array(["a.channels"])}, "measured for decisions"),
        ({"images": np.int64(0)}, "not readable as a measured table"),
        ({"correct": np.array([{}], dtype=object)}, "not readable as a measured table"),
    ],
)
def test_tables_of_another_shape_are_named(broken, change, words):
    path = broken.folder / "measured.npz"
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **change})
    write_card(path, json.loads(path.with_suffix(".json").read_text()))
    with pytest.raises(AssetError, match=words):
        broken.measured()


@every_task
def test_the_table_is_neither_degenerate_nor_saturated(name):
    """Strategies differ, the uncompressed one is about as good as the network, and most are far from the best."""
    task = get_task(name)
    if (task.folder / "measured.npz").exists():
        measured = task.measured()
        scores = measured.table
        assert scores[-1] >= measured.baseline - 0.003
    else:
        scores = task.strategies().accuracy
    assert len(np.unique(scores)) > 100
    assert scores.mean() < scores.max() - 0.1


def test_only_shipped_tasks_are_listed():
    assert "digits-cnn" in list_tasks()
    assert set(list_tasks()) == {name for name, task in TASKS.items() if task.shipped}
    for name, task in TASKS.items():
        assert get_task(name) is task and task.name == name
        assert not task.shipped or (task.folder / "weights.safetensors").exists()
    with pytest.raises(KeyError, match="Did you mean 'cifar10-resnet20'"):
        get_task("cifar-resnet20")


@pytest.mark.parametrize("name", TASKS)
def test_modules_of_tasks_can_be_traced(name):
    """Those that are not shipped yet as well: training and collecting start from here."""
    task = get_task(name)
    shape = (1, 16, 16) if task.dataset == "digits" else (3, 32, 32)
    network = trace(task.untrained_module(), shape, name)
    decisions = channel_decisions(network, task.levels)
    assert len(decisions) == len(network.groups) and network.layers[-1].out_channels == 10


def test_a_task_without_its_data_names_the_command(tmp_path, monkeypatch):
    """Asked for live accuracy, a CIFAR-10 task without the archive says how to bring it."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="compress-gym data fetch cifar10"):
        get_task("cifar10-resnet20").dataset_splits()
    with pytest.raises(pytest.skip.Exception, match=f"'cifar10-resnet20' needs data set 'cifar10'.*{tmp_path}"):
        needs_data("cifar10-resnet20")
    needs_data("digits-cnn")


@pytest.mark.parametrize("name", ["network.json", "weights.safetensors", "measured.npz"])
def test_the_hash_covers_every_asset_and_no_card(broken, name):
    before = broken.asset_hash()
    assert before == get_task("digits-cnn").asset_hash()
    (broken.folder / "difficulty.json").write_text("{}")
    (broken.folder / "measured-mixed-quant.npz").write_bytes(b"of another environment")
    assert broken.asset_hash() == before
    path = broken.folder / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"conv5", b"conv6") if name == "network.json" else content + b" ")
    assert broken.asset_hash() != before


def test_a_changed_description_is_named(broken):
    path = broken.folder / "network.json"
    path.write_text(path.read_text().replace('"kernel": 3', '"kernel": 5', 1))
    with pytest.raises(AssetError, match="network.json: the checksum differs"):
        broken.network()


def test_damaged_edges_are_named(broken):
    path, before = broken.folder / "network.json", broken.asset_hash()
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "edges": description["edges"][:-1]}))
    with pytest.raises(AssetError, match="network.json: edges: layer 'fc'"):
        broken.network()
    assert broken.asset_hash() == before


@pytest.mark.parametrize(
    ("key", "value"), [("weights_sha256", "0"), ("recovery", "none"), ("calibration_images", 1), ("task_version", 0)]
)
def test_a_table_of_other_weights_or_recovery_is_named(broken, key, value):
    path = broken.folder / "measured.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(AssetError, match=f"made with {key}=.*compress-gym collect digits-cnn"):
        broken.measured()
