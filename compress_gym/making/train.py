"""Trains a task's network and writes its weights."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress_gym.data import Dataset, Split
from compress_gym.live.training import Recipe, train_module
from compress_gym.live.weights import save_weights
from compress_gym.networks import Network
from compress_gym.networks.network import description_digest
from compress_gym.networks.trace import trace
from compress_gym.support.cards import provenance, write_atomically, write_card
from compress_gym.support.processor import bf16_supported, checked_device, torch_device_name
from compress_gym.tasks import Task

DEFAULT_TRAINING = Recipe(epochs=30, batch_size=128, peak_lr=0.1, weight_decay=5e-4, augmentation="none")


@dataclass(frozen=True)
class TrainSettings:
    """How a training is run, whatever is trained.

    Attributes:
        seed: Of everything random.
        bf16: Whether to compute in bfloat16; `None`: where it is computed natively.
        cuda: Whether to train on the first CUDA device.
        epochs: One cycle of so many instead of the recipe's.
        checkpoint: Written from time to time; a killed training that is started again with the same goes on.
        updates: As `epochs`, of what is trained by updates.
        minutes: Stop after so many, whatever is left.
        lr: Peak learning rate in place of the recipe's.
        warm_start: A folder of weights to begin with.
    """

    seed: int = 0
    bf16: bool | None = None
    cuda: bool = False
    epochs: int | None = None
    checkpoint: Path | None = None
    updates: int | None = None
    minutes: float | None = None
    lr: float | None = None
    warm_start: Path | None = None

    def refuse(self, *names: str) -> None:
        """Refuses settings that a training does not have.

        Raises:
            ValueError: One is given.
        """
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} does not go with this task's training")


def train_cycles(
    module: nn.Module,
    data: Split,
    cycles: tuple[Recipe, ...],
    seed: int,
    bf16: bool,
    checkpoint: Path | None,
    device: str = "cpu",
) -> bool:
    """Trains a module in place, cycle after cycle; the n-th has seed `seed + n`.

    Each cycle has a checkpoint of its own, with its number before the ending; a killed training goes on from the
    latest.

    Returns:
        Whether it went on from a checkpoint.
    """
    files = [checkpoint and checkpoint.with_suffix(f".{n}{checkpoint.suffix}") for n in range(1, len(cycles) + 1)]
    begun = [n for n, file in enumerate(files) if file and file.exists()]
    for number, recipe in enumerate(cycles):
        if begun and number < begun[-1]:
            continue  # a later cycle has begun from what this one left
        title = f"cycle {number + 1} of {len(cycles)}"
        train_module(module, data, recipe, seed + number, bf16, files[number], progress=title, device=device)
    return bool(begun)


def share_correct(module: nn.Module, data: Split) -> float:
    """Returns the fraction of images classified correctly."""
    correct, rows = 0, np.arange(len(data.labels))
    with torch.no_grad():
        for start in range(0, len(rows), 500):
            part = data.part(rows[start : start + 500])
            correct += int((module(torch.from_numpy(part.images)).argmax(1).numpy() == part.labels).sum())
    return correct / len(data.labels)


def train(task: Task, out: Path, settings: TrainSettings, command: str) -> str:
    """Trains a task's network by its recipe `train` and writes weights, card and network description.

    Returns:
        What was reached, a line for people.

    Raises:
        ValueError: The task has no recipe and `epochs` is not given, or its data set has no training images.
    """
    settings.refuse("updates", "minutes", "lr", "warm_start")
    data = task.data()
    usual = replace(DEFAULT_TRAINING, batch_size=min(DEFAULT_TRAINING.batch_size, len(data.train.labels)))
    cycles = [Recipe.of(cycle) for cycle in task.declared.recipes.get("train", ())] or [usual]
    if settings.epochs:
        cycles = [replace(cycles[-1], epochs=settings.epochs)]
    device = checked_device("cuda" if settings.cuda else "cpu")
    bf16 = bf16_supported(device) if settings.bf16 is None else settings.bf16
    torch.manual_seed(settings.seed)
    module = task.untrained_module()
    network = trace(module, data.train.pixels.shape[1:], task.name)
    started = time.perf_counter()
    resumed = train_cycles(module, data.train, tuple(cycles), settings.seed, bf16, settings.checkpoint, device)
    seconds = time.perf_counter() - started
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if task.declared.half_weights:
        module.half().float()  # what is scored below is what is stored
    recipe = {"cycles": [asdict(recipe) for recipe in cycles], "seed": settings.seed, "bf16": bf16}
    card = {
        "what": f"weights of task {task.name}, trained on the training split of its data set",
        "selection": "none: last epoch, one seed; test images chose nothing",
        "recipe": recipe,
        "trained_on": torch_device_name(device),
        "seconds": "went on from a checkpoint" if resumed else round(seconds, 1),
        **provenance(command, ["torch", "numpy"]),
    }
    card = write_weights(out, network, module, data, card, task.declared.half_weights)
    return (
        f"{task.name}: validation {card['validation_accuracy']:.4f}, test {card['test_accuracy']:.4f}, "
        f"{seconds:.0f} s, written to {out}"
    )


def write_weights(
    folder: Path, network: Network, module: nn.Module, data: Dataset, card: dict[str, Any], half: bool = False
) -> dict[str, Any]:
    """Writes a network's description, its weights and their card with the accuracies of all splits; returns the card.

    The module is in evaluation mode; `card` is what else the card says.
    """
    description = json.dumps(network.to_json(), indent=1) + "\n"
    write_atomically(folder / "network.json", lambda p: p.write_text(description))
    weights = folder / "weights.safetensors"
    save_weights(module, weights, half=half)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    full = {
        "network_sha256": description_digest(network.to_json()),
        "parameters": sum(p.numel() for p in module.parameters()),
        "stored_as": "float16" if half else "float32",
        **{f"{name}_images": len(split.labels) for name, split in splits.items()},
        "split_digests": {name: split.digest() for name, split in splits.items()},
        "validation_accuracy": share_correct(module, data.validation),
        "test_accuracy": share_correct(module, data.test),
        **card,
    }
    write_card(weights, full)
    return full
