from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from compress_gym.cli import cli
from compress_gym.data import Dataset, Split
from compress_gym.making import train
from compress_gym.support.processor import bf16_supported, one_thread
from compress_gym.tasks import Task, get_task, list_tasks, task_folders
from tests.helpers import run_here, write_tiny_task


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def test_one_epoch_without_bf16_repeats_bit_for_bit(tmp_path, monkeypatch, capsys):
    cards = []
    for name in ("a", "b"):
        arguments = ["train", "digits-cnn", "--epochs", 1, "--no-bf16", "--out", tmp_path / name]
        code, shown, _ = run_here(cli, arguments, monkeypatch, capsys)
        assert code == 0 and "validation" in shown
        cards.append(json.loads((tmp_path / name / "weights.json").read_text()))
    assert cards[0]["recipe"]["bf16"] is False and cards[0]["recipe"]["cycles"][0]["epochs"] == 1
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert 0.05 < cards[0]["test_accuracy"] < get_task("digits-cnn").weights_card()["test_accuracy"]


def test_bf16_follows_the_processor_unless_told(tmp_path, monkeypatch, capsys):
    used = []
    monkeypatch.setattr(train, "train_module", lambda module, data, recipe, seed, bf16, *_, **__: used.append(bf16))
    for flag in ([], ["--bf16"], ["--no-bf16"]):
        arguments = ["train", "digits-cnn", "--out", tmp_path / str(len(used)), *flag]
        assert run_here(cli, arguments, monkeypatch, capsys)[0] == 0
    assert used == [bf16_supported(), True, False]


def test_a_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    checkpoint, hashes = tmp_path / "checkpoint.safetensors", []
    for name in ("a", "b"):  # the second finds every epoch done
        arguments = [
            "train",
            "digits-cnn",
            "--epochs",
            1,
            "--no-bf16",
            "--out",
            tmp_path / name,
            "--checkpoint",
            checkpoint,
        ]
        assert run_here(cli, arguments, monkeypatch, capsys)[0] == 0
        hashes.append(json.loads((tmp_path / name / "weights.json").read_text())["sha256"])
    assert hashes[0] == hashes[1]
    arguments = ["train", "digits-cnn", "--epochs", 2, "--no-bf16", "--out", tmp_path / "c", "--checkpoint", checkpoint]
    code, _, errors = run_here(cli, arguments, monkeypatch, capsys)
    assert code == 2 and "written by another training" in errors and not (tmp_path / "c").exists()


def test_every_shipped_network_has_recipes():
    for name in (name for name in task_folders() if name not in list_tasks("TransformerNAS-v0")):
        recipes = get_task(name).declared.recipes
        assert recipes["train"] and {"finetune", "finetune_bits"} <= set(recipes), name


def test_a_task_without_a_recipe_is_trained_by_the_default(tmp_path):
    task = write_tiny_task(tmp_path)
    told = train.train(task, tmp_path / "out", train.TrainSettings(epochs=1, bf16=False), "test")
    assert told.startswith("tiny: validation 0.")
    cycle = json.loads((tmp_path / "out" / "weights.json").read_text())["recipe"]["cycles"][0]
    assert cycle == {**json.loads(json.dumps(asdict(train.DEFAULT_TRAINING))), "epochs": 1}


@pytest.mark.parametrize("name", ["updates", "minutes", "lr", "warm_start"])
def test_settings_of_other_trainings_are_refused(name, tmp_path):
    settings = train.TrainSettings(**{name: 1})
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} does not go with this task's training"):
        train.train(write_tiny_task(tmp_path), tmp_path / "out", settings, "test")


@pytest.mark.parametrize("name", sorted(name for name in task_folders() if name.startswith("cifar10-")))
def test_every_cifar_network_is_trained_by_one_command(name, tmp_path, monkeypatch):
    """From scratch, in both cycles, to a folder that is a task: of eight images, an epoch a cycle."""
    rng = np.random.default_rng(0)
    moments = np.full(3, 125, dtype=np.float32), np.full(3, 60, dtype=np.float32)
    split = Split(rng.integers(0, 256, size=(8, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, size=8), *moments)
    monkeypatch.setattr(Task, "data", lambda _: Dataset("cifar10", split, split, split))
    shipped, out = get_task(name), tmp_path / name
    short = [{**cycle, "batch_size": 8, "epochs": 1} for cycle in shipped.declared.recipes["train"]]
    declared = shipped.declared.model_copy(update={"recipes": {"train": short}})
    told = train.train(replace(shipped, declared=declared), out, train.TrainSettings(bf16=False), "test")
    assert told.startswith(f"{name}: validation")
    card = json.loads((out / "weights.json").read_text())
    assert card["stored_as"] == "float16" and len(card["recipe"]["cycles"]) == len(short)
    task = replace(shipped, folder=out)
    assert task.network() == shipped.network()
    assert train.share_correct(task.trained_module(), split) == card["validation_accuracy"]


def test_unknown_tasks_are_told(monkeypatch, capsys):
    code, _, errors = run_here(cli, ["train", "digits"], monkeypatch, capsys)
    assert code == 2 and "digits-cnn" in errors


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_training_in_bf16(tmp_path, monkeypatch, capsys):
    arguments = ["train", "digits-cnn", "--epochs", 1, "--bf16", "--out", tmp_path]
    assert run_here(cli, arguments, monkeypatch, capsys)[0] == 0
