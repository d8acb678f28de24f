from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from compress_gym.accuracy import collect as collect_module
from compress_gym.accuracy.collect import collect
from compress_gym.accuracy.measured import MeasuredAccuracy
from tests.helpers import write_tiny_task

SCRIPT = """
import sys
from pathlib import Path
from compress_gym.accuracy import collect as module
from tests.helpers import TINY
from compress_gym.tasks import Task
module.SHARD = 2
if __name__ == "__main__":
    task = Task("tiny", 1, "digits", TINY, "adaptive-bn", 64, 3, "", assets=Path(sys.argv[1]))
    module.collect(task, Path(sys.argv[2]), 1, "test")
"""


def start(folder: Path, out: Path) -> subprocess.Popen:
    script = folder / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, script, folder, out], env=environment, stdout=subprocess.DEVNULL)


def test_a_killed_collection_ends_with_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(collect_module, "SHARD", 2)
    task = write_tiny_task(tmp_path)
    whole = collect(task, tmp_path / "whole", 1, "test")
    process = start(tmp_path, tmp_path / "killed")
    shards = tmp_path / "killed" / "shards"
    deadline = time.monotonic() + 60
    while not list(shards.glob("0*.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(shards.glob("0*.npy")), "nothing was written before the deadline"
    assert not (tmp_path / "killed" / "measured.npz").exists()
    first = min(shards.glob("0*.npy"))
    stamp = first.stat().st_mtime_ns
    resumed = start(tmp_path, tmp_path / "killed")
    while resumed.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # shards go once the table is written
            assert first.stat().st_mtime_ns == stamp, "a finished shard was measured again"
        time.sleep(0.05)
    assert resumed.wait() == 0
    assert (tmp_path / "killed" / "measured.npz").read_bytes() == whole.read_bytes()
    assert not shards.exists()
    table = MeasuredAccuracy.load(whole, task.channel_decisions())
    rows = task.channel_decisions().enumerate()
    assert np.array_equal(table(rows), task.live()(rows))


def test_shards_of_another_measurement_are_not_mixed_in(tmp_path):
    task = write_tiny_task(tmp_path)
    shards = tmp_path / "out" / "shards"
    shards.mkdir(parents=True)
    (shards / "identity.json").write_text('{"task": "another"}')
    with pytest.raises(ValueError, match="another measurement"):
        collect(task, tmp_path / "out", 1, "test")
