"""Which tasks an environment can be made of with nothing but what is shipped."""

from __future__ import annotations

from compress_gym.tasks import get_task, list_tasks
from compress_gym.tasks.translation import get_translation_task, list_translation_tasks


def shipped_tasks(env_id: str) -> dict[str, str]:
    """Returns the tasks whose accuracies are shipped for an environment, and where they come from.

    Args:
        env_id: For instance `compress_gym/JointPQ-v0`, or `JointPQ-v0`.

    Returns:
        Task name to `measured` or `surrogate`.

    Raises:
        KeyError: No task has decisions for such an environment.
    """
    env = env_id.removeprefix("compress_gym/").rpartition("-v")[0]
    if env == "TransformerNAS":
        signals = {name: get_translation_task(name).best_signal() for name in list_translation_tasks()}
    else:
        signals = {name: get_task(name).best_signal(env) for name in list_tasks()}
    return {name: signal for name, signal in signals.items() if signal != "live"}
