"""HAT's comparison on the tiny task: hand-made, searched and learnt transformers, scored and resumed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.papers import __main__ as command
from benchmarks.papers import hat
from benchmarks.papers.hat import HATSetting, Scratch, find, narrower, score, shallower, table
from compress_gym.kinds import problem_of
from compress_gym.kinds.transformer_nas import KIND


class Own:
    """Has what HAT's reward needs."""

    source, baseline, columns = "own", 1.0, ("accuracy", "valid_loss")

    def __call__(self, strategies):
        return strategies.mean(axis=1) / 4

    def scores(self, strategies, columns):
        found = {"accuracy": self(strategies), "valid_loss": 1 - self(strategies)}
        return {name: found[name] for name in columns}


SETTINGS = {"cost": "macs", "accuracy": Own()}


@pytest.fixture
def problem():
    """Its device is the MACs' count, its accuracy the mean choice."""
    return problem_of(KIND, "multi30k-ende", None, budget=0.7, **SETTINGS)


def test_hand_made_transformers_are_the_largest_of_their_kind_that_fit(problem):
    highest = problem.decisions.sizes - 1
    depth = problem.decisions.names.index("decoder.layers")
    row, deeper = shallower(problem), highest.copy()
    deeper[depth] = row[depth]
    assert np.array_equal(row, problem.decisions.check(deeper)[0]) and row[depth] < highest[depth]
    deeper[depth] += 1
    assert problem.evaluate([row, deeper]).feasible.tolist() == [True, False]
    row = narrower(problem)
    assert row[depth] == highest[depth]
    assert problem.evaluate([row, np.minimum(row + 1, highest)]).feasible.tolist() == [True, False]
    with pytest.raises(ValueError, match="no narrower transformer fits budget=0.2000"):
        narrower(problem.replace(budget=0.2))


@pytest.mark.parametrize("method", ["shallower", "hat-evolution", "ddpg"])
def test_rows_are_found_once_and_scored(case, tmp_path, method, monkeypatch):
    setting = HATSetting("tiny-translation", None, method, 0.8, evaluations=30)
    found = find(setting, tmp_path, **SETTINGS)
    assert found["cost_ratio"] <= 0.8 and found["evaluations"] == (1 if method == "shallower" else 30)
    monkeypatch.setattr(hat, "search", None)
    assert find(setting, tmp_path, **SETTINGS) == found
    scores = score(
        "tiny-translation", found["strategy"], tmp_path, Scratch(minutes=0.001) if method == "shallower" else None
    )
    assert ("scratch_test_bleu" in scores) == (method == "shallower")
    inherited = {name: value for name, value in scores.items() if name not in hat._SCRATCH}
    assert score("tiny-translation", found["strategy"], tmp_path, None) == inherited
    text = table(
        [
            {"method": method, "budget": 0.8, "predicted_of_seeds": [0.5], **found, **scores},
            {"method": "x", "budget": 0.5, "error": "no"},
        ],
        "tiny-translation",
    )
    assert f"| 0.800 | {method} |" in text and "| 0.500 | x | no |" in text


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (["--minutes", "0.001"], "0.001 minutes of"),
        (["--updates", "2"], "2 updates of"),
        (["--no-scratch"], "from scratch was not measured"),
    ],
)
def test_the_command_writes_the_table(case, tmp_path, monkeypatch, length, told):
    monkeypatch.setattr(hat, "COMPARED", (*hat.HAND_MADE, *hat.SEARCHES))
    monkeypatch.setattr(hat, "BUDGETS", (0.8,))
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(
        hat,
        "find",
        lambda setting, folder: find(
            HATSetting("tiny-translation", None, setting.method, setting.budget, 20, setting.seed), folder, **SETTINGS
        ),
    )
    arguments = ["hat", "--task", "tiny-translation", *length, "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    facts = json.loads((tmp_path / "hat-tiny-translation.json").read_text())
    assert [row["method"] for row in facts["rows"]] == ["largest", *hat.HAND_MADE, *hat.SEARCHES]
    assert facts["rows"][0]["cost_ratio"] == 1
    assert [len(row["predicted_of_seeds"]) for row in facts["rows"]] == [1, 1, 1, 3, 3, 3]
    assert facts["rows"][3]["predicted_accuracy"] == max(facts["rows"][3]["predicted_of_seeds"])
    trained = [row["method"] for row in facts["rows"] if "scratch_test_bleu" in row]
    assert trained[:2] == ([] if length == ["--no-scratch"] else ["largest", "shallower"])
    text = (tmp_path / "hat-tiny-translation.md").read_text()
    assert text in result.output and told in text
