from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numba.core import event

from compress_gym.envs import kernels
from compress_gym.support import jit
from compress_gym.support.jit import Progress

FIRST_EPISODE = """
import json
from numba.core import event
recorded = event.RecordingListener()
event.register("numba:compile", recorded)
import gymnasium as gym, compress_gym
env = gym.make("compress_gym/ChannelPrune-v0")
env.reset(seed=0)
terminated = False
while not terminated:
    *_, terminated, _, _ = env.step(env.action_space.sample())
from compress_gym.support.jit import KERNELS
compiled = sorted(k.py_func.__name__ for k in KERNELS for _ in k.signatures)
print(json.dumps([compiled, sum(begun.is_start for _, begun in recorded.buffer)]))
"""


def test_a_first_episode_compiles_few_functions(tmp_path, monkeypatch):
    """A time is what matters, and cannot be tested; each function that is compiled takes some."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", FIRST_EPISODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled, functions = json.loads(done.stdout)
    assert compiled == ["add_costs", "end_rows", "predict_each", "step_rows"]
    assert functions <= 42, "with all parts and what numba itself compiles for them"


class _Dispatcher:
    def __init__(self, module: str) -> None:
        self.py_func = type("function", (), {"__module__": module})


def _compile(progress: Progress, module: str, parts: int = 1) -> None:
    def told(status: event.EventStatus) -> event.Event:
        return event.Event("numba:compile", status, {"dispatcher": _Dispatcher(module)})

    for _ in range(parts):
        progress.on_start(told(event.EventStatus.START))
    for _ in range(parts):
        progress.on_end(told(event.EventStatus.END))


@pytest.fixture
def clock(monkeypatch):
    """Half a second passes between two looks at the clock."""
    times = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(jit, "perf_counter", lambda: float(next(times)))


@pytest.mark.parametrize("calls, parts", [(1, 9), (9, 1)])
def test_long_compiling_is_told_once(clock, caplog, calls, parts):
    progress = Progress()
    for _ in range(calls):
        _compile(progress, "compress_gym.envs.kernels", parts)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "compress-gym warm-up" in caplog.text
    _compile(progress, "compress_gym.envs.kernels", 20)
    assert len(caplog.records) == 1


def test_short_compiling_and_that_of_others_is_not_told(clock, caplog):
    progress = Progress()
    _compile(progress, "compress_gym.envs.kernels")
    _compile(progress, "another.package", 20)
    assert not caplog.records


def test_a_setting_of_logging_and_worker_processes_are_silent(clock, caplog, monkeypatch):
    with caplog.at_level(logging.ERROR, "compress_gym"):
        _compile(Progress(), "compress_gym.envs.kernels", 9)
    monkeypatch.setattr("multiprocessing.parent_process", object)
    _compile(Progress(), "compress_gym.envs.kernels", 9)
    assert not caplog.records


def test_numba_tells_of_kernels(caplog, monkeypatch):
    monkeypatch.setattr(jit, "PATIENCE", 0.0)
    event.register("numba:compile", progress := Progress())
    try:
        jit.njit(kernels.action_of)(0, 2)
    finally:
        event.unregister("numba:compile", progress)
    assert "compiling" in caplog.text


def test_parts_of_kernels_are_plain_functions_and_kernels_are_pickled():
    assert kernels.choice_of(0.0, 4) == 2
    assert pickle.loads(pickle.dumps(kernels.step_rows)) is not None
