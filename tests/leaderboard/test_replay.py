"""Each verdict by an example, and the exit code that says it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from leaderboard.__main__ import cli
from leaderboard.replay import replay
from leaderboard.schema import SCHEMA, json_schema
from leaderboard.tracks import TRACKS as SHIPPED
from leaderboard.tracks import load_tracks
from leaderboard.verdicts import Verdict, worst
from tests.helpers import run_here
from tests.leaderboard.examples import BOTH, CLASS, HELD_OUT, LATER, SURROGATE, TRACKS, changed, valid, written

ROOT = Path(__file__).parents[2]
TOML = """
[class]
title = "a class's track"
env = "compress_gym/ChannelPrune-v0"
tasks = ["digits-cnn"]
device = "epyc-milan-ort-fp32"
cost = "latency_ms"
budget = 0.6
evaluations = 50
seeds = 2
"""


def live_of(submission, offset=0.0):
    """Scores that are those of the table, and test accuracies beside them."""

    def score(track, task, strategies):
        validation = track.problem(task).accuracy(strategies)
        return np.stack([validation + offset, np.full(len(strategies), 0.5)], axis=1)

    return score


def uncompressed(track, task):
    problem = track.problem(task)
    return problem.describe(problem.decisions.uncompressed)


GOOD = valid()
EXAMPLES = {
    "by table": (GOOD, None, Verdict.BY_TABLE),
    "surrogate": (valid(SURROGATE), None, Verdict.COSTS_ONLY),
    "one of two by surrogate": (valid(BOTH), None, Verdict.COSTS_ONLY),
    "live": (GOOD, live_of(GOOD), Verdict.LIVE),
    "not the format": (changed(GOOD, "seed", to=1), None, Verdict.MALFORMED),
    "seed missing": (changed(GOOD, "results", to=GOOD["results"][:1]), None, Verdict.INCOMPLETE),
    "task missing": (changed(valid(BOTH), "results", to=valid(BOTH)["results"][:2]), None, Verdict.INCOMPLETE),
    "origin missing": (changed(valid(BOTH), "origins", to=GOOD["origins"]), None, Verdict.INCOMPLETE),
    "over budget": (
        changed(GOOD, "results", 1, "strategy", to=uncompressed(CLASS, "digits-cnn")),
        None,
        Verdict.OVER_BUDGET,
    ),
    "over allowance": (changed(GOOD, "results", 1, "evaluations", to=51), None, Verdict.OVER_ALLOWANCE),
    "trained on held-out tasks": (
        changed(valid(HELD_OUT), "trained_on", to=["digits-cnn"]),
        None,
        Verdict.OVER_ALLOWANCE,
    ),
    "validation 0.1 point too high": (
        changed(GOOD, "results", 0, "validation_accuracy", to=GOOD["results"][0]["validation_accuracy"] + 0.001),
        None,
        Verdict.DIFFERS,
    ),
    "cost too low": (changed(GOOD, "results", 0, "cost", to=0.99 * GOOD["results"][0]["cost"]), None, Verdict.DIFFERS),
    "live validation 0.1 point too high": (
        changed(GOOD, "origins", "digits-cnn", "accuracy_source", to="live"),
        live_of(GOOD, offset=-0.001),
        Verdict.DIFFERS,
    ),
    "live validation 0.09 points too high": (
        changed(GOOD, "origins", "digits-cnn", "accuracy_source", to="live"),
        live_of(GOOD, offset=-0.0009),
        Verdict.LIVE,
    ),
    "test 0.1 point too high": (
        changed(GOOD, "results", 1, "test_accuracy", to=0.501),
        live_of(GOOD),
        Verdict.DIFFERS,
    ),
    "test as it is": (changed(GOOD, "results", 1, "test_accuracy", to=0.5), live_of(GOOD), Verdict.LIVE),
    "another source": (
        changed(GOOD, "origins", "digits-cnn", "accuracy_source", to="surrogate"),
        None,
        Verdict.DIFFERS,
    ),
    "not deterministic": (changed(GOOD, "deterministic", to=True), None, Verdict.DIFFERS),
    "said to be live, but not what the table says": (
        changed(
            changed(GOOD, "origins", "digits-cnn", "accuracy_source", to="live"),
            *("results", 0, "validation_accuracy"),
            to=1.0,
        ),
        None,
        Verdict.DIFFERS,
    ),
    "said to be live, and what the table says": (
        changed(GOOD, "origins", "digits-cnn", "accuracy_source", to="live"),
        None,
        Verdict.BY_TABLE,
    ),
    "said to be live on a surrogate's task": (
        changed(valid(SURROGATE), "origins", "cifar10-resnet20", "accuracy_source", to="live"),
        None,
        Verdict.COSTS_ONLY,
    ),
    "a table that live scores do not confirm": (GOOD, live_of(GOOD, offset=-0.001), Verdict.DIFFERS),
    "earlier environment": (changed(GOOD, "track", to="later"), None, Verdict.RETIRED),
    "earlier task": (changed(GOOD, "origins", "digits-cnn", "task_version", to=0), None, Verdict.RETIRED),
    "another table of the device": (
        changed(GOOD, "origins", "digits-cnn", "device_hash", to="0" * 16),
        None,
        Verdict.RETIRED,
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_verdict(example, tmp_path):
    submission, live, verdict = EXAMPLES[example]
    replayed = replay(written(tmp_path / submission["track"], submission), {**TRACKS, "later": LATER}, live)
    assert replayed.verdict is verdict, replayed.reasons
    assert replayed.reasons or verdict.listed
    # What is listed has a reason where a stated number was not compared with anything.
    unchecked = "checked with --live alone" in " ".join(replayed.reasons)
    assert unchecked is (example == "said to be live on a surrogate's task")


@pytest.mark.parametrize("command", ["verify", "verify --live --record"])
def test_an_entry_in_another_tracks_folder_overwrites_no_record(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "tracks.toml").write_text(TOML)
    path = written(tmp_path / "elsewhere", GOOD)
    places = ["--tracks", tmp_path / "tracks.toml", "--records", tmp_path / "verified", "--work", tmp_path / "work"]
    code, out, _ = run_here(cli, [*command.split(), path, *places], monkeypatch, capsys)
    assert code == Verdict.MALFORMED.exit_code and "lies in a folder of another name" in out
    assert not (tmp_path / "verified").exists()


def test_the_page_for_submitters_tells_every_code():
    text = (ROOT / "leaderboard" / "TEMPLATE.md").read_text()
    rows = dict(re.findall(r"\| (\d+) \| ([a-z ,]+) \|", text))
    assert {int(code): name for code, name in rows.items()} == {v.exit_code: v.value for v in Verdict}


def test_every_verdict_has_an_example_and_a_code_of_its_own():
    assert {verdict for *_, verdict in EXAMPLES.values()} == set(Verdict)
    codes = [verdict.exit_code for verdict in Verdict]
    assert len(set(codes)) == len(codes) and not {1, 2, 130} & set(codes)


@pytest.mark.parametrize(
    "example", [n for n, (values, live, _) in EXAMPLES.items() if live is None and values["track"] == "class"]
)
def test_the_command_exits_with_the_verdicts_code(example, tmp_path, capsys):
    submission, _, verdict = EXAMPLES[example]
    (tmp_path / "tracks.toml").write_text(TOML)
    path = written(tmp_path / "class", submission)
    code = cli.main(["verify", str(path), "--tracks", str(tmp_path / "tracks.toml")], standalone_mode=False)
    assert code == verdict.exit_code
    assert capsys.readouterr().out.startswith(f"{path}: {verdict.value}\n")


def test_of_several_files_the_worst_counts(tmp_path):
    (tmp_path / "tracks.toml").write_text(TOML)
    files = [
        written(tmp_path / str(n) / "class", value)
        for n, value in enumerate([GOOD, changed(GOOD, "results", to=[]), GOOD])
    ]
    command = [sys.executable, "-m", "leaderboard", "verify", "--json", "--tracks", tmp_path / "tracks.toml", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = [row["verdict"] for row in json.loads(done.stdout)]
    assert told == ["verified by table", "malformed", "verified by table"]
    assert done.returncode == Verdict.MALFORMED.exit_code == worst([Verdict.LIVE, Verdict.MALFORMED]).exit_code


def test_a_missing_extra_is_told():
    code = "import sys, runpy; sys.modules['jinja2'] = None; runpy.run_module('leaderboard', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'compress_gym[leaderboard]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_changed_assets_are_named_where_accuracies_differ(tmp_path):
    submission = changed(GOOD, "origins", "digits-cnn", "asset_hash", to="0" * 16)
    assert replay(written(tmp_path / "class", submission), TRACKS).verdict is Verdict.BY_TABLE
    submission["results"][0]["validation_accuracy"] += 0.01
    assert "its assets have changed" in " ".join(replay(written(tmp_path / "class", submission), TRACKS).reasons)


def test_the_published_schema_is_the_generated_one():
    assert SCHEMA.read_text() == json_schema()


def test_shipped_tracks_build_their_problems():
    for track in load_tracks().values():
        for task in track.tasks:
            problem = track.problem(task)
            assert (problem.cost, problem.budget) == (track.cost, track.budget)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("digits-cnn", "digits-cn"), "Did you mean 'digits-cnn'"),
        (("budget = 0.6", "budget = 6"), "budget"),
        (("seeds = 2", "seed = 2"), "seeds"),
        (("[class]", "[../class]"), "TOML"),
        (("[class]", '["../class"]'), "name"),
        (("title", "title ="), "TOML"),
    ],
)
def test_damaged_tracks_are_refused(change, words, tmp_path):
    (tmp_path / "tracks.toml").write_text(TOML.replace(*change))
    with pytest.raises((ValueError, KeyError), match="tracks.toml") as caught:
        load_tracks(tmp_path / "tracks.toml")
    assert words in str(caught.value)


def test_an_unregistered_environment_is_refused():
    track = CLASS.model_copy(update={"env": "compress_gym/Nonsense-v0"})
    with pytest.raises(ValueError, match="Nonsense"):
        track.problem("digits-cnn")


def test_the_shipped_file_of_tracks_is_complete():
    assert len(load_tracks(SHIPPED)) >= 3
    assert all(track.seeds == 10 for track in load_tracks(SHIPPED).values())
