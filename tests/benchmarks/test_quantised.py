from __future__ import annotations

import json

import pytest

from benchmarks import quantised
from compress_gym.kinds import get_case
from tests.helpers import run_here

CASE = get_case("MixedQuant-v0", "digits-cnn")
STORED = sorted(quantised.RESULTS.glob("*.json"))


def test_equal_bits_are_those_of_the_measured_table(tmp_path, monkeypatch, capsys):
    arguments = ["digits-cnn", "--bits", "8", "--bits", "2", "--work", tmp_path / "work", "--out", tmp_path]
    code, out, err = run_here(quantised.main, arguments, monkeypatch, capsys)
    assert code == 0, err
    facts = json.loads((tmp_path / "digits-cnn.json").read_text())
    whole, eight, two = facts["rows"]
    card = CASE.task.weights_card()
    assert facts["as_trained"]["validation"] == pytest.approx(card["validation_accuracy"], abs=1 / 400)
    measured, decisions = CASE.measured(), CASE.decisions()
    for row in (eight, two):
        strategy = {d.name: row["bits"] for d in decisions.decisions}
        expected = measured(decisions.encode(strategy))[0]
        assert row["before"]["validation"] == pytest.approx(expected, abs=2 / 400)
    assert eight["after"]["test"] > 0.95 > two["after"]["test"] > 0.5
    assert whole["before"]["validation"] == pytest.approx(0.99, abs=1 / 400) and "| 2 | " in out


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_the_stored_report_is_that_of_the_stored_scores(path):
    facts = json.loads(path.read_text())
    assert path.with_suffix(".md").read_text() == quantised.report(path.stem, facts["epochs"], facts)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_eight_bits_lose_a_third_of_a_point_at_most_and_four_two_points_after_an_epoch(path):
    """On test images, of which there are ten thousand."""
    facts = json.loads(path.read_text())
    bits, whole = {row["bits"]: row for row in facts["rows"]}, facts["as_trained"]["test"]
    assert whole - bits[8]["before"]["test"] <= 0.003
    assert 4 not in bits or whole - bits[4]["after"]["test"] <= 0.02


def test_without_training_there_is_nothing_after_it(tmp_path):
    found = quantised.compare(CASE.task, (8,), 0, tmp_path)
    assert "after" not in found["rows"][1]
    text = quantised.report("digits-cnn", 0, found)
    assert "before fine-tuning. With" in text and text.splitlines()[-1].endswith("|  |")
