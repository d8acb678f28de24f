"""What the package ships: tasks, their cases, and devices by what they time; a user's own are on no page."""

from __future__ import annotations

from typing import Any

from compress_gym.devices import list_devices, load_device
from compress_gym.kinds import Case, cases_of
from compress_gym.tasks import Task, get_task, is_shipped, task_folders


def shipped_tasks(ready: bool = True) -> list[Task]:
    """Returns the shipped tasks that environments take, or those that lack their weights."""
    return [task for task in map(get_task, task_folders()) if is_shipped(task) and task.ready is ready]


def shipped_cases() -> list[Case]:
    """Returns the cases of the shipped tasks."""
    return [case for task in shipped_tasks() for case in cases_of(task)]


def device_cards(of: type) -> dict[str, dict[str, Any]]:
    """Returns the cards of the shipped devices of a class by name."""
    return {name: load_device(name).card for name in list_devices(of, shipped=True)}
