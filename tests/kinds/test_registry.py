"""The registry of kinds: one file each, found by every part of the project, and named by none."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import gymnasium as gym
import pytest

import compress_gym
from compress_gym.kinds import KINDS, Kind, KindEnv, cases_of, get_case, get_kind, load_plugins, register_kind
from compress_gym.kinds.shared import registry
from compress_gym.tasks import get_task, task_folders

ROOT = Path(__file__).parents[2]
SHIPPED = [path for path in sorted((ROOT / "compress_gym/kinds").glob("*.py")) if path.name != "__init__.py"]


def test_a_kind_is_a_file():
    assert sorted(kind.id for kind in KINDS.values()) == sorted(
        spec.removeprefix("compress_gym/") for spec in gym.registry if spec.startswith("compress_gym/")
    )
    assert len(KINDS) == len(SHIPPED)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_it_is_found_by_every_name_of_it(name):
    kind = KINDS[name]
    assert get_kind(name) is get_kind(kind.name) is get_kind(f"compress_gym/{name}") is kind
    assert kind.defaults["task"] in compress_gym.list_tasks(name)


def test_files_of_two_kinds_have_two_names():
    for name in task_folders():
        cases = cases_of(get_task(name))
        assert len({case.asset("surrogate") for case in cases}) == len(cases)


def test_no_shared_file_compares_an_environments_name():
    """Whoever adds a kind edits no other file: nothing branches on names of kinds, by `==`, `in` or as a key."""
    names = {text for kind in KINDS.values() for text in (kind.id, kind.name, f"compress_gym/{kind.id}")}
    found = []
    for folder in ("compress_gym", "agents", "benchmarks", "leaderboard", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            if path in SHIPPED:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
                keys = node.keys if isinstance(node, ast.Dict) else []
                texts = [
                    c.value
                    for part in (*compared, *keys)
                    if part
                    for c in ast.walk(part)
                    if isinstance(c, ast.Constant)
                ]
                if names & {text for text in texts if isinstance(text, str)}:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_names_are_taken_once():
    taken = next(iter(KINDS.values()))

    class Other(KindEnv):
        """Another one."""

        kind = Kind(taken.id, taken.decisions, taken.cost_terms, taken.features, taken.scorer, taken.compressor)

    with pytest.raises(ValueError, match=f"kind {taken.id!r} exists already"):
        register_kind(Other)
    with pytest.raises(TypeError, match="must have an attribute `kind`"):
        register_kind(KindEnv)
    with pytest.raises(ValueError, match="must be a name and a version"):
        Kind("Other", taken.decisions, taken.cost_terms, taken.features, taken.scorer, taken.compressor)
    with pytest.raises(KeyError, match="env='ChannelPrun-v0' is not known.*Did you mean 'ChannelPrune-v0'"):
        get_kind("ChannelPrun-v0")


def test_a_kind_that_does_not_fit_a_task_is_told():
    with pytest.raises(
        ValueError, match="'digits-cnn' holds a Network.*fit the task: ChannelPrune-v0, JointPQ-v0, Mixed"
    ):
        get_case("TransformerNAS-v0", "digits-cnn")
    with pytest.raises(ValueError, match="'hat-wmt14' holds a TransformerSpace.*fit the task: TransformerNAS-v0"):
        gym.make("compress_gym/ChannelPrune-v0", task="hat-wmt14")


def test_unknown_arguments_are_told():
    with pytest.raises(TypeError, match="unexpected keyword argument 'bit': .*Did you mean 'bits'"):
        gym.make("compress_gym/MixedQuant-v0", bit=(4, 8))
    with pytest.raises(TypeError, match="argument='bits' is not known"):
        gym.make("compress_gym/ChannelPrune-v0", bits=(4, 8))


def broken():
    raise OSError("out of order")


def halfway():
    """What a plugin does that ends the process after it registered a kind."""
    taken = next(iter(KINDS.values()))

    class HalfEnv(KindEnv):
        """One."""

        kind = Kind("Half-v0", taken.decisions, taken.cost_terms, taken.features, taken.scorer, taken.compressor)

    register_kind(HalfEnv)
    raise SystemExit("bye")


def test_a_plugin_that_fails_is_told_and_the_others_work(monkeypatch):
    called = []
    monkeypatch.setattr(f"{__name__}.works", lambda: called.append(1), raising=False)
    entries = [
        metadata.EntryPoint(name, f"{__name__}:{function}", registry.PLUGINS)
        for name, function in (("bad", "broken"), ("missing", "nothing"), ("ends", "leaves"), ("good", "works"))
    ]
    monkeypatch.setattr(f"{__name__}.leaves", halfway, raising=False)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: entries)
    with pytest.warns(UserWarning, match="does not load and is left out") as warned:
        load_plugins()
    assert called == [1] and len(warned) == 3
    assert "Half-v0" not in KINDS and "compress_gym/Half-v0" not in gym.registry
    assert "'bad'" in str(warned[0].message) and "out of order" in str(warned[0].message)
