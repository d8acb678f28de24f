"""The training command, and the shards that an unfinished training leaves."""

import json

import pytest
import torch
from click.testing import CliRunner

from compress_gym.cli import cli
from compress_gym.making import train_translation, weight_shards
from compress_gym.making.train import TrainSettings
from compress_gym.making.weight_shards import load_shards, save_shards
from compress_gym.networks.supertransformer import Transformer
from compress_gym.support.errors import AssetError


def test_the_command_trains_and_writes_assets(case, tmp_path, monkeypatch):
    monkeypatch.setattr(train_translation, "_VALIDATE_UPDATES", 50)
    out, checkpoint = tmp_path / "out", tmp_path / "checkpoint.safetensors"
    arguments = ["train", case.task.name, "--out", str(out), "--threads", "1", "--no-bf16", "--updates", "50"]
    result = CliRunner().invoke(cli, [*arguments, "--checkpoint", str(checkpoint)], catch_exceptions=False)
    assert result.exit_code == 0 and "validation loss" in result.output and "50 updates" in result.output
    card = json.loads((out / "weights.json").read_text())
    space = case.task.network().to_json()
    assert card["recipe"]["updates_done"] == 50 and card["space"] == json.loads(json.dumps(space))
    assert set(card["scores"]["largest"]) == {
        "validation_bleu", "test_bleu", "signature", "validation_loss", "test_loss"
    }  # fmt: skip
    assert "non-commercial research" in card["terms"] and (out / "weights.safetensors").stat().st_size < 2e5
    lines = (out / "training.csv").read_text().splitlines()
    assert lines[0].startswith("updates,training_loss") and lines[1].startswith("50,")

    folder, vocabulary = tmp_path / "shards", out / "vocabulary.bpe"
    result = CliRunner().invoke(
        weight_shards.main, [str(checkpoint), str(vocabulary), str(folder)], catch_exceptions=False
    )
    assert "50 updates, 1 shards" in result.output
    learnt = vocabulary.read_bytes()
    vocabulary.write_text("another")
    settings = TrainSettings(bf16=False, updates=1, warm_start=folder)
    assert "1 updates" in train_translation.train(case.task, out, settings, "test")
    warm = json.loads((out / "weights.json").read_text())
    assert vocabulary.read_bytes() == learnt
    assert warm["recipe"]["warm_start"] == str(folder)
    # One update of a small learning rate leaves the loss where it was.
    loss = "validation_loss"
    assert warm["scores"]["largest"][loss] == pytest.approx(card["scores"]["largest"][loss], rel=0.02)


def test_a_training_stops_after_its_minutes_and_counts_no_epochs(case, tmp_path):
    settings = TrainSettings(bf16=False, minutes=1e-6, lr=1e-3)
    assert ": 1 updates, " in train_translation.train(case.task, tmp_path, settings, "test")
    recipe = json.loads((tmp_path / "weights.json").read_text())["recipe"]
    assert recipe["peak_lr"] == 1e-3 and recipe["updates"] == train_translation.RECIPE.updates
    with pytest.raises(ValueError, match="--epochs does not go with this task's training"):
        train_translation.train(case.task, tmp_path, TrainSettings(epochs=1), "test")


@pytest.fixture
def stored(case, tmp_path):
    torch.manual_seed(1)
    module = Transformer(case.task.network().largest)
    paths = save_shards(module.state_dict(), tmp_path, {"what": "test"}, limit=20_000)
    return module, tmp_path, paths


def test_shards_are_small_and_complete(case, stored):
    module, folder, paths = stored
    assert len(paths) > 2 and all(p.stat().st_size < 25_000 for p in paths)
    loaded = Transformer(case.task.network().largest)
    load_shards(loaded, folder)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor.half().float(), loaded.state_dict()[name])
    assert save_shards(module.state_dict(), folder, {}) == sorted(folder.glob("*.safetensors"))


def test_missing_and_foreign_shards_are_refused(case, stored):
    _, folder, paths = stored
    with pytest.raises(AssetError, match="tensors differ from the network's"):
        load_shards(Transformer(case.task.network().smallest), folder)
    paths[0].write_bytes(b"x")
    with pytest.raises(AssetError, match="checksum differs"):
        load_shards(Transformer(case.task.network().largest), folder)
    paths[0].unlink()
    with pytest.raises(AssetError, match="shards of weights are there; expected weights-1-of-N"):
        load_shards(Transformer(case.task.network().largest), folder)
