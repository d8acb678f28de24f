from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress_gym.devices import load_device
from compress_gym.devices.operations import CALL
from compress_gym.devices.profiler import Plan, profile, reachable_operations
from compress_gym.tasks import get_task
from tests.helpers import write_tiny_task

PLAN = {"rounds": 60, "repetitions": 30, "fit_networks": 2, "check_networks": 2}
SCRIPT = """
import sys
from pathlib import Path
from compress_gym.devices.profiler import Plan, profile
from compress_gym.tasks import Task
from tests.helpers import TINY
task = Task("tiny", 1, "digits", TINY, "adaptive-bn", 64, 3, "", assets=Path(sys.argv[1]))
profile([task], Plan(**{plan}), Path(sys.argv[2]), "test")
"""


def start(folder: Path, out: Path) -> subprocess.Popen:
    script = folder / "run.py"
    script.write_text(SCRIPT.replace("{plan}", repr(PLAN)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, script, folder, out], env=environment, stdout=subprocess.DEVNULL)


def test_a_killed_profile_goes_on(tmp_path):
    task = write_tiny_task(tmp_path)
    out = tmp_path / "mine.csv"
    process = start(tmp_path, out)
    rounds = tmp_path / "mine.partial"
    deadline = time.monotonic() + 120
    while not list(rounds.glob("round-*.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.read_bytes() for path in rounds.glob("round-*.npy")}
    assert 0 < len(finished) < PLAN["rounds"] and not out.exists()
    with pytest.raises(ValueError, match="another measurement"):
        profile([task], Plan(rounds=3), out, "test")
    resumed = start(tmp_path, out)
    while resumed.poll() is None and not out.exists():
        for path, content in finished.items():
            assert not path.exists() or path.read_bytes() == content, "a finished round was measured again"
        time.sleep(0.05)
    assert resumed.wait() == 0 and not rounds.exists()

    device = load_device(out)
    expected = reachable_operations(task.network(), task.channel_decisions(), with_layout=True)
    assert set(device.table) == set(expected)
    assert all(m.repetitions == 1800 and 0 < m.us <= m.p10_us <= m.median_us for m in device.table.values())
    assert {"network_us", "weighted", "other", "layout"} <= set(device.card["correction"])
    assert device.card["stated_error"]["checked_on"].startswith("2 whole networks")


def test_too_few_repetitions_are_refused():
    with pytest.raises(ValueError, match="rounds=2 x repetitions=3 is fewer than 30"):
        Plan(rounds=2, repetitions=3)


def test_every_operation_of_every_strategy_is_reachable():
    task = get_task("digits-cnn")
    found = reachable_operations(task.network(), task.channel_decisions())
    # the empty call; conv1: 8; conv2 to conv5: 64 pairs each; pooling: 8; linear: 8
    assert len(found) == len(set(found)) == 1 + 8 + 4 * 64 + 8 + 8
    assert found[0] == CALL
