"""Weights as safetensors: saved, and loaded with checks that name what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compress_gym.support.cards import read_card, write_atomically
from compress_gym.support.errors import AssetError


def save_weights(module: nn.Module, path: Path, half: bool = False) -> None:
    """Writes a module's parameters and buffers, the floating-point ones in half precision if so wished."""
    tensors = {name: t.detach().contiguous().clone() for name, t in module.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    write_atomically(path, lambda p: save_file(tensors, p))


def load_weights(module: nn.Module, path: Path, check_card: bool = True) -> None:
    """Loads weights into a module, checked against the card beside them first if so wished.

    Raises:
        AssetError: The file is damaged, or a tensor is missing, unknown, or of another shape.
    """
    if check_card:
        read_card(path)
    load_tensors(module, read_tensors(path), path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        AssetError: It is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: not readable as safetensors ({error})") from error


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Gives a module the tensors that were read from a path.

    Raises:
        AssetError: A tensor is missing, unknown, or of another shape.
    """
    expected = module.state_dict()
    if differing := sorted(set(expected) ^ set(tensors)):
        raise AssetError(f"{path}: tensors differ from the network's: {', '.join(differing[:5])}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise AssetError(
                f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"the network's has {tuple(expected[name].shape)}"
            )
    module.load_state_dict(tensors)


def write_checkpoint(path: Path, tensors: dict[str, Tensor], run: dict[str, Any]) -> None:
    """Writes a training's tensors and what it is."""
    write_atomically(path, lambda p: save_file(tensors, p, metadata={"run": json.dumps(run)}))


def read_checkpoint(
    path: Path, counted: str, prefix: str = "", remedy: str = "; remove it to start anew"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads what `write_checkpoint` wrote, of the tensors those whose names have a prefix.

    Raises:
        AssetError: The file is damaged, or lacks the entry that counts what is done; the message ends with a remedy.
    """
    try:
        with safe_open(path, "pt") as file:
            run = json.loads(file.metadata()["run"])
            run[counted] = int(run[counted])
            return run, {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise AssetError(f"{path}: not readable as a checkpoint ({error}){remedy}") from error
