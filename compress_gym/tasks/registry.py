"""The tasks there are: shipped, registered by other packages, and a user's own."""

from __future__ import annotations

import warnings
from pathlib import Path

from compress_gym.support.cards import card_path
from compress_gym.support.errors import AssetError, unknown_name
from compress_gym.support.home import home
from compress_gym.tasks.declaration import FILE
from compress_gym.tasks.fetched import fetch_name
from compress_gym.tasks.task import WEIGHTS, Task

ASSETS = Path(__file__).parent / "assets"
# Folders that other packages registered, by name.
_REGISTERED: dict[str, Path] = {}


def user_tasks() -> Path:
    """Returns the folder of the user's own tasks."""
    return home() / "tasks"


def register_task(folder: str | Path) -> Task:
    """Registers a task's folder, so that its name can be given everywhere.

    Raises:
        AssetError: `task.json` is missing or wrong.
        ValueError: Another task has the name.
    """
    task = Task.read(Path(folder).expanduser().resolve())
    there = task_folders().get(task.name)
    if there is not None and there != task.folder:
        raise ValueError(f"task {task.name!r} of {task.folder} exists already, at {there}; give it another name")
    _REGISTERED[task.name] = task.folder
    return task


def task_folders() -> dict[str, Path]:
    """Returns the folders of all tasks by name; a shipped name cannot be taken by a user's task.

    What a user trained of a task that is shipped without weights lies in the user's folder.
    """
    shipped = {path.parent.name: path.parent for path in ASSETS.glob(f"*/{FILE}")}
    own = {path.parent.name: path.parent for path in user_tasks().glob(f"*/{FILE}")} | _REGISTERED
    taken = {n: p for n, p in shipped.items() if _is_trained(p) or not (own.get(n, p) / WEIGHTS).exists()}
    return dict(sorted((own | taken).items()))


def _is_trained(folder: Path) -> bool:
    """Returns whether a shipped task has weights; of those that are fetched, the package has the card alone."""
    return (folder / WEIGHTS).exists() or card_path(folder / WEIGHTS).exists()


def fetchable() -> dict[str, Task]:
    """Returns the tasks that have files to be fetched, by the names under which these are fetched."""
    tasks = map(Task.read, (path for path in task_folders().values() if path.parent == ASSETS))
    return {fetch_name(task.name): task for task in tasks if task.declared.fetched}


def list_tasks(kind: str | None = None) -> list[str]:
    """Returns the names of the tasks that some environment takes.

    Args:
        kind: An environment's id, `ChannelPrune-v0`: only those that are meant for it.
    """
    names = []
    for name, folder in task_folders().items():
        try:
            task = Task.read(folder)
        except AssetError as error:  # one damaged file hides no other task
            warnings.warn(f"{error}; the task {name!r} is left out", stacklevel=2)
            continue
        if task.ready and (kind is None or kind.removeprefix("compress_gym/") in task.declared.kinds):
            names.append(name)
    return names


def get_task(name: str) -> Task:
    """Returns a task by name.

    Raises:
        KeyError: There is no such task; the message names the closest match.
        AssetError: Its file is damaged.
    """
    folders = task_folders()
    if name not in folders:
        raise unknown_name("task", name, folders)
    return Task.read(folders[name])


def is_shipped(task: Task) -> bool:
    """Returns whether a task is part of the package, into which nothing is written."""
    return task.folder.parent == ASSETS
