"""Weights as safetensors: saved, and loaded with checks that name what does not fit."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from compress_gym.support.cards import read_card, write_atomically
from compress_gym.support.errors import AssetError


def save_weights(module: nn.Module, path: Path, half: bool = False) -> None:
    """Writes a module's parameters and buffers, the floating-point ones in half precision if so wished."""
    tensors = {name: t.detach().contiguous().clone() for name, t in module.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    write_atomically(path, lambda p: save_file(tensors, p))


def load_weights(module: nn.Module, path: Path, check_card: bool = True) -> None:
    """Loads weights into a module.

    Args:
        module: Where the weights go.
        path: A safetensors file.
        check_card: Check the file against the card beside it first.

    Raises:
        AssetError: The file is damaged, or a tensor is missing, unknown, or of another shape.
    """
    if check_card:
        read_card(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: not readable as safetensors ({error})") from error
    expected = module.state_dict()
    differing = sorted(set(expected) ^ set(tensors))
    if differing:
        raise AssetError(f"{path}: tensors differ from the network's: {', '.join(differing[:5])}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise AssetError(
                f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"the network's has {tuple(expected[name].shape)}"
            )
    module.load_state_dict(tensors)
