from __future__ import annotations

import json
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from compress_gym.cli import cli
from compress_gym.devices import list_devices, load_device
from compress_gym.making.bundle import export_bundle, import_results
from compress_gym.making.profile.plan import ProfilePlan, contents
from compress_gym.support.errors import AssetError
from compress_gym.tasks import registry
from tests.helpers import run_here, write_tiny_task

PLAN = ProfilePlan(rounds=2, repetitions=15, fit_networks=3, check_networks=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle, unpacked and measured in an environment that has NumPy and ONNX Runtime alone."""
    folder = tmp_path_factory.mktemp("bundle")
    task = write_tiny_task(folder / "assets")
    with zipfile.ZipFile(export_bundle(task, PLAN, folder / "bundle.zip")) as archive:
        archive.extractall(folder / "there")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    for package in (np, onnxruntime):
        installed = Path(package.__file__).parent
        for part in installed.parent.glob(f"{installed.name}*"):
            (packages / part.name).symlink_to(part)
    python = folder / "env" / "bin" / "python"
    lacking = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in lacking.stderr
    ran = subprocess.run([python, "run.py"], cwd=folder / "there", capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "round 2 of 2" in ran.stdout
    return task, folder / "there" / "results.csv"


@pytest.fixture
def known(bundle, monkeypatch):
    """The tiny task is registered, as a shipped one is."""
    monkeypatch.setitem(registry._REGISTERED, "tiny", bundle[0].folder)
    return bundle


def test_results_become_a_device(known, tmp_path, monkeypatch, capsys):
    task, results = known
    monkeypatch.setenv("COMPRESS_GYM_DEVICES", str(tmp_path / "devices"))
    arguments = ["profile", "--import", results, "--name", "my-pi"]
    code, shown, errors = run_here(cli, arguments, monkeypatch, capsys)
    assert code == 0 and 'device="my-pi"' in shown, errors
    assert "my-pi" in list_devices()
    device = load_device("my-pi")
    operations, strategies = contents([task], PLAN, with_layout=True)
    assert set(device.table) == set(operations) and len(strategies["tiny"]) == 8
    assert all(m.repetitions == 30 and 0 < m.us <= m.p10_us <= m.median_us for m in device.table.values())
    assert device.card["stated_error"]["checked_on"].startswith("3 whole networks")
    assert {"hardware", "versions", "command", "date"} <= set(device.card)
    code, _, errors = run_here(cli, arguments, monkeypatch, capsys)
    assert code == 2 and "there is a device of that name already" in errors


def damaged(results, change):
    lines = results.read_text().splitlines()
    change(lines)
    return "\n".join(lines) + "\n"


def header(**changes):
    def change(lines):
        lines[0] = "# " + json.dumps({**json.loads(lines[0][1:]), **changes})

    return change


def replaced(number, line):
    def change(lines):
        lines[number - 1] = line

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (header(bundle="0123456789abcdef"), "measured with a bundle of another task or version"),
        (header(plan={"rounds": 2}), "line 1: the plan must have exactly"),
        (header(plan={**vars(PLAN), "rounds": 1}), "line 1: the plan does not fit.*fewer than 30"),
        (replaced(1, "item,median_us"), "line 1: expected '# ' and the runner's JSON header"),
        (replaced(1, "# {}"), "line 1: the header lacks bundle"),
        (replaced(2, "item,ms"), "line 2: expected the columns"),
        (replaced(4, "conv,fast,1.0,1.0,30"), "line 4: .*is not item"),
        (replaced(4, "conv,1.0"), "line 4: .*is not item"),
        (replaced(4, "conv,9.0,1.0,1.0,30"), "line 4: must grow from fastest over p10 to median"),
        (replaced(4, "conv,1.0,1.0,1.0,31"), r"the plan has 30 calls of each operation, found \[30, 31\]"),
        (replaced(4, "conv,0.0001,1.0,1.0,30"), "line 4: times and repetitions must be positive"),
        (header(plan={**vars(PLAN), "runtime": "torch"}), "line 1: the plan does not fit.*onnxruntime"),
        (header(plan={**vars(PLAN), "precision": "fp64"}), "line 1: the plan does not fit.*precision='fp64'"),
        (header(plan={**vars(PLAN), "fit_networks": "3"}), "line 1: the plan does not fit.*fit_networks='3'"),
        (replaced(4, "conv,nan,1.0,1.0,30"), "line 4: times and repetitions must be positive"),
        (replaced(4, "conv,-1,1.0,1.0,30"), "line 4: times and repetitions must be positive"),
        (replaced(4, "something else,1.0,2.0,1.0,30"), "line 4: expected 'conv .*found 'something else'"),
        (lambda lines: lines.pop(), "expected 'network 7', found the end of the file"),
        (lambda lines: lines.append("network 8,1.0,2.0,1.0,30"), "expected the end of the file, found 'network 8'"),
        (lambda lines: lines.clear(), "line 1: expected"),
    ],
)
def test_damaged_results_are_told_with_their_line(known, tmp_path, change, words):
    path = tmp_path / "results.csv"
    path.write_text(damaged(known[1], change))
    with pytest.raises((AssetError, KeyError), match=words):
        import_results(path, tmp_path / "out.csv", "test")
    assert not (tmp_path / "out.csv").exists()


def test_results_of_an_unknown_task_are_told(bundle, tmp_path):
    with pytest.raises(KeyError, match="task='tiny' is not known"):
        import_results(bundle[1], tmp_path / "out.csv", "test")


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile"],
        ["profile", "digits-cnn", "--name", "x"],
        ["profile", "digits-cnn", "--import", __file__, "--name", "x"],
        ["profile", "--import", __file__],
        ["profile", "digits-cnn", "cifar10-resnet20", "--export", "two.zip"],
        ["profile", "--import", __file__, "--name", "../x"],
    ],
)
def test_what_does_not_go_together_is_told(arguments, monkeypatch, capsys):
    code, _, errors = run_here(cli, arguments, monkeypatch, capsys)
    assert code == 2 and ("--name" in errors or "TASK" in errors)


def test_rounds_of_another_bundle_are_not_taken_over(bundle):
    folder = bundle[1].parent
    manifest = json.loads((folder / "manifest.json").read_text())
    (rounds,) = folder.glob("rounds-*")
    assert manifest["bundle"] in rounds.name


def test_the_runner_opens_sessions_as_the_package_does():
    from compress_gym.live import session
    from compress_gym.making.bundle.export import RUNNER

    for path in (RUNNER, Path(session.__file__)):
        assert 'add_session_config_entry("session.x64quantprecision", "1")' in path.read_text()


def test_bundles_are_for_onnxruntime(tmp_path):
    task = write_tiny_task(tmp_path)
    with pytest.raises(ValueError, match="needs --runtime onnxruntime"):
        export_bundle(task, ProfilePlan(runtime="torch"), tmp_path / "bundle.zip")


def test_the_runner_needs_nothing_else():
    from compress_gym.making.bundle.export import RUNNER

    imported = {line.split()[1].split(".")[0] for line in RUNNER.read_text().splitlines() if line.startswith("import")}
    foreign = imported - set(sys.stdlib_module_names)
    assert foreign == {"numpy", "onnxruntime"}, (foreign, site.getsitepackages())
