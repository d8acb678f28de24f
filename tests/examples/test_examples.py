"""Each example runs as its first line says, where what it needs is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "cleanrl_ppo": ("torch", "the optimum is 81.75 %"),
    "multi_objective": ("mo_gymnasium", "best accuracy - 0.1 latency"),
    "optuna_search": ("optuna", "the optimum is 81.75 %"),
    "record_video": ("moviepy", "of the latency"),
    "rllib_ppo": ("ray.rllib", "iteration 2: mean accuracy"),
    "torchrl_env": ("torchrl", "20 random episodes"),
}


def test_every_example_is_run():
    assert sorted(NEEDS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_it_runs(name, tmp_path):
    package, expected = NEEDS[name]
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None or (package == "ray.rllib" and find_spec("tree") is None):
        pytest.skip(f"examples/{name}.py needs {package}")
    ran = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    assert expected in ran.stdout
    if name == "record_video":
        assert (tmp_path / "videos" / "channel-prune-episode-0.mp4").stat().st_size > 1000
