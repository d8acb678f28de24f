from __future__ import annotations

import json
import subprocess
import sys

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
