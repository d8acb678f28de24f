"""Each example runs as its first line says, where what it needs is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# Packages, the extra that brings them, and what is printed.
NEEDS = {
    "cleanrl_ppo": (("torch",), "live", "the optimum is 95.75 %"),
    "multi_objective": (("mo_gymnasium",), "examples", "best accuracy - 0.1 latency"),
    "optuna_search": (("optuna",), "examples", "the optimum is 95.75 %"),
    "record_video": (("moviepy",), "examples", "of the latency"),
    "rllib_ppo": (("ray", "tree"), "rllib", "iteration 2: mean accuracy"),
    "torchrl_env": (("torchrl",), "examples", "20 random episodes"),
}
# A guard against hanging: each takes seconds, on a machine that is busy with other tests too.
TIMEOUT = 300


def test_every_example_is_run():
    assert sorted(NEEDS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_it_runs(name, tmp_path):
    packages, extra, expected = NEEDS[name]
    if missing := [package for package in packages if find_spec(package) is None]:
        pytest.skip(f"examples/{name}.py needs {' and '.join(missing)} (the extra {extra!r})")
    ran = run(name, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert expected in ran.stdout
    if name == "record_video":
        assert (tmp_path / "videos" / "channel-prune-episode-0.mp4").stat().st_size > 1000


@pytest.mark.parametrize("name", ["multi_objective", "optuna_search", "rllib_ppo", "torchrl_env"])
def test_a_missing_package_is_told_with_its_extra(name, tmp_path):
    (package, *_), extra, _ = NEEDS[name]
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('hidden', name={package!r})")
    ran = run(name, tmp_path, str(tmp_path))
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert package in ran.stderr and f"[{extra}]" in ran.stderr


def run(name: str, folder: Path, *first: str) -> subprocess.CompletedProcess[str]:
    """Runs an example in a folder, packages in `first` before all others."""
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*first, str(EXAMPLES.parent)]), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
