from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from compress_gym.making.collect import add_round, collect
from compress_gym.making.scoring import Conditions, score
from compress_gym.problem.scores import collect as collect_module
from compress_gym.problem.scores import scoring
from compress_gym.problem.scores.measured import MeasuredAccuracy
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import read_card, write_card
from compress_gym.support.errors import AssetError
from tests.helpers import write_tiny_task

SCRIPT = """
import sys
from pathlib import Path
from compress_gym.problem.scores import scoring
from compress_gym.making.collect import collect
from tests.helpers import TINY
from compress_gym.tasks import Task
scoring.SHARD = 2
if __name__ == "__main__":
    task = Task("tiny", 1, "digits", TINY, "adaptive-bn", 64, 3, "", assets=Path(sys.argv[1]))
    collect(task, Path(sys.argv[2]), 1, 4000, 0, "test")
"""


def start(folder: Path, out: Path) -> subprocess.Popen:
    script = folder / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, script, folder, out], env=environment, stdout=subprocess.DEVNULL)


def test_a_killed_collection_ends_with_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "SHARD", 2)
    task = write_tiny_task(tmp_path)
    whole = collect(task, tmp_path / "whole", 1, 4000, 0, "test")
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
    table = MeasuredAccuracy.load(whole, task.channel_decisions())
    rows = task.channel_decisions().enumerate()
    assert np.array_equal(table(rows), task.live()(rows))


def test_a_second_collector_is_refused(tmp_path):
    task = write_tiny_task(tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(ValueError, match="another process is collecting into"):
        score(task, task.channel_decisions().enumerate(), Conditions("none"), folder, 1)


def test_scores_of_other_strategies_or_conditions_are_never_mixed_in(tmp_path):
    task = write_tiny_task(tmp_path)
    rows = task.channel_decisions().enumerate()
    score(task, rows[:2], Conditions("none"), tmp_path / "shards", 1)
    for others, conditions in ((rows[:3], Conditions("none")), (rows[:2], Conditions("adaptive-bn"))):
        with pytest.raises(ValueError, match="another measurement"):
            score(task, others, conditions, tmp_path / "shards", 1)


def test_a_shard_of_another_length_is_refused(tmp_path):
    task = write_tiny_task(tmp_path)
    rows = task.channel_decisions().enumerate()[:2]
    score(task, rows, Conditions("none"), tmp_path / "shards", 1)
    scoring._write(tmp_path / "shards" / "000000.npz", np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"000000.npz: holds scores of shape \(5, 2\), expected \(2, 2\)"):
        score(task, rows, Conditions("none"), tmp_path / "shards", 1)


def test_a_sample_is_there_before_its_probes(tmp_path, monkeypatch):
    task = write_tiny_task(tmp_path)
    for name, value in (("ENUMERABLE", 1), ("PROBED", 2), ("CORRUPTIONS", {})):
        monkeypatch.setattr(collect_module, name, value)

    def out_of_time(default):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(collect_module, "other_conditions", out_of_time)
        with pytest.raises(KeyboardInterrupt):
            collect(task, tmp_path / "out", 1, 4, 0, "first")
    path = tmp_path / "out" / "strategies.npz"
    begun = MeasuredStrategies.load(path, task.channel_decisions())
    assert len(begun.strategies) == 4 and begun.probes == ()
    collect(task, tmp_path / "out", 1, 4, 0, "second")
    whole = MeasuredStrategies.load(path, task.channel_decisions())
    assert np.array_equal(whole.correct, begun.correct) and len(whole.probes) == 3
    assert read_card(path)["commands"] == ["first", "second"]
    with pytest.raises(ValueError, match="exists already"):
        collect(task, tmp_path / "out", 1, 4, 0, "third")


def test_what_is_interrupted_between_file_and_card_goes_on(tmp_path, monkeypatch):
    task = write_tiny_task(tmp_path)
    for name, value in (("ENUMERABLE", 1), ("PROBED", 2), ("CORRUPTIONS", {})):
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
            collect(task, tmp_path / "out", 1, 4, 0, "first")
    with pytest.raises(AssetError, match="checksum"):
        read_card(path)
    collect(task, tmp_path / "out", 1, 4, 0, "second")
    whole = MeasuredStrategies.load(path, task.channel_decisions())
    assert len(whole.strategies) == 4 and len(whole.probes) == 3 and read_card(path)["commands"] == ["second"]


def test_a_sample_is_measured_under_all_conditions_and_grows_by_rounds(tmp_path, monkeypatch):
    task = write_tiny_task(tmp_path)
    monkeypatch.setattr(collect_module, "ENUMERABLE", 1)
    monkeypatch.setattr(collect_module, "PROBED", 2)
    # The digits are stored as floats; corruptions are for bytes (CIFAR-10) and tested there.
    monkeypatch.setattr(collect_module, "CORRUPTIONS", {})
    path = collect(task, tmp_path / "out", 1, 4, 0, "test")
    decisions = task.channel_decisions()
    measured = MeasuredStrategies.load(path, decisions)
    assert len(measured.strategies) == 4 and measured.rounds.tolist() == [0] * 4
    assert np.array_equal(measured.accuracy, task.live()(measured.strategies))
    assert measured.probes == ("none", "reconstruct", "reconstruct+adaptive-bn")
    for number, name in enumerate(measured.probes):
        live = task.live(recovery=name).count_correct(measured.strategies[measured.probe_rows])
        assert np.array_equal(measured.probe_correct[:, number].sum(1), live)
    unseen = [row for row in decisions.enumerate() if tuple(row) not in set(map(tuple, measured.strategies.tolist()))]
    offered = np.concatenate([measured.strategies[:1], unseen[:2], unseen[:1]])
    longer, hardware = add_round(task, measured, offered, Conditions("adaptive-bn"), tmp_path / "round", 1)
    assert longer.rounds.tolist() == [0, 0, 0, 0, 1, 1] and len(hardware) == 1
    assert np.array_equal(longer.strategies[4:], unseen[:2])
    again, _ = add_round(task, longer, offered, Conditions("adaptive-bn"), tmp_path / "round", 1)
    assert again is longer


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
def test_probed_recoveries_differ_from_the_default(env, recovery, expected):
    default = collect_module.Conditions(recovery, env=env)
    probed = {c.recovery for c in collect_module.other_conditions(default) if not c.corruption}
    assert probed == expected


@pytest.mark.parametrize("env", ["MixedQuant", "JointPQ"])
def test_other_environments_are_collected_by_the_same_command(tmp_path, env, monkeypatch):
    """Bits alone: a table of all 81 strategies; with channels: a sample. Both are what is scored live."""
    probed = lambda default: [dataclasses.replace(default, recovery="none")]  # noqa: E731  (each starts a process)
    monkeypatch.setattr(collect_module, "other_conditions", probed)
    task = dataclasses.replace(write_tiny_task(tmp_path), bits=(2, 4, 8), fixed=("fc",))
    out = collect(task, tmp_path / "out", 1, 6, 0, "test", env=env, sample=env == "JointPQ")
    decisions, card = task.decisions(env), read_card(out)
    shutil.copytree(tmp_path / "out", task.folder, dirs_exist_ok=True)
    if env == "MixedQuant":
        assert (
            out.name == "measured-mixed-quant.npz" and card["strategies"] == 81 and task.best_signal(env) == "measured"
        )
        rows, model = decisions.enumerate()[::20], task.measured(env)
        found = model(rows)
    else:
        assert out.name == "strategies-joint-pq.npz" and card["strategies"] == 6 and task.best_signal(env) == "live"
        rows, found = task.strategies(env).strategies, task.strategies(env).accuracy
        assert {d.kind for d in decisions.decisions} == {"channels", "weight_bits", "activation_bits"}
    assert card["range_images"] == 512 and task.best_signal() == "live"
    assert np.array_equal(found, task.live(decisions=decisions)(rows))
