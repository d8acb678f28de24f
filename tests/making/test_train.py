from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from compress_gym import train
from compress_gym.data import Dataset, Split
from compress_gym.support.processor import bf16_supported, one_thread
from compress_gym.tasks import TASKS, get_task
from tests.helpers import run_here


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def test_one_epoch_without_bf16_repeats_bit_for_bit(tmp_path, monkeypatch, capsys):
    cards = []
    for name in ("a", "b"):
        arguments = ["digits-cnn", "--epochs", 1, "--no-bf16", "--out", tmp_path / name]
        code, shown, _ = run_here(train.main, arguments, monkeypatch, capsys)
        assert code == 0 and "validation" in shown
        cards.append(json.loads((tmp_path / name / "weights.json").read_text()))
    assert cards[0]["recipe"]["bf16"] is False and cards[0]["recipe"]["cycles"][0]["epochs"] == 1
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert 0.05 < cards[0]["test_accuracy"] < get_task("digits-cnn").weights_card()["test_accuracy"]


def test_bf16_follows_the_processor_unless_told(tmp_path, monkeypatch, capsys):
    used = []
    monkeypatch.setattr(train, "train_module", lambda module, data, recipe, seed, bf16, *_, **__: used.append(bf16))
    for flag in ([], ["--bf16"], ["--no-bf16"]):
        arguments = ["digits-cnn", "--out", tmp_path / str(len(used)), *flag]
        assert run_here(train.main, arguments, monkeypatch, capsys)[0] == 0
    assert used == [bf16_supported(), True, False]


def test_a_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    checkpoint, hashes = tmp_path / "checkpoint.safetensors", []
    for name in ("a", "b"):  # the second finds every epoch done
        arguments = ["digits-cnn", "--epochs", 1, "--no-bf16", "--out", tmp_path / name, "--checkpoint", checkpoint]
        assert run_here(train.main, arguments, monkeypatch, capsys)[0] == 0
        hashes.append(json.loads((tmp_path / name / "weights.json").read_text())["sha256"])
    assert hashes[0] == hashes[1]
    arguments = ["digits-cnn", "--epochs", 2, "--no-bf16", "--out", tmp_path / "c", "--checkpoint", checkpoint]
    code, _, errors = run_here(train.main, arguments, monkeypatch, capsys)
    assert code == 2 and "written by another training" in errors and not (tmp_path / "c").exists()


def test_every_task_has_a_recipe():
    assert set(train.RECIPES) == set(TASKS)


@pytest.mark.parametrize("name", sorted(name for name in TASKS if name.startswith("cifar10-")))
def test_every_cifar_network_is_trained_by_one_command(name, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    moments = np.full(3, 125, dtype=np.float32), np.full(3, 60, dtype=np.float32)
    split = Split(rng.integers(0, 256, size=(8, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, size=8), *moments)
    monkeypatch.setattr(train, "load_dataset", lambda _: Dataset("cifar10", split, split, split))
    short = tuple(replace(cycle, batch_size=8, epochs=1) for cycle in train.RECIPES[name])
    monkeypatch.setitem(train.RECIPES, name, short)
    arguments = [name, "--no-bf16", "--out", tmp_path / name]
    code, shown, errors = run_here(train.main, arguments, monkeypatch, capsys)
    assert code == 0 and "validation" in shown, errors
    card = json.loads((tmp_path / name / "weights.json").read_text())
    assert card["stored_as"] == "float16"
    task = replace(get_task(name), assets=tmp_path)
    assert task.network() == replace(get_task(name), assets=tmp_path / "none", shipped=False).network()
    hits = train.accuracy(task.trained_module(), split)
    assert hits == card["validation_accuracy"]


def test_unknown_tasks_are_told(monkeypatch, capsys):
    code, _, errors = run_here(train.main, ["digits"], monkeypatch, capsys)
    assert code == 2 and "digits-cnn" in errors


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_training_in_bf16(tmp_path, monkeypatch, capsys):
    arguments = ["digits-cnn", "--epochs", 1, "--bf16", "--out", tmp_path]
    assert run_here(train.main, arguments, monkeypatch, capsys)[0] == 0
