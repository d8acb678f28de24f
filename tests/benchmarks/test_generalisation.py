from __future__ import annotations

import json

from benchmarks.search.generalisation import Transfer, markdown, transfers
from benchmarks.search.generalisation import main as generalisation_command
from benchmarks.search.references import Reference
from benchmarks.search.suites import BenchmarkProblem
from tests.helpers import run_here


def test_what_is_tested_is_left_out_of_the_training():
    one, other, alone = (BenchmarkProblem(*names) for names in (("A-v0", "x"), ("A-v0", "y"), ("B-v0", "z")))
    assert transfers([one, other, alone]) == [(one, ("y",)), (one, ("x",)), (other, ("x",)), (other, ("y",))]


def test_the_table_by_hand():
    transfer = Transfer("A-v0/x", ("y",), (0.5, 0.5), Reference(0.4, 0.8, "true optimum"), 0.3)
    assert "| A-v0/x | y | 0.25 [0.25, 0.25] | -0.25 |" in markdown([transfer], 100, 2)


def test_a_short_run_tests_every_task(tmp_path, monkeypatch, capsys):
    arguments = ["--seeds", "2", "--episodes", "1", "--out", tmp_path]
    assert run_here(generalisation_command, arguments, monkeypatch, capsys)[0] == 0
    rows = json.loads((tmp_path / "generalisation.json").read_text())["rows"]
    assert len(rows) >= 4 and all(len(row["accuracies"]) == 2 for row in rows)
    assert all(0 < accuracy < 1 for row in rows for accuracy in row["accuracies"])
