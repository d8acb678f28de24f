"""Makes a task of a user's own network and data: a folder like those that are shipped."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress_gym.data import Dataset
from compress_gym.data.own import check_labels
from compress_gym.devices import load_device
from compress_gym.kinds import KINDS
from compress_gym.live.recovery import parse_recovery
from compress_gym.live.weights import load_weights
from compress_gym.making.train import write_weights
from compress_gym.networks import Network
from compress_gym.networks.trace import trace
from compress_gym.support.cards import provenance
from compress_gym.tasks import Task, task_folders, user_tasks
from compress_gym.tasks.declaration import FILE, NAME, Declaration

# Batch-norm statistics need no more.
_CALIBRATION, _SCORED = 1024, 2000


def new_task(
    name: str,
    network: str,
    weights: Path,
    data: str,
    command: str,
    device: str | None = None,
    levels: int = 16,
    recovery: str | None = None,
    loss: bool = False,
) -> Task:
    """Makes a task and checks it; nothing is left where something is wrong.

    Args:
        name: Its name.
        network: `file.py:name` of a function that returns the module, or `package.module:name`; a file is copied into
            the task's folder.
        weights: Trained weights of the module, safetensors.
        data: `file.py:name` of a function that returns the splits, or `package.module:name`.
        command: The command line, for the card.
        device: Name of the device that its environments take by default.
        levels: Most channel counts of a group.
        recovery: The default recovery; default: what the shipped tasks have, as far as the network has batch norms.
        loss: Whether the validation loss is a score column, too.

    Returns:
        The task.

    Raises:
        ValueError: The name is taken or illegal, the network cannot be followed, or data or weights do not fit it; the
            message says which.
    """
    if recovery is not None:
        parse_recovery(recovery)
    if device is not None:
        load_device(device)
        # A table's path is meant from where the command is given; environments are made elsewhere.
        device = str(Path(device).resolve()) if Path(device).is_file() else device
    folder = user_tasks() / name
    if name in task_folders() or folder.exists():
        raise ValueError(f"task {name!r} exists already, at {task_folders().get(name, folder)}; choose another name")
    if not re.fullmatch(NAME, name):
        raise ValueError(f"NAME {name!r} must be letters, digits, dots, dashes and underscores, 64 at most")
    user_tasks().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=user_tasks(), prefix=".new-") as temporary:
        made = Path(temporary) / name
        made.mkdir()
        build, splits = _entry("network", network, made), _entry("data", data, made)
        declared: dict[str, Any] = {"name": name, "data": splits, "network": {"build": build}, "kinds": ["none-v0"]}
        task = Task(Declaration.model_validate(declared), made)
        module, own = _module(task, network, weights), _data(task, data)
        described = _described(module, own, name)
        has_norms = any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in module.modules())
        usual = (
            ("reconstruct+adaptive-bn", "adaptive-bn", "reconstruct", "none") if has_norms else ("reconstruct", "none")
        )
        recoveries = usual if recovery is None else (recovery, *(r for r in usual if r != recovery))
        declared |= {
            "summary": f"{type(module).__name__} on your data",
            "columns": {"accuracy": {}, **({"valid_loss": _LOSS} if loss else {})},
            "device": device,
            "recoveries": recoveries,
            "calibration": {"images": min(_CALIBRATION, len(own.train.labels))},
            "validation_images": min(_SCORED, len(own.validation.labels)),
            "options": {"levels": levels},
            "kinds": _fitting(described, {"levels": levels}),
        }
        text = json.dumps(Declaration.model_validate(declared).model_dump(mode="json"), indent=1) + "\n"
        (made / FILE).write_text(text)
        what = f"weights of task {name}, as they were given"
        card = {"what": what, "weights_given": weights.name, **provenance(command, ["torch", "numpy"])}
        write_weights(made, described, module, own, card)
        made.replace(folder)
    return Task.read(folder)


_LOSS = {"surrogate": "loss_surrogate", "link": "exp(-x)"}


def _entry(option: str, entry: str, folder: Path) -> str:
    """Copies the file of an entry point into the task's folder, and returns the entry point there."""
    source, _, name = entry.rpartition(":")
    if not source or not name.isidentifier():
        raise ValueError(f"--{option} {entry} must be FILE.py:FUNCTION or package.module:FUNCTION")
    if not source.endswith(".py"):
        return entry
    path = Path(source).expanduser()
    if not path.exists():
        raise ValueError(f"--{option} {entry}: there is no file {path}")
    copied = f"{option}.py"
    shutil.copyfile(path, folder / copied)
    return f"{copied}:{name}"


def _module(task: Task, entry: str, weights: Path) -> nn.Module:
    """Builds the module and loads the given weights."""
    module = _called(f"--network {entry}", task.untrained_module)
    if not isinstance(module, nn.Module):
        raise ValueError(f"--network {entry} returns a {type(module).__name__}, no torch module")
    load_weights(module, weights, check_card=False)
    return module.eval()


def _data(task: Task, entry: str) -> Dataset:
    read = _called(f"--data {entry}", task.data)
    if not isinstance(read, Dataset):
        raise ValueError(f"--data {entry} returns a {type(read).__name__}, no splits")
    return read


def _called(what: str, function: Callable[[], Any]) -> Any:
    """Calls a user's code; whatever is wrong with it is told with the option that named it."""
    try:
        return function()
    except ImportError as error:
        raise ValueError(
            f"{what}: {error}; the file is copied into the task, so it can import what is installed, not its neighbours"
        ) from error
    except (ValueError, KeyError) as error:
        raise ValueError(f"{what}: {error.args[0] if error.args else error}") from error
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error


def _described(module: nn.Module, data: Dataset, name: str) -> Network:
    """Traces the module, and checks that it takes the inputs and has an output for every label."""
    with torch.no_grad():
        try:
            logits = module(torch.from_numpy(data.validation.take(2).images))
        except RuntimeError as error:
            raise ValueError(
                f"--data: the network does not take inputs of shape {data.validation.pixels.shape[1:]}: {error}"
            ) from error
        except Exception as error:
            raise ValueError(
                f"--network: the module cannot be called with one batch of inputs: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("--network: the module must return one tensor of logits [N, classes]")
    for split in ("train", "validation", "test"):
        check_labels(f"--data: {split}", getattr(data, split), logits.shape[1])
    return trace(module, data.train.pixels.shape[1:], name)


def _fitting(network: Network, options: dict[str, Any]) -> list[str]:
    """Returns the ids of the kinds that find something to decide in a network.

    Raises:
        ValueError: None does; the message says why.
    """
    fitting, reasons = [], []
    for kind in (kind for kind in KINDS.values() if isinstance(network, kind.network)):
        try:
            kind.decisions(network, options)
            fitting.append(kind.id)
        except ValueError as error:
            reasons.append(f"{kind.id}: {error}")
    if not fitting:
        raise ValueError(f"--network: no kind finds anything to decide in it ({'; '.join(reasons)})")
    return fitting
