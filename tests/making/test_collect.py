from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from compress_gym.data import Split
from compress_gym.data.corruptions import CORRUPTIONS
from compress_gym.kinds import get_case
from compress_gym.making import collect as collect_module
from compress_gym.making.collect import add_round, collect
from compress_gym.making.scoring import score
from compress_gym.problem.scores.measured import MeasuredAccuracy
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import read_card, read_json, write_arrays, write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions
from tests.helpers import write_tiny_task

SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from functools import partial
from compress_gym.kinds import get_case
from compress_gym.making import collect
from compress_gym.tasks import Task
collect.score = partial(collect.score, shard=2)
case = get_case("ChannelPrune", Task.read(Path(sys.argv[1])))
collect.collect(case, Path(sys.argv[2]), 1, 4000, 0, "test")
"""


def tiny(folder, env="ChannelPrune", **declared):
    return get_case(env, write_tiny_task(folder, **declared))


def start(folder: Path, out: Path) -> subprocess.Popen:
    script = folder / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, script, folder / "tiny", out], env=environment, stdout=subprocess.DEVNULL)


def test_a_killed_collection_ends_with_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(collect_module, "score", partial(score, shard=2))
    case = tiny(tmp_path)
    whole = collect(case, tmp_path / "whole", 1, 4000, 0, "test")
    process = start(tmp_path, tmp_path / "killed")
    shards = tmp_path / "killed" / "shards" / "all"
    deadline = time.monotonic() + 180
    while not list(shards.glob("0*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(shards.glob("0*.npz")), "nothing was written before the deadline"
    assert not (tmp_path / "killed" / "measured.npz").exists()
    first = min(shards.glob("0*.npz"))
    stamp = first.stat().st_mtime_ns
    resumed = start(tmp_path, tmp_path / "killed")
    while resumed.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # shards go once the table is written
            assert first.stat().st_mtime_ns == stamp, "a finished shard was measured again"
        time.sleep(0.05)
    assert resumed.wait() == 0
    assert (tmp_path / "killed" / "measured.npz").read_bytes() == whole.read_bytes()
    table = MeasuredAccuracy.load(whole, case.decisions())
    rows = case.decisions().enumerate()
    assert np.array_equal(table(rows), case.scorer()(rows))


def test_a_second_collector_is_refused(tmp_path):
    case = tiny(tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(ValueError, match="another process is collecting into"):
        score(case, case.decisions().enumerate(), Conditions("none"), folder, 1)


def test_scores_of_other_strategies_or_conditions_are_never_mixed_in(tmp_path):
    case = tiny(tmp_path)
    rows = case.decisions().enumerate()
    score(case, rows[:2], Conditions("none"), tmp_path / "shards", 1)
    for others, conditions in ((rows[:3], Conditions("none")), (rows[:2], Conditions("adaptive-bn"))):
        with pytest.raises(ValueError, match="another measurement"):
            score(case, others, conditions, tmp_path / "shards", 1)


def test_a_shard_of_another_length_is_refused(tmp_path):
    case = tiny(tmp_path)
    rows = case.decisions().enumerate()[:2]
    score(case, rows, Conditions("none"), tmp_path / "shards", 1)
    write_arrays(tmp_path / "shards" / "000000.npz", hardware=np.array("here"), correct=np.zeros((5, 2)))
    with pytest.raises(ValueError, match="000000.npz: holds 5 scores of correct, expected 2; remove the file"):
        score(case, rows, Conditions("none"), tmp_path / "shards", 1)


def test_a_sample_is_there_before_its_probes(tmp_path, monkeypatch):
    case = tiny(tmp_path)
    for name, value in (("ENUMERABLE", 1), ("PROBED", 2)):
        monkeypatch.setattr(collect_module, name, value)

    def out_of_time(case, rows, conditions, *arguments):
        if conditions.recovery != case.task.recovery:
            raise KeyboardInterrupt
        return score(case, rows, conditions, *arguments)

    with monkeypatch.context() as context:
        context.setattr(collect_module, "score", out_of_time)
        with pytest.raises(KeyboardInterrupt):
            collect(case, tmp_path / "out", 1, 4, 0, "first")
    path = tmp_path / "out" / "strategies.npz"
    begun = MeasuredStrategies.load(path, case.decisions())
    assert len(begun.strategies) == 4 and begun.probes == ()
    collect(case, tmp_path / "out", 1, 4, 0, "second")
    whole = MeasuredStrategies.load(path, case.decisions())
    assert np.array_equal(whole.correct, begun.correct) and len(whole.probes) == 3
    assert read_card(path)["commands"] == ["first", "second"]
    with pytest.raises(ValueError, match="exists already"):
        collect(case, tmp_path / "out", 1, 4, 0, "third")


def test_what_is_interrupted_between_file_and_card_goes_on(tmp_path, monkeypatch):
    case = tiny(tmp_path)
    for name, value in (("ENUMERABLE", 1), ("PROBED", 2)):
        monkeypatch.setattr(collect_module, name, value)
    path, written = tmp_path / "out" / "strategies.npz", []

    def disk_full(asset, card):
        written.append(asset)
        if len(written) == 2:  # of the file with its probes
            raise OSError("No space left on device")
        write_card(asset, card)

    with monkeypatch.context() as context:
        context.setattr(collect_module, "write_card", disk_full)
        with pytest.raises(OSError, match="No space left"):
            collect(case, tmp_path / "out", 1, 4, 0, "first")
    with pytest.raises(AssetError, match="checksum"):
        read_card(path)
    collect(case, tmp_path / "out", 1, 4, 0, "second")
    whole = MeasuredStrategies.load(path, case.decisions())
    assert len(whole.strategies) == 4 and len(whole.probes) == 3 and read_card(path)["commands"] == ["second"]


def test_a_sample_is_measured_under_all_conditions_and_grows_by_rounds(tmp_path, monkeypatch):
    case = tiny(tmp_path)
    monkeypatch.setattr(collect_module, "ENUMERABLE", 1)
    monkeypatch.setattr(collect_module, "PROBED", 2)
    path = collect(case, tmp_path / "out", 1, 4, 0, "test")
    decisions = case.decisions()
    measured = MeasuredStrategies.load(path, decisions)
    assert len(measured.strategies) == 4 and measured.rounds.tolist() == [0] * 4
    assert np.array_equal(measured.accuracy, case.scorer()(measured.strategies))
    assert measured.probes == ("none", "reconstruct", "reconstruct+adaptive-bn")
    for number, name in enumerate(measured.probes):
        live = case.scorer(recovery=name).count_correct(measured.strategies[measured.probe_rows])
        assert np.array_equal(measured.probe_correct[:, number].sum(1), live)
    unseen = [row for row in decisions.enumerate() if tuple(row) not in set(map(tuple, measured.strategies.tolist()))]
    offered = np.concatenate([measured.strategies[:1], unseen[:2], unseen[:1]])
    longer, hardware = add_round(case, measured, offered, Conditions("adaptive-bn"), tmp_path / "round", 1)
    assert longer.rounds.tolist() == [0, 0, 0, 0, 1, 1] and len(hardware) == 1
    assert np.array_equal(longer.strategies[4:], unseen[:2])
    again, _ = add_round(case, longer, offered, Conditions("adaptive-bn"), tmp_path / "round", 1)
    assert again is longer


ALL = ("none", "adaptive-bn", "reconstruct", "reconstruct+adaptive-bn")


@pytest.mark.parametrize(
    ("env", "recovery", "expected"),
    [
        ("ChannelPrune", "reconstruct+adaptive-bn", {"none", "adaptive-bn", "reconstruct"}),
        ("JointPQ", "reconstruct+adaptive-bn", {"none", "adaptive-bn", "reconstruct"}),
        ("MixedQuant", "reconstruct+adaptive-bn", {"none"}),  # whole groups: nothing is refitted
        ("MixedQuant", "none", {"adaptive-bn"}),
        ("MixedQuant", "reconstruct", {"adaptive-bn"}),
    ],
)
def test_probed_recoveries_differ_from_the_default(env, recovery, expected, tmp_path):
    case = tiny(tmp_path, env, recoveries=[recovery, *(other for other in ALL if other != recovery)])
    probed = collect_module.other_conditions(case, Conditions(recovery))
    assert {c.recovery for c in probed} == expected and not any(c.corruption for c in probed)
    assert not collect_module.other_conditions(tiny(tmp_path / "one", env, recoveries=[recovery]), Conditions(recovery))


def test_images_of_bytes_are_corrupted_too_and_bfloat16_is_compared(tmp_path, monkeypatch):
    case = tiny(tmp_path)
    pixels = np.zeros((4, 1, 16, 16), dtype=np.uint8)
    moments = np.zeros(1, np.float32), np.ones(1, np.float32)
    monkeypatch.setattr(Task, "split", lambda task, name: Split(pixels, np.zeros(4, dtype=np.int64), *moments))
    probed = collect_module.other_conditions(case, Conditions("adaptive-bn", precision="bf16"))
    assert [c.name for c in probed if c.corruption] == [f"adaptive-bn, {name}, bf16" for name in sorted(CORRUPTIONS)]
    assert [c.name for c in probed if c.precision == "fp32"] == ["adaptive-bn"]


@pytest.mark.parametrize("env", ["MixedQuant", "JointPQ"])
def test_other_environments_are_collected_by_the_same_command(tmp_path, env):
    """Bits alone: a table of all 81 strategies; with channels: a sample. Both are what is scored live."""
    options = {"levels": 3, "bits": [2, 4, 8], "fixed": ["fc"]}
    case = tiny(tmp_path, env, options=options, recoveries=["adaptive-bn", "none"])
    out = collect(case, case.task.folder, 1, 6, 0, "test", sample=env == "JointPQ")
    card = read_card(out)
    if env == "MixedQuant":
        assert out.name == "measured-mixed-quant.npz" and card["strategies"] == 81 and case.best_signal() == "measured"
        rows = case.decisions().enumerate()[::20]
        found = case.measured()(rows)
    else:
        assert out.name == "strategies-joint-pq.npz" and card["strategies"] == 6 and case.best_signal() == "live"
        rows, found = case.strategies().strategies, case.strategies().accuracy
        assert {d.kind for d in case.decisions().decisions} == {"channels", "weight_bits", "activation_bits"}
        assert case.strategies().probes == ("none",)
    assert card["range_images"] == 512 and get_case("ChannelPrune", case.task).best_signal() == "live"
    assert np.array_equal(found, case.scorer()(rows))


@pytest.mark.parametrize("sample", [False, True])
def test_the_loss_is_collected_beside(tmp_path, sample):
    """Of all strategies and of a sample that grows; probes are of accuracies alone."""
    columns = {"accuracy": {}, "valid_loss": {"surrogate": "loss_surrogate", "link": "exp(-x)"}}
    case = tiny(tmp_path, columns=columns, recoveries=["adaptive-bn", "none"])
    path, scorer = collect(case, case.task.folder, 1, 4, 0, "test", sample=sample), case.scorer()
    if not sample:
        rows, model = case.decisions().enumerate(), case.measured()
        live = scorer.scores(rows, ("accuracy", "valid_loss"))
        assert model.columns == ("accuracy", "valid_loss")
        assert all(np.array_equal(column, live[name]) for name, column in model.scores(rows, model.columns).items())
        return
    measured = case.strategies()
    longer, _ = add_round(case, measured, case.decisions().enumerate(), Conditions("adaptive-bn"), tmp_path / "next", 1)
    longer.save(path, case.decisions())
    write_card(path, read_json(path.with_suffix(".json")))
    for found in (measured, case.strategies()):
        live = scorer.scores(found.strategies, ("accuracy", "valid_loss"))
        assert np.array_equal(found.column("valid_loss"), live["valid_loss"])
        assert np.array_equal(found.accuracy, live["accuracy"]) and found.probes == ("none",)
    assert len(case.strategies().strategies) == 9
