"""A package of somebody else, installed from a folder: its kind and its task work everywhere without an edit here.

The kind is the one of docs/own/kind.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.code_blocks import blocks_of
from tests.helpers import write_tiny_task

ROOT = Path(__file__).parents[2]
TRACKS = """
[sparse]
title = "Sparsity of a tiny network"
env = "compress_gym/Sparsity-v0"
tasks = ["tiny"]
device = "auto"
cost = "macs"
budget = 0.4
evaluations = 20
seeds = 1
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the plugin, as the page has it, is installed in."""
    folder, site = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("site")
    for block in blocks_of((ROOT / "docs/own/kind.md").read_text()):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.code)
    build = {"build": "network.py:TinyNet"}
    tiny = write_tiny_task(folder / "sparsity/tasks", kinds=["Sparsity-v0", "ChannelPrune-v0"])
    declared = json.loads((tiny.folder / "task.json").read_text())
    (tiny.folder / "task.json").write_text(json.dumps({**declared, "network": build}))
    (tiny.folder / "network.py").write_text((ROOT / "tests/tiny_net.py").read_text())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, str(folder)], check=True, capture_output=True)
    return site


@pytest.fixture
def run(installed, tmp_path):
    """Runs a command in a process of its own, in a checkout where the plugin is installed."""

    def run(*words: str) -> str:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (installed, ROOT))), "COLUMNS": "200"}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_is_taken_by_every_command(run, tmp_path):
    assert "tiny" in run("-m", "compress_gym.cli", "tasks")
    assert "conv1.kept: dense, half, quarter, tenth" in run("-m", "compress_gym.cli", "describe", "tiny")
    kind = ("--env", "Sparsity")
    run("-m", "compress_gym.cli", "collect", "tiny", *kind, "--sample", "--count", "20", "--out", "measured")
    source = ("--from", "measured/strategies-sparsity.npz", "--out", "fitted")
    assert "accuracy: 20 rows, held out" in run("-m", "compress_gym.cli", "fit", "tiny", *kind, *source)
    card = json.loads((tmp_path / "fitted/surrogate-sparsity.json").read_text())
    assert "Sparsity on task tiny" in card["what"]


def test_it_is_searched_submitted_and_verified(run, tmp_path):
    code = (
        "import gymnasium as gym, numpy as np, compress_gym\n"
        "envs = gym.make_vec('compress_gym/Sparsity-v0', num_envs=4, task='tiny')\n"
        "envs.reset(seed=0)\n"
        "for _ in range(3):\n"
        "    *_, infos = envs.step(np.ones((4, 1), dtype=np.float32))\n"
        "print(infos['strategy']['conv1.kept'].tolist(), infos['feasible'].all())\n"
    )
    assert "True" in run("-c", code)
    settings = ("--env", "Sparsity-v0", "--task", "tiny", "--cost", "macs", "--budget", "0.4", "--seed", "0")
    run("-m", "agents.search", "--method", "random", *settings, "--evaluations", "20", "--out", "found")
    (tmp_path / "tracks.toml").write_text(TRACKS)
    tracks = ("--tracks", "tracks.toml")
    run("-m", "leaderboard", "submit", "found", "--author", "Somebody", "--submissions", "entries", *tracks)
    (entry,) = (tmp_path / "entries").rglob("*.json")
    assert set(json.loads(entry.read_text())["results"][0]["strategy"].values()) <= {
        "dense",
        "half",
        "quarter",
        "tenth",
    }
    assert "verified live" in run("-m", "leaderboard", "verify", str(entry), "--live", *tracks)
