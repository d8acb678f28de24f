"""The wheel alone, in an empty folder, without torch and Stable-Baselines3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Importing any of these is an error: the base installation does not have them.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "stable_baselines3", "matplotlib", "sklearn", "onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building leaves files behind
    for name in ("compress_gym", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return wheel, folder / "site"


def run(code, site, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
    )


def test_the_wheel_is_small_and_holds_the_package_alone(unpacked):
    wheel, site = unpacked
    assert wheel.stat().st_size < 30e6
    assert {p.name.split("-")[0] for p in site.iterdir()} == {"compress_gym"}
    names = {p.name for p in site.rglob("*")}
    assert {
        "weights.safetensors",
        "measured.npz",
        "surrogate.npz",
        "network.json",
        "xeon-ort-fp32.csv",
        "py.typed",
        "LICENSE",
    } <= names


def test_an_episode_in_an_empty_folder(unpacked, tmp_path):
    code = """
import gymnasium as gym, compress_gym, sys
for settings in ({}, {"task": "digits-cnn"}):
    env = gym.make("compress_gym/ChannelPrune-v0", **settings)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(env.action_space.sample())
    print(info["accuracy_source"], end=" ")
print(compress_gym.__file__)
"""
    done = run(code, unpacked[1], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("surrogate measured") and str(unpacked[1]) in done.stdout


def test_the_module_prefix_registers(unpacked, tmp_path):
    code = """
import gymnasium as gym
gym.make("compress_gym:compress_gym/ChannelPrune-v0").reset()
"""
    done = run(code, unpacked[1], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("accuracy='live'", "pip install 'compress_gym[live]'"),
        ("render_mode='rgb_array'", "pip install 'compress_gym[render]'"),
    ],
)
def test_missing_extras_are_told(unpacked, tmp_path, code, words):
    script = f"""
import gymnasium as gym, compress_gym
env = gym.make("compress_gym/ChannelPrune-v0", {code})
env.reset()
env.render()
"""
    done = run(script, unpacked[1], tmp_path)
    assert done.returncode == 1 and words in done.stderr


def test_profiling_without_torch_is_told(unpacked, tmp_path):
    script = "\nsys.argv[1:] = ['profile', 'digits-cnn']\nfrom compress_gym.cli import main\nmain()"
    done = run(script, unpacked[1], tmp_path)
    assert done.returncode == 2 and "pip install 'compress_gym[live,devices]'" in done.stderr


def test_nothing_heavy_is_imported(tmp_path):
    """In the development environment, where torch is installed: looked at, not blocked."""
    code = """
import sys
import gymnasium as gym, compress_gym
env = gym.make("compress_gym/ChannelPrune-v0")
env.reset()
print([m for m in ("torch", "stable_baselines3", "matplotlib", "sklearn", "onnx") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_an_unwritable_numba_cache_is_survived(unpacked, tmp_path):
    code = """
import numba.core.caching as caching
def refuse(self):
    raise OSError("read-only")
for locator in caching.CacheImpl._locator_classes:
    locator.ensure_cache_path = refuse
import gymnasium as gym, compress_gym
env = gym.make("compress_gym/ChannelPrune-v0")
env.reset()
env.step(env.action_space.sample())
from compress_gym.envs.kernels import step_rows
print(type(step_rows._cache).__name__)
"""
    done = run(code, unpacked[1], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "NullCache"
