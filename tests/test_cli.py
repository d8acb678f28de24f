from __future__ import annotations

import json
import subprocess
import sys

import pytest

from compress_gym.devices import list_devices
from compress_gym.tasks import list_tasks


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "compress_gym.cli", *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_lists():
    assert [row["task"] for row in json.loads(run("tasks", "--json").stdout)] == list_tasks()
    assert [row["device"] for row in json.loads(run("devices", "--json").stdout)] == list_devices()
    assert "digits-cnn" in run("tasks").stdout


def test_describe():
    described = json.loads(run("describe", "digits-cnn", "--json").stdout)
    assert described["strategies"] == 32768 and len(described["groups"]) == 5
    assert "conv1.channels" in run("describe", "digits-cnn").stdout


@pytest.mark.parametrize("name", list_devices())
def test_a_devices_card(name):
    assert json.loads(run("devices", name, "--json").stdout)["stated_error"]
    assert "median_absolute_error" in run("devices", name).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "digits-cn"], "Did you mean 'digits-cnn'"),
        (["devices", "xeon"], "device='xeon' is not known"),
        (["profile", "digits-cnn", "--runtime", "tvm"], "'tvm' is not 'onnxruntime'"),
        (["profile", "digits-cnn", "--out", "table.txt"], "must end in .csv"),
        (["collect", "digits-cnn", "--workers", "0"], "--workers"),
        (["taskss"], "No such command 'taskss'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("command", "file"),
    [("profile", "digits-cnn-onnxruntime-fp32.csv"), ("collect", "digits-cnn-measured/measured.npz")],
)
def test_finished_measurements_are_not_overwritten(command, file, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    done = run(command, "digits-cnn", cwd=tmp_path)
    assert done.returncode == 2 and "exists already" in done.stderr
    assert (tmp_path / file).read_text() == "mine"


def test_help_of_every_command():
    for command in ([], ["tasks"], ["devices"], ["describe"], ["profile"], ["collect"]):
        assert run(*command, "--help").returncode == 0
