"""Environments do what was recorded; after an intended change, `tests/envs/record_traces.py` records them anew."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from tests.envs.record_traces import EPISODES, FOLDER, path_of, record, trace

IDS = sorted(name for name in gym.registry if name.startswith("compress_gym/"))


@pytest.mark.parametrize("env_id", IDS)
def test_an_environment_does_what_was_recorded(env_id):
    if not path_of(env_id).exists():
        pytest.skip(f"{env_id} has no trace; python -m tests.envs.record_traces writes one")
    with np.load(path_of(env_id), allow_pickle=False) as stored:
        arrays = dict(stored)
    settings = json.loads(str(arrays.pop("settings")))
    now = {f"{name}/{key}": x for name, chosen in settings.items() for key, x in trace(env_id, chosen).items()}
    # Another processor rounds the last digits differently; infos may have more numbers than they had.
    for key, array in arrays.items():
        np.testing.assert_allclose(now[key], array, rtol=1e-6, atol=1e-9, err_msg=key)


def test_traces_are_of_environments_that_there_are_and_small():
    for path in FOLDER.iterdir():
        assert path in map(path_of, IDS) and path.stat().st_size < 150_000


def test_the_recorder_writes_what_is_stored(tmp_path, monkeypatch):
    before = path_of("compress_gym/ChannelPrune-v0")
    monkeypatch.setattr("tests.envs.record_traces.FOLDER", tmp_path)
    with np.load(record("compress_gym/ChannelPrune-v0")) as now, np.load(before) as stored:
        assert set(now) == set(stored) and len(stored["default/rewards"]) == EPISODES
