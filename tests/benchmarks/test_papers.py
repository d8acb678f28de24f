from __future__ import annotations

import pytest

from benchmarks.papers import amc
from compress_gym.tasks import get_task

TASK = "digits-cnn"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(amc, "EPISODES", 6)
    monkeypatch.setattr(amc, "FINETUNE_EPOCHS", 1)


@pytest.mark.parametrize("method", ["uniform", "random", "ddpg-amc"])
def test_a_row_is_searched_live_once_and_scored_on_test_images(method, tmp_path, monkeypatch):
    setting = amc.Setting(TASK, method)
    found = amc.find(setting, tmp_path)
    assert found["evaluations"] == (1 if method == "uniform" else 6)
    assert found["macs"] <= 0.5 * (1 + 1e-6) and found["seconds"] > 0
    task = get_task(TASK)
    row = task.channel_decisions().encode(found["strategy"])
    assert found["validation_accuracy"] == task.live()(row)[0]
    scores = amc.score(setting, found, tmp_path, finetune=False)
    assert scores == {"test_accuracy": task.live(split="test")(row)[0], "finetuned_test_accuracy": None}
    # A second call reads what is there.
    monkeypatch.setattr(amc, "channel_prune_problem", None)
    assert amc.find(setting, tmp_path) == found


def test_fine_tuning_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(amc, "FINETUNE_EPOCHS", 8)  # of fifteen updates each
    setting = amc.Setting(TASK, "uniform")
    scores = amc.score(setting, amc.find(setting, tmp_path), tmp_path, finetune=True)
    assert scores["finetuned_test_accuracy"] > scores["test_accuracy"]


def test_the_table_has_measured_and_recalled_numbers():
    row = {"validation_accuracy": 0.84, "test_accuracy": 0.83, "finetuned_test_accuracy": None, "seconds": 12.3}
    rows = [{"method": method, **row} for method in (*amc.SEARCHES, *amc.LEARNERS)]
    text = amc.table(rows, "cifar10-plain20")
    assert "| uniform | 84.0 | 83.0 |  | 12 | 84.0 / 83.9 / 89.7 |" in text
    assert "| random | 84.0 | 83.0 |  | 12 |  |" in text and "recalled" in text
