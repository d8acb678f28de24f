from __future__ import annotations

import csv
import json

import numpy as np

from benchmarks.speed import __main__ as speed
from benchmarks.speed import costs, environments, learners, live, start_up
from compress_gym.kinds import KINDS, get_case, scored_tasks
from compress_gym.support.processor import bf16_supported, one_thread
from tests.helpers import run_here

CASE = get_case("ChannelPrune-v0", "digits-cnn")


def test_the_evaluators_that_are_compared_agree():
    """Masked at full size, channels first, unfolded: the same answers but for rounding."""
    plain = live._plain(CASE, 400)
    evaluate = CASE.scorer(images=400).count_correct
    with one_thread():
        for strategy in (CASE.decisions().uncompressed[None], *live.half_macs(CASE, 3)[:, None]):
            assert abs(plain(strategy) - int(evaluate(strategy)[0])) <= 2


def test_the_report_of_live_evaluation(monkeypatch):
    monkeypatch.setattr(live, "REPETITIONS", 1)
    with one_thread():
        rows = live.compare(CASE, 100)
    names = ["plain", "live"] + ["live, bf16"] * bf16_supported()
    assert [(row["case"], row["evaluator"]) for row in rows] == [
        (case, name) for case in ("uncompressed", "half the MACs") for name in names
    ]
    assert all(row["times_plain"] == 1.0 for row in rows if row["evaluator"] == "plain")
    whole = CASE.scorer(images=100)(CASE.decisions().uncompressed)[0]
    assert next(row["accuracy"] for row in rows if row["evaluator"] == "live") == whole


def test_half_the_macs_is_half():
    terms = CASE.cost_terms()
    rows = np.concatenate([live.half_macs(CASE, 5), CASE.decisions().uncompressed[None]])
    macs = terms.evaluate(rows)[:, terms.column("macs")]
    assert np.abs(macs[:-1] / macs[-1] / 0.5 - 1).max() <= 0.05


def test_the_report_of_cost_evaluation(monkeypatch):
    monkeypatch.setattr(costs, "STRATEGIES", 1000)
    monkeypatch.setattr(costs, "REPETITIONS", 2)
    rows = costs.measure(CASE, None)
    assert [row["case"] for row in rows] == ["bounded cost", "all costs", "compiling the cost terms, seconds"]
    assert rows[0]["strategies_per_second"] > 0
    assert rows[-1]["median"] > 5e-4, "compiled terms were read from the cache"


def test_the_report_of_environments(monkeypatch, tmp_path):
    for name, value in (("SCALAR_STEPS", 40), ("VECTOR_STEPS", 8), ("NUM_ENVS", 16)):
        monkeypatch.setattr(environments, name, value)
    rows = environments.measure(repetitions=2)
    assert len(rows) == len(environments.cases())
    assert {row["kind"] for row in rows} == {"unwrapped", "gym.make", "vector of 16"}
    assert {row["task"] for row in rows} >= {task for kind in KINDS for task in scored_tasks(kind)}
    for row in rows:
        assert row["ns_a_step"] >= row["p10_ns"] > 0 and row["steps_a_second"] > 0
        assert (row["times_cartpole"] == 1.0) or row["environment"] != environments.CARTPOLE
    environments.draw(rows, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 1000


def test_the_command_writes_tables_a_picture_and_csv(monkeypatch, tmp_path, capsys):
    for name, value in (("SCALAR_STEPS", 20), ("VECTOR_STEPS", 4), ("NUM_ENVS", 8)):
        monkeypatch.setattr(environments, name, value)
    monkeypatch.setattr(environments, "_first_episode", lambda *_: 0.5)
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    code, text, _ = run_here(speed.main, [], monkeypatch, capsys)
    assert code == 0 and (tmp_path / "environments.md").read_text().strip() in text
    facts = json.loads((tmp_path / "environments.json").read_text())
    assert facts["command"] == "python -m benchmarks.speed"
    for stem, key in (("environments", "rows"), ("start-up", "start_up")):
        with (tmp_path / f"{stem}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["environment"] for row in rows] == [row["environment"] for row in facts[key]]
    assert (tmp_path / "environments.png").read_bytes().startswith(b"\x89PNG")


def test_a_first_episode_is_timed_in_a_process_of_its_own(tmp_path):
    assert 0 < environments._first_episode("compress_gym/ChannelPrune-v0", "digits-cnn", tmp_path) < 300


def test_the_report_of_start_up(monkeypatch, tmp_path, capsys):
    def pretended(name, cache, checkout=start_up.HERE):
        assert cache.is_dir()
        return (4.0, 3.0) if checkout == start_up.HERE else (8.0, 6.0)

    monkeypatch.setattr(start_up, "first_episode", pretended)
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    code, _, _ = run_here(speed.main, ["--start-up", "--before", str(tmp_path)], monkeypatch, capsys)
    rows = json.loads((tmp_path / "start-up.json").read_text())["rows"]
    assert code == 0 and (tmp_path / "start-up.md").exists()
    assert [row["checkout"] for row in rows] == ["before", "now"] * len(KINDS)
    assert {row["times_before"] for row in rows} == {1.0, 0.5}
    assert "times_before" not in start_up.measure(repetitions=1)[0]


def test_a_first_episode_is_timed_as_a_whole(tmp_path):
    seconds, of_a_processor = start_up.first_episode("compress_gym/ChannelPrune-v0", tmp_path)
    assert 0 < of_a_processor and 0 < seconds < 300 and any(tmp_path.rglob("*.nbi"))


def test_the_report_of_learners(monkeypatch):
    for name, value in (("SCALAR_ENVS", 2), ("NATIVE_ENVS", 4), ("EPISODES", 1), ("OFF_POLICY_EPISODES", 3)):
        monkeypatch.setattr(learners, name, value)
    with one_thread():
        rows = learners.compare_learners(repetitions=1)
    assert [row["environments"] for row in rows] == ["DummyVecEnv of 2", "CompressionVecEnv of 4", "1"]
    assert rows[0]["times_dummy"] == 1.0 and 0 < rows[2]["learner_share"] < 1
