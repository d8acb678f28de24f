"""Hyper-parameters as plain data: `default:` and, per environment, what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from compress_gym.support.errors import unknown_name

FOLDER = Path(__file__).parent
# When an off-policy learner updates, and how often then; Stable-Baselines3's own forms.
SCHEDULES: dict[str, Callable[[Any], bool]] = {
    "train_freq": lambda value: _is_count(value) or _is_frequency(value),
    "gradient_steps": lambda value: value == -1 or _is_count(value),
}
LEGAL_SCHEDULES = (
    "train_freq is a number of steps, or [number, episode] or [number, step]; gradient_steps is a number of updates, "
    "or -1 for as many as steps were made"
)


def list_hyperparameters() -> list[str]:
    """Returns the names of the algorithms that have settings."""
    return sorted(path.stem for path in FOLDER.glob("*.yml"))


def read_hyperparameters(algorithm: str, env: str) -> dict[str, Any]:
    """Returns an algorithm's settings for an environment (`ChannelPrune-v0`).

    Raises:
        KeyError: The algorithm has none; the message names the closest match.
    """
    if algorithm not in list_hyperparameters():
        raise unknown_name("algo", algorithm, list_hyperparameters())
    data = yaml.safe_load((FOLDER / f"{algorithm}.yml").read_text())
    return {**data["default"], **data.get(env, {})}


def override(settings: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """Applies `name=value` changes, the value read as YAML.

    Raises:
        KeyError: A name is not one of the settings.
    """
    changed = dict(settings)
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator:
            raise ValueError(f"hyper-parameter {change!r} must have the form name=value")
        if name not in settings:
            raise unknown_name("hyper-parameter", name, settings)
        try:
            changed[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"hyper-parameter {change!r}: the value is not readable as YAML") from error
        if name in SCHEDULES:
            if not SCHEDULES[name](changed[name]):
                raise ValueError(f"hyper-parameter {change!r}: {LEGAL_SCHEDULES}")
            continue
        expected: tuple[type, ...] = (int, float) if isinstance(settings[name], float) else (type(settings[name]),)
        if name == "ent_coef" and str in expected:  # `auto` or a number
            expected = (int, float, str)
        if not isinstance(changed[name], expected):
            raise ValueError(
                f"hyper-parameter {change!r}: expected {expected[-1].__name__}, got {type(changed[name]).__name__}"
            )
        if (isinstance(settings[name], int) or name.endswith("learning_rate")) and changed[name] <= 0:
            raise ValueError(f"hyper-parameter {change!r} must be above 0")
    return changed


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_frequency(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_count(value[0]) and value[1] in ("episode", "step")
