"""From run folders to a verified submission, as a newcomer does it."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from agents.search.__main__ import main as search
from agents.search.__main__ import run_search
from leaderboard.__main__ import cli
from leaderboard.live import StoredScores
from leaderboard.records import counts, read_record, write_record
from leaderboard.replay import replay
from leaderboard.schema import Submission
from leaderboard.submit import write_submission
from leaderboard.tracks import load_tracks
from leaderboard.verdicts import Verdict
from tests.helpers import run_here
from tests.leaderboard.examples import valid
from tests.leaderboard.test_replay import TOML

SETTINGS = {"task": "digits-cnn", "budget": 0.6, "budget_rule": "clip", "reward": "accuracy"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        run_search("random", "ChannelPrune-v0", SETTINGS, 20, seed, folder / str(seed))
    return [folder / "0", folder / "1"]


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "tracks.toml").write_text(TOML)
    places = ["--submissions", tmp_path / "submissions", "--tracks", tmp_path / "tracks.toml"]
    return ["--author", "Jürgen Groß", *places]


def test_submit_then_verify_then_record(runs, arguments, tmp_path, monkeypatch, capsys):
    code, out, err = run_here(cli, ["submit", *runs, "--name", "mine", *arguments], monkeypatch, capsys)
    assert code == 0, err
    path = tmp_path / "submissions" / "class" / "mine.json"
    assert str(path) in out and json.loads(path.read_text())["authors"] == ["Jürgen Groß"]
    code, _, err = run_here(cli, ["submit", *runs, "--name", "mine", *arguments], monkeypatch, capsys)
    assert code == 2 and "exists already" in err
    tracks = load_tracks(tmp_path / "tracks.toml")
    scores = StoredScores(tmp_path / "work")
    replayed = replay(path, tracks, scores)
    assert replayed.verdict is Verdict.LIVE, replayed.reasons
    best = json.loads((runs[1] / "best_strategy.json").read_text())
    assert replayed.results[1].validation == replayed.results[1].live[0] == best["accuracy"]
    write_record(tmp_path / "verified", replayed)
    record = read_record(tmp_path / "verified", replayed)
    assert record is not None and counts(record, replayed)
    path.write_text(path.read_text().replace("Jürgen", "Jurgen"))
    assert read_record(tmp_path / "verified", replay(path, tracks)) is None


def test_a_submission_is_replaced_where_that_is_asked_for(tmp_path):
    submission = Submission.model_validate_json(json.dumps(valid()))
    path = write_submission(submission, tmp_path)
    other = submission.model_copy(update={"method": "another"})
    with pytest.raises(ValueError, match="exists already"):
        write_submission(other, tmp_path)
    assert json.loads(path.read_text())["method"] == "Random search"
    assert write_submission(other, tmp_path, replace=True) == path
    assert json.loads(path.read_text())["method"] == "another" and list(path.parent.iterdir()) == [path]


def test_missing_and_doubled_seeds_are_warned_of_at_once(runs, arguments, tmp_path, monkeypatch, capsys):
    chosen = [runs[0], runs[0], "--method-version", "my code 2"]
    code, _, err = run_here(cli, ["submit", *chosen, "--name", "mine", *arguments], monkeypatch, capsys)
    assert code == 0 and "seed 0 is given twice" in err and "seed 1 is missing" in err
    assert json.loads((tmp_path / "submissions" / "class" / "mine.json").read_text())["version"] == "my code 2"


def test_a_submissions_command_makes_its_first_run_again(arguments, tmp_path, monkeypatch, capsys):
    settings = {"task": "digits-cnn", "cost": "macs", "budget": 0.6, "budget_rule": "repair", "reward": "accuracy"}
    toml = tmp_path / "tracks.toml"
    toml.write_text(TOML.replace('cost = "latency_ms"', 'cost = "macs"').replace("seeds = 2", "seeds = 1"))
    run_search("random", "ChannelPrune-v0", settings, 20, 0, tmp_path / "run")
    code, _, err = run_here(cli, ["submit", tmp_path / "run", "--name", "mine", *arguments], monkeypatch, capsys)
    assert code == 0, err
    submitted = json.loads((tmp_path / "submissions" / "class" / "mine.json").read_text())
    _, _, module, *words = shlex.split(submitted["command"])
    code, _, err = run_here(search, [*words, "--out", tmp_path / "again"], monkeypatch, capsys)
    assert code == 0 and module == "agents.search", err
    best = [json.loads((tmp_path / run / "best_strategy.json").read_text()) for run in ("run", "again")]
    assert best[0] == best[1]


def test_test_accuracies_that_nobody_checked_are_named(runs, arguments, tmp_path, monkeypatch, capsys):
    assert run_here(cli, ["submit", *runs, "--name", "mine", *arguments], monkeypatch, capsys)[0] == 0
    path, tracks = tmp_path / "submissions" / "class" / "mine.json", load_tracks(tmp_path / "tracks.toml")
    assert replay(path, tracks).reasons == ()
    stated = json.loads(path.read_text())
    stated["results"][0]["test_accuracy"] = 1.0
    path.write_text(json.dumps(stated))
    replayed = replay(path, tracks)
    assert replayed.verdict is Verdict.BY_TABLE and "checked with --live alone" in replayed.reasons[0]


def test_live_scores_are_kept_and_a_cut_line_is_scored_again(tmp_path, runs):
    track = load_tracks(written_tracks(tmp_path))["class"]
    problem, scores = track.problem("digits-cnn"), StoredScores(tmp_path / "work")
    rows = problem.decisions.enumerate(0, 3)
    first = scores(track, "digits-cnn", rows)
    (path,) = (tmp_path / "work").glob("*.jsonl")
    whole = path.read_text()
    assert len(whole.splitlines()) == 3
    path.write_text(whole[:-10])
    assert (scores(track, "digits-cnn", rows) == first).all() and path.read_text() == whole


def written_tracks(folder):
    path = folder / "tracks.toml"
    path.write_text(TOML)
    return path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.yml").unlink(), "config.yml is missing"),
        (lambda folder: (folder / "best_strategy.json").unlink(), "no strategy within the budget"),
        (lambda folder: edit(folder / "best_strategy.json", '"finished": true', '"finished": false'), "interrupted"),
        (lambda folder: edit(folder / "config.yml", "method: random", "method: other"), "method is 'other'"),
        (lambda folder: edit(folder / "config.yml", "budget: 0.6", "budget: 0.4"), "no track"),
    ],
)
def test_runs_that_do_not_fit_are_refused(damage, words, runs, arguments, tmp_path, monkeypatch, capsys):
    copies = [shutil.copytree(run, tmp_path / "runs" / run.name) for run in runs]
    damage(copies[1])
    code, _, err = run_here(cli, ["submit", *copies, *arguments], monkeypatch, capsys)
    assert code == 2 and words in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--name", "../mine"], "name"),
        (["--link", "http://example.org"], "link"),
        (["--track", "olympics"], "known: class"),
        (["--tried", "nonsense"], "PARAMETER=RANGE"),
    ],
)
def test_bad_options_are_told(extra, words, runs, arguments, monkeypatch, capsys):
    code, _, err = run_here(cli, ["submit", *runs, *arguments, *extra], monkeypatch, capsys)
    assert code == 2 and words in err and "Traceback" not in err


def test_recording_needs_live(arguments, tmp_path, monkeypatch, capsys):
    code, _, err = run_here(cli, ["verify", "--record", tmp_path / "mine.json"], monkeypatch, capsys)
    assert code == 2 and "--live" in err


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
