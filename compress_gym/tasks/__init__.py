"""Tasks: a network, a data set, trained weights and measured scores under one name."""

from compress_gym.tasks.registry import (
    ASSETS,
    fetchable,
    get_task,
    is_shipped,
    list_tasks,
    register_task,
    task_folders,
    user_tasks,
)
from compress_gym.tasks.task import InMemory, Task

__all__ = [
    "ASSETS",
    "InMemory",
    "Task",
    "fetchable",
    "get_task",
    "is_shipped",
    "list_tasks",
    "register_task",
    "task_folders",
    "user_tasks",
]
