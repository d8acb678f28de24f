"""Which tasks an environment can be made of with nothing but files that are there."""

from __future__ import annotations

from compress_gym.kinds.shared.case import get_case
from compress_gym.kinds.shared.registry import get_kind
from compress_gym.tasks import list_tasks


def scored_tasks(env_id: str) -> dict[str, str]:
    """Returns the tasks whose scores are measured or predicted for an environment.

    Args:
        env_id: For instance `compress_gym/JointPQ-v0`, or `JointPQ-v0`.

    Returns:
        Task name to `measured` or `surrogate`.

    Raises:
        KeyError: There is no such environment.
    """
    kind = get_kind(env_id)
    signals = {name: get_case(kind, name).best_signal() for name in list_tasks(kind.id)}
    return {name: signal for name, signal in signals.items() if signal != "live"}
