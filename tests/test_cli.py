from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compress_gym.cli import cli
from compress_gym.devices import list_devices
from compress_gym.kinds import get_case
from compress_gym.tasks import list_tasks
from tests.helpers import run_here


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: run_here(cli, arguments, monkeypatch, capsys)


def test_lists(run):
    assert [row["task"] for row in json.loads(run("tasks", "--json")[1])] == list_tasks()
    assert [row["device"] for row in json.loads(run("devices", "--json")[1])] == list_devices()
    assert "digits-cnn" in run("tasks")[1] and "xeon" in run("devices")[1]


def test_names_are_whole_in_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert all(name in run("devices")[1] for name in list_devices())
    assert "0000" not in run("tasks")[1]


def test_without_arguments_the_help_is_shown(run):
    code, _, errors = run()
    assert code == 2 and "Commands:\n  collect " in errors


def test_describe(run):
    described = json.loads(run("describe", "digits-cnn", "--json")[1])
    assert described["strategies"] == 32768 and len(described["groups"]) == 5
    assert "conv1.channels" in run("describe", "digits-cnn")[1]


def test_describe_a_transformer(run):
    described = json.loads(run("describe", "multi30k-ende", "--json")[1])
    decisions = get_case("TransformerNAS", "multi30k-ende").decisions()
    names = [d.name for d in decisions.decisions]
    assert described["strategies"] == decisions.count and list(described["decisions"]) == names
    assert all(f"\n{name}: " in run("describe", "multi30k-ende")[1] for name in names[:2])


def test_names_are_whole_in_a_pipe(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "│ stage1.block1.conv1 │ conv1 " in run("describe", "cifar10-resnet56")[1]  # reads and writes


@pytest.mark.parametrize("name", list_devices())
def test_a_devices_card(run, name):
    assert {"stated_error", "checked_against"} & set(json.loads(run("devices", name, "--json")[1]))
    assert "what: " in run("devices", name)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "digits-cn"], "Did you mean 'digits-cnn'"),
        (["devices", "xeon"], "device='xeon' is not known"),
        (["profile", "digits-cnn", "--runtime", "tvm"], "'tvm' is not one of 'onnxruntime'"),
        (["profile", "digits-cnn", "--out", "table.txt"], "must end in .csv"),
        (["collect", "digits-cnn", "--workers", "0"], "--workers"),
        (["taskss"], "No such command 'taskss'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*arguments)
    assert code == 2
    (line,) = errors.strip().splitlines()
    assert words in line


def test_the_installed_command():
    done = subprocess.run([sys.executable, "-m", "compress_gym.cli", "describe", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("compress-gym: error: task='x' is not known")


@pytest.mark.parametrize(
    ("command", "file"),
    [("profile", "digits-cnn-onnxruntime-fp32.csv"), ("collect", "digits-cnn-measured/measured.npz")],
)
def test_finished_measurements_are_not_overwritten(run, command, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    (tmp_path / file).with_suffix(".json").write_text("{}")
    code, _, errors = run(command, "digits-cnn")
    assert code == 2 and "exists already" in errors
    assert (tmp_path / file).read_text() == "mine"


@pytest.mark.parametrize("command", [[], ["tasks"], ["devices"], ["describe"], ["profile"], ["collect"]])
def test_help_of_every_command(run, command):
    code, shown, _ = run(*command, "--help")
    assert code == 0 and "Usage" in shown


def test_after_warming_up_nothing_is_compiled(tmp_path):
    """Every kind, alone and many at once, with both types of actions."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = """
from numba.core import event
import gymnasium as gym, compress_gym
recorded = event.RecordingListener()
event.register("numba:compile", recorded)
for name in compress_gym.kinds.KINDS:
    for action_type in ("continuous", "discrete"):
        for rule in ("clip", "repair"):
            settings = {"action_type": action_type, "budget_rule": rule}
            env = gym.make(f"compress_gym/{name}", **settings)
            env.reset(seed=0)
            terminated = False
            while not terminated:
                *_, terminated, _, _ = env.step(env.action_space.sample())
            for threads in (1, 2):
                envs = gym.make_vec(f"compress_gym/{name}", num_envs=64, num_threads=threads, **settings)
                envs.reset(seed=0, options={"budget": 0.9})
                for _ in range(100):
                    envs.step(envs.action_space.sample())
print(sorted({e.data["dispatcher"].py_func.__qualname__ for _, e in recorded.buffer}))
"""
    warm = [sys.executable, "-m", "compress_gym.cli", "warm-up", "--json"]
    done = subprocess.run(warm, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.nb[ic]")) > 0
    assert all(Path(folder).parent == tmp_path for folder in told["folders"])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_warming_up_says_where_kernels_are(run):
    """With the tests' own cache."""
    code, text, _ = run("warm-up")
    assert code == 0 and "MB of compiled kernels are in:" in text
