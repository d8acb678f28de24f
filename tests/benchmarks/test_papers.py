from __future__ import annotations

import json

import pytest

from benchmarks.papers import __main__ as papers
from benchmarks.papers import amc
from compress_gym.kinds import get_case
from compress_gym.support.processor import bf16_supported
from tests.helpers import run_here

TASK = "digits-cnn"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(amc, "EPISODES", 6)
    monkeypatch.setattr(amc, "FINETUNE_EPOCHS", 1)


@pytest.mark.parametrize("method", ["uniform", "random", "ddpg-amc"])
def test_a_row_is_searched_live_once_and_scored_on_test_images(method, tmp_path, monkeypatch):
    setting = amc.AMCSetting(TASK, method)
    found = amc.find(setting, tmp_path)
    assert found["evaluations"] == (1 if method == "uniform" else 6)
    assert found["macs"] <= 0.5 * (1 + 1e-6) and found["seconds"] > 0
    case = get_case("ChannelPrune-v0", TASK)
    row = case.decisions().encode(found["strategy"])
    assert found["validation_accuracy"] == case.scorer()(row)[0]
    scores = amc.score(setting, found, tmp_path, finetune=False)
    assert scores == {"test_accuracy": case.scorer(split="test")(row)[0], "finetuned_test_accuracy": None}
    # A second call reads what is there.
    monkeypatch.setattr(amc, "search", None)
    assert amc.find(setting, tmp_path) == found


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_what_is_searched_in_bfloat16_is_reported_in_float32(tmp_path):
    case, setting = get_case("ChannelPrune-v0", TASK), amc.AMCSetting(TASK, "uniform", bf16=True)
    found = amc.find(setting, tmp_path)
    row = case.decisions().encode(found["strategy"])
    assert found["precision"] == "bf16" and found["validation_accuracy"] == case.scorer()(row)[0]
    scores = amc.score(setting, found, tmp_path, finetune=True)
    assert scores["test_accuracy"] == case.scorer(split="test")(row)[0]
    assert scores["finetune_precision"] == "bf16" and scores["finetuned_test_accuracy"] > 0


def test_another_strategy_has_no_scores_of_the_first(tmp_path):
    setting = amc.AMCSetting(TASK, "uniform")
    found = amc.find(setting, tmp_path)
    first = amc.score(setting, found, tmp_path, finetune=False)
    decisions = get_case("ChannelPrune-v0", TASK).decisions().decisions
    narrow = {**found, "strategy": {decision.name: decision.values[0] for decision in decisions}}
    assert amc.score(setting, narrow, tmp_path, finetune=False) != first


def test_the_command_writes_a_table_and_refuses_a_folder_of_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(papers, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(amc, "SEARCHES", ("uniform", "random"))
    monkeypatch.setattr(amc, "LEARNERS", ("ddpg-amc",))
    arguments = ["amc", "--task", TASK, "--only-best", 1, "--no-bf16", "--work", tmp_path / "work"]
    code, text, _ = run_here(papers.main, arguments, monkeypatch, capsys)
    facts = json.loads((tmp_path / "results" / f"amc-{TASK}.json").read_text())
    assert code == 0 and (tmp_path / "results" / f"amc-{TASK}.md").read_text().strip() in text
    assert [row["method"] for row in facts["rows"]] == ["uniform", "random", "ddpg-amc"]
    tuned = [row for row in facts["rows"] if row["finetuned_test_accuracy"] is not None]
    assert len(tuned) == 1 and tuned[0]["validation_accuracy"] == max(r["validation_accuracy"] for r in facts["rows"])
    assert "scored live in fp32; what was found is scored in fp32. Fine-tuned for 1 epochs in fp32.\n" in text
    monkeypatch.setattr(amc, "EPISODES", 7)
    code, _, errors = run_here(papers.main, arguments, monkeypatch, capsys)
    assert code == 2 and "pieces of another measurement" in errors
    (tmp_path / "work" / TASK / "identity.json").unlink()
    code, _, errors = run_here(papers.main, arguments, monkeypatch, capsys)
    assert code == 2 and "do not say what they are of; choose another --work" in errors
    code, _, errors = run_here(papers.main, ["amc", "--task", "cifar10-vgg16"], monkeypatch, capsys)
    assert code == 2 and "train them with: compress-gym train cifar10-vgg16" in errors


def test_fine_tuning_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(amc, "FINETUNE_EPOCHS", 8)  # of fifteen updates each
    setting = amc.AMCSetting(TASK, "uniform")
    scores = amc.score(setting, amc.find(setting, tmp_path), tmp_path, finetune=True)
    assert scores["finetuned_test_accuracy"] > scores["test_accuracy"]


def test_the_table_has_measured_and_recalled_numbers():
    row = {"validation_accuracy": 0.84, "test_accuracy": 0.83, "finetuned_test_accuracy": None, "seconds": 12.3}
    row["precision"] = "bf16"
    rows = [{"method": method, **row} for method in (*amc.SEARCHES, *amc.LEARNERS)]
    text = amc.table(rows, "cifar10-plain20")
    assert "| uniform | 84.0 | 83.0 |  | 12 | 84.0 / 83.9 / 89.7 |" in text
    assert "| random | 84.0 | 83.0 |  | 12 |  |" in text and "recalled" in text
    assert "scored live in bf16; what was found is scored in fp32. The last column" in text
