from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from compress_gym.data.archives import DATA_VARIABLE
from compress_gym.kinds import KINDS, cases_of, get_case
from compress_gym.networks.trace import trace
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task, get_task, list_tasks, task_folders
from tests.helpers import needs_data

TRAINED = [name for name in list_tasks() if get_task(name).declared.data is not None]
NETWORKS = [name for name in task_folders() if get_task(name).declared.network.space is None]
every_task = pytest.mark.parametrize("name", TRAINED)


@pytest.fixture
def broken(tmp_path):
    """A copy of a task whose assets may be damaged."""
    task = get_task("digits-cnn")
    shutil.copytree(task.folder, tmp_path / task.name)
    return get_case("ChannelPrune", Task.read(tmp_path / task.name))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_description_is_that_of_the_module(name):
    """Those that are not shipped yet as well: training and collecting start from here."""
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
    live = get_case("ChannelPrune", "digits-cnn").scorer(split="test")
    assert live.baseline == card["test_accuracy"]


def test_digits_cnn_is_as_large_as_promised():
    case = get_case("ChannelPrune", "digits-cnn")
    assert case.decisions().count == 32768
    assert (case.task.folder / "measured.npz").stat().st_size < 1_000_000


DAMAGES = {
    "truncated": lambda b: b[: len(b) // 2],
    "changed": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 255]) + b[len(b) // 2 + 1 :],
    "empty": lambda b: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(
    ("asset", "read"),
    [("weights.safetensors", lambda case: case.task.trained_module()), ("measured.npz", lambda case: case.measured())],
)
def test_damaged_files_are_named(broken, asset, read, damage):
    path = broken.task.folder / asset
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
    (broken.task.folder / "weights.safetensors").unlink()
    with pytest.raises(AssetError, match="its weights are not at .*weights.safetensors; train them with"):
        broken.task.trained_module()
    (broken.task.folder / "network.json").unlink()
    with pytest.raises(AssetError, match="network.json: the file is missing"):
        broken.task.network()


def test_weights_of_another_shape_are_named(broken):
    from compress_gym.live.weights import save_weights

    path = broken.task.folder / "weights.safetensors"
    module = broken.compressor().build([0] * 5)
    save_weights(module, path)
    write_card(path, {})
    with pytest.raises(AssetError, match=r"tensor 'bn1.bias' has shape \(4,\), the network's has \(32,\)"):
        broken.task.trained_module()
    save_weights(module.conv1, path)
    write_card(path, {})
    with pytest.raises(AssetError, match="tensors differ from the network's"):
        broken.task.trained_module()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"correct": np.zeros(10, np.uint16)}, r"shape \(10,\)"),
        ({"correct": np.full(32768, 401, np.uint16)}, "not within 0 and 1"),
        ({"decisions": np.array(["a.channels"])}, "measured for decisions"),
        ({"images": np.int64(0)}, "not readable as a measured table"),
        ({"correct": np.array([{}], dtype=object)}, "not readable as a measured table"),
    ],
)
def test_tables_of_another_shape_are_named(broken, change, words):
    path = broken.task.folder / "measured.npz"
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **change})
    write_card(path, json.loads(path.with_suffix(".json").read_text()))
    with pytest.raises(AssetError, match=words):
        broken.measured()


@pytest.mark.parametrize("name", [name for name in TRAINED if name in NETWORKS])
def test_the_table_is_neither_degenerate_nor_saturated(name):
    """Strategies differ, the uncompressed one is about as good as the network, and most are far from the best."""
    case = cases_of(get_task(name))[0]
    if case.asset("measured").exists():
        measured = case.measured()
        scores = measured.table
        assert scores[-1] >= measured.baseline - 0.003
    else:
        measured = case.strategies()
        scores = measured.accuracy[measured.scored()]
    assert len(np.unique(scores)) > 100
    assert scores.mean() < scores.max() - 0.1


def test_what_some_environment_takes_is_listed():
    assert {"digits-cnn", "multi30k-ende", "hat-wmt14"} <= set(list_tasks())
    assert "cifar10-vgg16" in task_folders() and "cifar10-vgg16" not in list_tasks()  # its weights are not shipped
    for kind in KINDS.values():
        assert all(kind.id in get_task(name).declared.kinds for name in list_tasks(kind.id))
    for name in task_folders():
        task = get_task(name)
        assert task.name == name and [case.kind.id for case in cases_of(task)] == list(task.declared.kinds)
    with pytest.raises(KeyError, match="Did you mean 'cifar10-resnet20'"):
        get_task("cifar-resnet20")


def test_a_task_without_its_data_names_the_command(tmp_path, monkeypatch):
    """Asked for live accuracy, a CIFAR-10 task without the archive says how to bring it."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="compress-gym data fetch cifar10"):
        get_task("cifar10-resnet20").data()
    with pytest.raises(pytest.skip.Exception, match=f"'cifar10-resnet20' needs data set 'cifar10'.*{tmp_path}"):
        needs_data("cifar10-resnet20")
    needs_data("digits-cnn")


@pytest.mark.parametrize("name", ["network.json", "weights.safetensors", "measured.npz"])
def test_the_hash_covers_every_asset_and_no_card(broken, name):
    before = broken.asset_hash()
    assert before == get_case("ChannelPrune", "digits-cnn").asset_hash()
    (broken.task.folder / "difficulty.json").write_text("{}")
    (broken.task.folder / "measured-mixed-quant.npz").write_bytes(b"of another environment")
    assert broken.asset_hash() == before
    path = broken.task.folder / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"conv5", b"conv6") if name == "network.json" else content + b" ")
    assert broken.asset_hash() != before


def test_a_changed_description_is_named(broken):
    path = broken.task.folder / "network.json"
    path.write_text(path.read_text().replace('"kernel": 3', '"kernel": 5', 1))
    with pytest.raises(AssetError, match="network.json: the checksum differs"):
        broken.task.network()


def test_damaged_edges_are_named(broken):
    path, before = broken.task.folder / "network.json", broken.asset_hash()
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "edges": description["edges"][:-1]}))
    with pytest.raises(AssetError, match=r"network.json: not readable as a network \(edges: layer 'fc'"):
        broken.task.network()
    assert broken.asset_hash() == before


@pytest.mark.parametrize(
    ("key", "value"), [("weights_sha256", "0"), ("recovery", "none"), ("calibration_images", 1), ("task_version", 0)]
)
def test_a_table_of_other_weights_or_recovery_is_named(broken, key, value):
    path = broken.task.folder / "measured.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(AssetError, match=f"made with {key}=.*compress-gym collect digits-cnn"):
        broken.measured()
