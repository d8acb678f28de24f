"""Steps a second of every environment, CartPole's beside them in the same run, and how long the first step takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.progress import track

from compress_gym.kinds import KINDS, scored_tasks
from compress_gym.kinds.shared.registry import NAMESPACE

REPETITIONS = 7
# Steps a repetition; a vector environment's are num_envs times as many.
SCALAR_STEPS, VECTOR_STEPS = 20_000, 130
NUM_ENVS = 4096
CARTPOLE = "CartPole-v1"
_FIRST_STEP = """
import time
begun = time.perf_counter()
import gymnasium as gym, compress_gym
env = gym.make({name!r}, task={task!r})
env.reset(seed=0)
terminated = False
while not terminated:
    *_, terminated, _, _ = env.step(env.action_space.sample())
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True)
class SpeedCase:
    """Something that is stepped.

    Attributes:
        name: The environment's id.
        task: The task, "" for CartPole.
        accuracy: Where accuracies come from.
        kind: `unwrapped`, `gym.make` or `vector`.
        threads: Of a vector environment.
        copies: Whether a vector environment returns copies of its observations.
    """

    name: str
    task: str = ""
    accuracy: str = ""
    kind: str = "unwrapped"
    threads: int = 1
    copies: bool = True

    def stepper(self) -> Callable[[int], float]:
        """Builds the environment and returns a function from a number of steps to the seconds each took."""
        settings: dict[str, Any] = {}
        if self.task:
            settings = {"task": self.task, "accuracy": self.accuracy, "reward": "accuracy"}
        if self.kind == "vector":
            if self.task:
                settings |= {"num_threads": self.threads, "copy": self.copies}
            return _vector_stepper(
                gym.make_vec(self.name, NUM_ENVS, vectorization_mode="vector_entry_point", **settings)
            )
        env = gym.make(self.name, **settings)
        return _scalar_stepper(env.unwrapped if self.kind == "unwrapped" else env)


def _scalar_stepper(env: gym.Env) -> Callable[[int], float]:
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(256)]

    def seconds(steps: int) -> float:
        begun = time.perf_counter()
        for step in range(steps):
            *_, terminated, truncated, _ = env.step(actions[step & 255])
            if terminated or truncated:
                env.reset()
        return (time.perf_counter() - begun) / steps

    return seconds


def _vector_stepper(envs: gym.vector.VectorEnv) -> Callable[[int], float]:
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(16)]

    def seconds(steps: int) -> float:
        begun = time.perf_counter()
        for step in range(steps):
            envs.step(actions[step & 15])
        return (time.perf_counter() - begun) / steps / envs.num_envs

    return seconds


def cases() -> list[SpeedCase]:
    """Lists what is compared: CartPole first of each kind, then every id, task and table or surrogate."""
    found = []
    scored = [(f"{NAMESPACE}{kind}", *found) for kind in KINDS for found in scored_tasks(kind).items()]
    for kind in ("unwrapped", "gym.make"):
        found.append(SpeedCase(CARTPOLE, kind=kind))
        found += [SpeedCase(name, task, signal, kind) for name, task, signal in scored]
    found.append(SpeedCase(CARTPOLE, kind="vector"))
    for threads, copies in ((1, True), (1, False), (2, True)):
        found += [SpeedCase(name, task, signal, "vector", threads, copies) for name, task, signal in scored]
    return found


def measure(repetitions: int = REPETITIONS) -> list[dict[str, Any]]:
    """Times every case, in turns, so that a machine that slows down slows all of them.

    Returns:
        One entry a case: nanoseconds a step (median and p10), steps a second, and how many times as fast as CartPole of
        the same kind (median of the ratios of each turn).
    """
    listed = cases()
    steppers = [case.stepper() for case in listed]
    steps = [VECTOR_STEPS if case.kind == "vector" else SCALAR_STEPS for case in listed]
    for stepper, count in zip(steppers, steps, strict=True):
        stepper(max(32, count // 10))
    seconds = np.empty((repetitions, len(listed)))
    for turn in track(range(repetitions), description="stepping"):
        seconds[turn] = [stepper(count) for stepper, count in zip(steppers, steps, strict=True)]
    reference = {case.kind: n for n, case in enumerate(listed) if case.name == CARTPOLE}
    return [
        {
            "environment": case.name,
            "task": case.task,
            "accuracy": case.accuracy,
            "kind": case.kind if case.kind != "vector" else f"vector of {NUM_ENVS:,}",
            "threads": case.threads,
            "copies": case.copies,
            "ns_a_step": round(float(np.median(seconds[:, n])) * 1e9, 1),
            "p10_ns": round(float(np.quantile(seconds[:, n], 0.1)) * 1e9, 1),
            "steps_a_second": round(1 / float(np.median(seconds[:, n]))),
            "times_cartpole": round(float(np.median(seconds[:, reference[case.kind]] / seconds[:, n])), 2),
        }
        for n, case in enumerate(listed)
    ]


def start_up() -> list[dict[str, Any]]:
    """Times import, `gym.make` and a first episode in a new process: with an empty kernel cache, then a filled one."""
    found = []
    for name in (f"{NAMESPACE}{kind}" for kind in KINDS):
        for task in scored_tasks(name):
            with tempfile.TemporaryDirectory() as cache:
                cold, *warm = (_first_episode(name, task, Path(cache)) for _ in range(1 + 3))
            found.append(
                {"environment": name, "task": task, "cold_seconds": cold, "warm_seconds": float(np.median(warm))}
            )
    return found


def _first_episode(name: str, task: str, cache: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_STEP.format(name=name, task=task)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return round(float(done.stdout), 2)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws steps a second of every case, CartPole's marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.32 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    labels = [
        " ".join(
            part
            for part in (
                row["environment"].removeprefix(NAMESPACE),
                row["task"],
                row["accuracy"],
                row["kind"],
                f"{row['threads']} threads" if row["threads"] > 1 else "",
                "" if row["copies"] else "views",
            )
            if part
        )
        for row in rows
    ]
    colours = ["#999999" if row["environment"] == CARTPOLE else "#3366aa" for row in rows]
    places = range(len(rows))[::-1]
    axes.barh(places, [row["steps_a_second"] for row in rows], color=colours)
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("steps a second")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
