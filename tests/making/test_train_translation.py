"""The training command, and the shards that an unfinished training leaves."""

import json

import pytest
import torch
from click.testing import CliRunner

from compress_gym.making import train_translation as train
from compress_gym.making import weight_shards as shards
from compress_gym.making.weight_shards import load_shards, save_shards
from compress_gym.networks.supertransformer import Transformer
from compress_gym.support.errors import AssetError


def test_the_command_trains_and_writes_assets(task, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_VALIDATE_UPDATES", 50)
    # Registered after the command read the names.
    monkeypatch.setattr(train.main.params[0], "type", train.click.Choice(["tiny"]))
    out, checkpoint = tmp_path / "out", tmp_path / "checkpoint.safetensors"
    arguments = ["tiny", "--out", str(out), "--threads", "1", "--no-bf16", "--updates", "50"]
    result = CliRunner().invoke(train.main, [*arguments, "--checkpoint", str(checkpoint)], catch_exceptions=False)
    assert result.exit_code == 0 and "validation loss" in result.output and "50 updates" in result.output
    card = json.loads((out / "weights.json").read_text())
    assert card["recipe"]["updates_done"] == 50 and card["space"] == json.loads(json.dumps(task.space.to_json()))
    assert set(card["scores"]["largest"]) == {
        "validation_bleu", "test_bleu", "signature", "validation_loss", "test_loss"
    }  # fmt: skip
    assert "non-commercial research" in card["terms"] and (out / "weights.safetensors").stat().st_size < 2e5
    lines = (out / "training.csv").read_text().splitlines()
    assert lines[0].startswith("updates,training_loss") and lines[1].startswith("50,")

    folder = tmp_path / "shards"
    vocabulary = out / "vocabulary.bpe"
    result = CliRunner().invoke(shards.main, [str(checkpoint), str(vocabulary), str(folder)], catch_exceptions=False)
    assert "50 updates, 1 shards" in result.output
    learnt = vocabulary.read_bytes()
    vocabulary.write_text("another")
    again = [*arguments, "--updates", "1", "--warm-start", str(folder)]
    result = CliRunner().invoke(train.main, again, catch_exceptions=False)
    warm = json.loads((out / "weights.json").read_text())
    assert vocabulary.read_bytes() == learnt
    assert warm["recipe"]["warm_start"] == str(folder)
    # One update of a small learning rate leaves the loss where it was.
    loss = "validation_loss"
    assert warm["scores"]["largest"][loss] == pytest.approx(card["scores"]["largest"][loss], rel=0.02)


@pytest.fixture
def stored(task, tmp_path):
    torch.manual_seed(1)
    module = Transformer(task.space.largest)
    paths = save_shards(module.state_dict(), tmp_path, {"what": "test"}, limit=20_000)
    return module, tmp_path, paths


def test_shards_are_small_and_complete(task, stored):
    module, folder, paths = stored
    assert len(paths) > 2 and all(p.stat().st_size < 25_000 for p in paths)
    loaded = Transformer(task.space.largest)
    load_shards(loaded, folder)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor.half().float(), loaded.state_dict()[name])
    assert save_shards(module.state_dict(), folder, {}) == sorted(folder.glob("*.safetensors"))


def test_missing_and_foreign_shards_are_refused(task, stored):
    _, folder, paths = stored
    with pytest.raises(AssetError, match="tensors differ from the network's"):
        load_shards(Transformer(task.space.smallest), folder)
    paths[0].write_bytes(b"x")
    with pytest.raises(AssetError, match="checksum differs"):
        load_shards(Transformer(task.space.largest), folder)
    paths[0].unlink()
    with pytest.raises(AssetError, match="shards of weights are there; expected weights-1-of-N"):
        load_shards(Transformer(task.space.largest), folder)
