"""What the environments of tasks share: from names of tasks and devices to problems, and the vector environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compress_gym.devices import Device, Hardware, SimulatedDevice, list_devices, load_device, of_operations
from compress_gym.devices.costs.network import DEVICE_METRICS
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds.network_problem import network_problem
from compress_gym.problem import Problem
from compress_gym.problem.decisions import BitValues, DecisionSpace
from compress_gym.problem.distribution import draw_from
from compress_gym.problem.rewards import RewardFunction
from compress_gym.problem.scores import AccuracyModel, MeasuredAccuracy
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import card_path, sha256
from compress_gym.support.errors import unknown_name
from compress_gym.tasks import DEFAULT_BITS_DEVICE, Task, get_task

ACCURACIES = ("auto", "measured", "surrogate", "live")
FEATURES = ("sensitivity",)


def task_problem(
    env: str,
    task: str,
    device: str | None = "auto",
    accuracy: str = "auto",
    *,
    bits: Sequence[int] | None = None,
    cost: str = "latency_ms",
    budget: float = 0.5,
    budget_rule: str = "clip",
    reward: str | RewardFunction = "mnasnet",
    features: str | None = None,
) -> Problem:
    """Builds the problem behind an environment; the arguments are the environment's.

    Args:
        env: A key of `compress_gym.tasks.ENDINGS`.
        task: See the environment, like the others.
        device: See there.
        accuracy: See there.
        bits: See there.
        cost: See there.
        budget: See there.
        budget_rule: See there.
        reward: See there.
        features: See there.

    Raises:
        KeyError: An unknown task, device, accuracy, cost, budget rule, reward or name of features.
        ValueError: A budget out of range, a reward that ignores cost under `budget_rule="none"`, a damaged asset, a
            device that was not profiled for the task, bits that the device or the accuracies lack, features not
            measured, a cost that needs a device where there is none, or accuracies that the task does not have.
    """
    chosen = get_task(task)
    if accuracy not in ACCURACIES:
        raise unknown_name("accuracy", accuracy, ACCURACIES)
    if features not in (None, *FEATURES):
        raise unknown_name("features", features, FEATURES)
    if device == "auto":
        device = chosen.device if env == "ChannelPrune" else DEFAULT_BITS_DEVICE
    hardware = of_operations(load_device(device)) if device is not None else None
    offered = None if env == "ChannelPrune" else _bit_values(env, chosen, hardware, bits)
    decisions = chosen.decisions(env, offered)
    if hardware is None and cost in DEVICE_METRICS:
        raise ValueError(f"device=None has no {cost}; give a device, or bound another cost, such as cost='macs'")
    network, described, extra = chosen.network(), dict[str, str](), None
    if features is not None:
        extra = chosen.sensitivities().features(network, decisions)
        described = {"features": features, "features_hash": sha256(chosen.sensitivity_path)[:16]}
    return network_problem(
        network,
        decisions,
        _accuracy_model(chosen, env, decisions, accuracy),
        hardware,
        {"task": task, "task_version": chosen.version, "asset_hash": chosen.asset_hash(env), **described},
        extra_features=extra,
        cost=cost,
        budget=budget,
        budget_rule=budget_rule,
        reward=reward,
    )


def task_vector_env(
    build: Callable[..., Problem],
    num_envs: int,
    *,
    task: str | Sequence[str],
    device: str | None | Sequence[str | None] = "auto",
    budget: float | Sequence[float] = 0.5,
    action_type: str = "continuous",
    render_mode: str | None = None,
    autoreset_mode: str = "NextStep",
    copy: bool = True,
    num_threads: int = 1,
    **settings: Any,
) -> CompressionVectorEnv:
    """Builds a native vector environment.

    Args:
        build: Builds one problem.
        num_envs: How many environments.
        task: As of the environment, like the next four.
        device: See there.
        budget: See there.
        action_type: See there.
        render_mode: See there.
        autoreset_mode: See `CompressionVectorEnv`, like the next two.
        copy: See there.
        num_threads: See there.
        **settings: What `build` takes beside.
    """
    problems = draw_from(build, task, device, budget, **settings)
    return CompressionVectorEnv(problems, num_envs, action_type, render_mode, autoreset_mode, copy, num_threads)


def _bit_values(env: str, task: Task, device: Hardware | None, bits: Sequence[int] | None) -> BitValues:
    """Returns the wanted bits of those that a device has; by default all for which accuracies are measured."""
    if device is None:
        offered = BitValues(tuple(range(2, 9)))
    elif device.bit_values is None:
        names = list_devices(Device, SimulatedDevice)
        able = [name for name in names if of_operations(load_device(name)).bit_values is not None]
        raise ValueError(
            f"device={device.name!r} leaves no choice of bits, so {env} has nothing to decide; use one of {able}, "
            "or a table that holds operations of several precisions"
        )
    else:
        offered = device.bit_values
    if bits is None:
        return offered if offered.paired else BitValues(tuple(b for b in offered.values if b in task.bits))
    wanted = () if isinstance(bits, int) else tuple(sorted(set(bits)))
    if len(wanted) < 2 or not set(wanted) <= set(offered.values):
        name = None if device is None else device.name
        raise ValueError(
            f"bits={bits!r} must be two or more of {list(offered.values)}, which device={name!r} has; with one there "
            "is nothing to choose"
        )
    return BitValues(wanted, offered.paired)


def _accuracy_model(task: Task, env: str, decisions: DecisionSpace, accuracy: str) -> AccuracyModel:
    if accuracy == "auto":
        accuracy = task.best_signal(env)
        if accuracy != "live" and not _measured_for(task, env, decisions):
            accuracy = "live"
    if accuracy == "live":
        return task.live(threads=None, decisions=decisions)
    asset = task.asset(accuracy, env)
    if not asset.exists() and not card_path(asset).exists():  # where one of them is there, a file was lost
        raise ValueError(
            f"accuracy={accuracy!r}: task {task.name!r} has none for {env}; use accuracy={task.best_signal(env)!r}"
        )
    model: MeasuredAccuracy | SurrogateAccuracy = task.measured(env) if accuracy == "measured" else task.surrogate(env)
    if decisions == task.decisions(env):
        return model
    try:
        return model.restricted(decisions)
    except ValueError as error:
        raise ValueError(f"accuracy={accuracy!r} of task {task.name!r}: {error}; use accuracy='live'") from error


def _measured_for(task: Task, env: str, decisions: DecisionSpace) -> bool:
    """Returns whether what was measured of a task covers these decisions."""
    try:
        decisions.places_in(task.decisions(env))
    except ValueError:
        return False
    return True
