"""Records what every environment does: `python -m tests.envs.record_traces [ID ...]` writes `traces/<id>.npz`.

After a change that is meant to change what an environment does; `test_traces.py` compares with what is stored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import compress_gym  # noqa: F401  (registers the ids)

FOLDER = Path(__file__).parent / "traces"
EPISODES = 200
# Episodes of which every observation is stored.
OBSERVED = 5
# What is recorded besides the defaults.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ChannelPrune-v0": {
        "drawn": {
            "task": ["digits-cnn", "cifar10-resnet20"],
            "device": ["bitfusion", "bismo-edge"],
            "budget": [0.75, 0.9],
        },
        "discrete": {"budget": 0.5, "budget_rule": "repair", "action_type": "discrete"},
    },
    "MixedQuant-v0": {
        "haq": {"task": "cifar10-resnet20", "device": "bitfusion", "budget": 0.9, "reward": "haq"},
        "bops": {
            "task": "cifar10-plain20",
            "device": None,
            "cost": "bops",
            "budget": 0.4,
            "features": "sensitivity",
        },
    },
    "JointPQ-v0": {
        "sensitivity": {"task": "cifar10-resnet20", "budget": 0.3, "reward": "accuracy", "features": "sensitivity"},
        "discrete": {"budget_rule": "repair", "action_type": "discrete", "reward": "amc-macs"},
    },
    "TransformerNAS-v0": {
        "hat": {"reward": "hat", "budget": 0.3333},
        "discrete": {"action_type": "discrete", "budget": 0.6, "cost": "macs", "budget_rule": "repair"},
    },
}


def path_of(env_id: str) -> Path:
    """Returns where the trace of `compress_gym/<name>` lies."""
    return FOLDER / f"{env_id.rpartition('/')[2]}.npz"


def trace(env_id: str, settings: dict[str, Any], episodes: int = EPISODES) -> dict[str, NDArray[Any]]:
    """Plays seeded random episodes.

    Args:
        env_id: Id of a registered environment.
        settings: Its arguments.
        episodes: How many are played.

    Returns:
        `observations` of the first episodes `[steps, D]`, `rewards` of every episode's last step, and of each number in
        its info a row of all episodes' numbers, `info/<name>`; those of `strategy` one decision after the other.
    """
    env, rng = gym.make(env_id, **settings), np.random.default_rng(0)
    observations, rewards, infos = [], [], []
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        seen, terminated, reward = [observation], False, 0.0
        while not terminated:
            if isinstance(env.action_space, gym.spaces.Discrete):
                action = rng.choice(np.flatnonzero(env.unwrapped.action_masks()))
            else:
                action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            observation, reward, terminated, _, info = env.step(action)
            seen.append(observation)
        rewards.append(reward)
        infos.append(info)
        observations += seen if episode < OBSERVED else []
    traced = {"observations": np.array(observations), "rewards": np.array(rewards)}
    for name in sorted(set().union(*infos)):
        told = [info[name] for info in infos if name in info]
        numbers = np.concatenate([np.ravel(list(x.values()) if isinstance(x, dict) else x) for x in told])
        if numbers.dtype.kind in "biuf":
            traced[f"info/{name}"] = numbers
    return traced


def record(env_id: str) -> Path:
    """Writes the trace of an environment: its settings by name, and what was traced with each."""
    settings = {"default": {}, **SETTINGS.get(env_id.rpartition("/")[2], {})}
    arrays = {f"{name}/{key}": x for name, chosen in settings.items() for key, x in trace(env_id, chosen).items()}
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(path_of(env_id), settings=np.array(json.dumps(settings)), **arrays)
    return path_of(env_id)


if __name__ == "__main__":
    for name in sys.argv[1:] or [name for name in gym.registry if name.startswith("compress_gym/")]:
        written = record(f"compress_gym/{name.removeprefix('compress_gym/')}")
        print(f"{written}: {written.stat().st_size:,} bytes")
