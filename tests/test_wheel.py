"""The wheel alone, in an empty folder, without torch and Stable-Baselines3."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from compress_gym.kinds import get_case
from compress_gym.tasks import fetchable

ROOT = Path(__file__).parents[1]
ADDRESS = "https://example.org/compress_gym/"
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
    for name in ("compress_gym", "pyproject.toml", "MANIFEST.in", "setup.py", "README.md", "LICENSE", "NOTICE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    # What an editable installation of an earlier version left: setuptools packs what is on this list.
    assets = sorted(str(path.relative_to(source)) for path in source.rglob("assets/*/*"))
    (source / "compress_gym.egg-info").mkdir()
    (source / "compress_gym.egg-info" / "SOURCES.txt").write_text("\n".join(assets))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]  # by way of the sdist
    settings = {**os.environ, "COMPRESS_GYM_ADDRESS": ADDRESS}
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return wheel, folder / "site"


def test_the_package_index_gets_absolute_links(unpacked):
    (metadata,) = unpacked[1].glob("*.dist-info/METADATA")
    links = re.findall(r"\]\(([^)]+)\)", metadata.read_text().partition("# compress_gym")[2])
    assert f"{ADDRESS}docs/assets/episode.gif" in links and all(link.startswith("https://") for link in links)


def run(code, site, cwd, block=BLOCK, **environment):
    return subprocess.run(
        [sys.executable, "-c", block + code],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
    )


def test_the_wheel_is_small_and_holds_the_package_alone(unpacked):
    wheel, site = unpacked
    assert wheel.stat().st_size < 15e6
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


def entries(section):
    """The patterns of each entry in a section of NOTICE."""
    text = (ROOT / "NOTICE").read_text().split(f"\n{section}\n{'-' * len(section)}\n")[1].split("\n\n\n")[0]
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [[line for line in block if not line.startswith(" ")] for block in blocks]


def files_of(wheel):
    with zipfile.ZipFile(wheel) as file:
        return [name for name in file.namelist() if not name.endswith("/")]


def test_notice_lists_every_file_of_the_wheel_once(unpacked):
    names, listed = files_of(unpacked[0]), entries("In the wheel")
    assert len(listed) > 5 and all(listed)
    for name in names:
        found = [block for block in listed if any(fnmatchcase(name, pattern) for pattern in block)]
        assert len(found) == 1, f"{name}: {len(found)} entries of NOTICE list it, {found}"


def test_notice_lists_nothing_else(unpacked):
    names = files_of(unpacked[0])
    for pattern in sum(entries("In the wheel"), []):
        assert any(fnmatchcase(name, pattern) for name in names), f"{pattern}: in NOTICE, not in the wheel"
    for pattern in sum(entries("In the repository alone"), []):
        assert not any(fnmatchcase(name, pattern) for name in names), f"{pattern}: in the wheel, unlike NOTICE says"
        assert any(ROOT.glob(pattern)), f"{pattern}: in NOTICE, not in the repository"


def test_no_distribution_holds_what_is_fetched(unpacked):
    wheel, _ = unpacked
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        packed = {"sdist": {name.partition("/")[2] for name in file.getnames()}, "wheel": set(files_of(wheel))}
    fetched = {task.folder / name for task in fetchable().values() for name in task.declared.fetched}
    assert {path.suffix for path in fetched} == {".safetensors", ".bpe"}
    for path in (path.relative_to(ROOT) for path in fetched):
        for held in packed.values():
            assert path.as_posix() not in held and path.with_suffix(".json").as_posix() in held


def test_no_file_of_the_wheel_has_terms_of_its_own(unpacked):
    """A card that states terms, which are then narrower than the licence, is that of a file that is fetched."""
    stating = [path for path in unpacked[1].rglob("assets/*/*.json") if "terms" in json.loads(path.read_text())]
    assert stating
    for card in stating:
        assert [path.name for path in card.parent.glob(f"{card.stem}.*")] == [card.name]


def test_a_transformer_without_its_weights(unpacked, tmp_path):
    """Surrogate, description, list and digest need none."""
    code = """
import gymnasium as gym, compress_gym, sys
env = gym.make("compress_gym/TransformerNAS-v0")
print(env.reset(seed=0)[1]["asset_hash"])
terminated = False
while not terminated:
    *_, terminated, _, info = env.step(env.action_space.sample())
print(info["accuracy_source"])
from compress_gym.cli import cli
cli(["tasks"], standalone_mode=False)
cli(["describe", "multi30k-ende"], standalone_mode=False)
"""
    done = run(code, unpacked[1], tmp_path, COMPRESS_GYM_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    expected = get_case("TransformerNAS", "multi30k-ende").asset_hash()
    assert done.stdout.startswith(f"{expected}\nsurrogate\n")
    assert "multi30k-ende" in done.stdout and "25 decisions" in done.stdout


def test_a_transformers_weights_are_fetched(unpacked, tmp_path):
    code = f"""
import gymnasium as gym, compress_gym, sys
from compress_gym.cli import cli
problem = gym.make("compress_gym/TransformerNAS-v0").unwrapped.problem
try:
    problem.build(problem.uniform())
except ValueError as error:
    print(error)
cli(["data", "fetch", "multi30k-ende-weights", "--from", {str(ROOT)!r}], standalone_mode=False)
print(problem.export(problem.uniform(), "small").name)
"""
    before = sorted(unpacked[1].rglob("*[!c]"))  # Python writes .pyc
    done = run(code, unpacked[1], tmp_path, block="", COMPRESS_GYM_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    told, *others = done.stdout.splitlines()
    assert "compress-gym data fetch multi30k-ende-weights --from" in told
    assert "non-commercial" in others[1] and others[-1] == "small"
    assert {path.name for path in (tmp_path / "home").rglob("*.*")} == {"weights.safetensors", "vocabulary.bpe"}
    assert sorted(unpacked[1].rglob("*[!c]")) == before
