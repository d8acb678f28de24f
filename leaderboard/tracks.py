"""Tracks: what is compressed, on which device, within which budget and allowance."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import compress_gym  # noqa: F401  (registers the ids)
from compress_gym.kinds import get_kind
from compress_gym.problem import Problem
from compress_gym.support.errors import unknown_name
from compress_gym.tasks import list_tasks
from leaderboard.fields import Name, Text, complaints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
TRACKS = FOLDER / "tracks.toml"


class Track(BaseModel):
    """One competition.

    Attributes:
        name: The key in the file, and the name of the folder of submissions.
        title: One line for people.
        env: Environment id with its version.
        tasks: Every one must be submitted for.
        device: Where latencies come from; "auto" is each task's own.
        cost: Which cost is bounded.
        budget: The ceiling, a fraction of the uncompressed cost.
        evaluations: The allowance for each task and seed.
        seeds: How many are asked for: 0, 1, ...
        zero_shot: Whether the tasks are held out: nobody may have trained on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    title: Text
    env: str = Field(pattern=r"^[A-Za-z0-9_]+/[A-Za-z0-9]+-v\d+$")
    tasks: tuple[Name, ...] = Field(min_length=1)
    device: str
    cost: str
    budget: float = Field(gt=0, le=1)
    evaluations: int = Field(ge=1)
    seeds: int = Field(ge=1)
    zero_shot: bool = False

    @property
    def env_name(self) -> str:
        """The environment id without its version."""
        return self.env.rpartition("-v")[0]

    @property
    def metric(self) -> str:
        """What the accuracy of the tasks is called."""
        return get_kind(self.env_name).metric

    def problem(self, task: str) -> Problem:
        """Builds the problem of one of the tasks; the same object at every call.

        Raises:
            ValueError: The environment is not registered.
            KeyError: An unknown task, device or cost.
        """
        return _problem(self.env, task, self.device, self.cost, self.budget)


@lru_cache(maxsize=64)
def _problem(env: str, task: str, device: str, cost: str, budget: float) -> Problem:
    try:
        made: Any = gym.make(env, task=task, device=device, cost=cost, budget=budget, reward="accuracy")
    except gym.error.Error as error:
        raise ValueError(f"env={env!r}: {error}") from error
    problem: Problem = made.unwrapped.problem
    return problem


def load_tracks(path: Path = TRACKS) -> dict[str, Track]:
    """Reads a file of tracks.

    Returns:
        Track name to track, in the order of the file.

    Raises:
        ValueError: The file cannot be read, or a track is damaged; the message names it.
        KeyError: A track has a task that does not exist.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as TOML ({error})") from error
    if not tables:
        raise ValueError(f"{path}: holds no track")
    tracks = {}
    for name, table in tables.items():
        try:
            tracks[name] = Track.model_validate({**table, "name": name} if isinstance(table, dict) else table)
        except ValidationError as error:
            raise ValueError(f"{path}: track {name!r}: {'; '.join(complaints(error))}") from error
        for task in tracks[name].tasks:
            if task not in list_tasks():
                raise unknown_name(f"{path}: track {name!r}: task", task, list_tasks())
    return tracks
