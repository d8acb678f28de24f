"""Trains a task's network and writes its assets: `python -m compress_gym.train digits-cnn`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from rich.progress import track
from torch import nn

from compress_gym.cards import provenance, sha256, write_atomically, write_card
from compress_gym.commands import run_command
from compress_gym.compression.weights import save_weights
from compress_gym.data import Split, load_dataset
from compress_gym.networks.trace import trace_chain
from compress_gym.processor import bf16_supported
from compress_gym.tasks import TASKS, get_task


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum under a one-cycle schedule.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images an update.
        peak_lr: Highest learning rate of the cycle.
        weight_decay: L2 penalty.
        shift: Each batch is shifted by up to this many pixels in each direction.
    """

    epochs: int
    batch_size: int
    peak_lr: float
    weight_decay: float
    shift: int


RECIPES = {"digits-cnn": Recipe(epochs=60, batch_size=64, peak_lr=0.1, weight_decay=5e-4, shift=1)}


def train(module: nn.Module, data: Split, recipe: Recipe, seed: int, bf16: bool) -> None:
    """Trains a module in place; the last epoch's weights are the result (nothing is selected)."""
    torch.manual_seed(seed)
    shifts = np.random.default_rng(seed)
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    updates = len(labels) // recipe.batch_size
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=recipe.peak_lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=recipe.epochs * updates)
    for _ in track(range(recipe.epochs), description="training"):
        order = torch.randperm(len(labels))
        for batch in order[: updates * recipe.batch_size].split(recipe.batch_size):
            dy, dx = shifts.integers(-recipe.shift, recipe.shift + 1, size=2)
            shifted = torch.roll(images[batch], (int(dy), int(dx)), dims=(2, 3))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = nn.functional.cross_entropy(module(shifted), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    module.eval()


def accuracy(module: nn.Module, data: Split) -> float:
    """Returns the fraction of images classified correctly."""
    with torch.no_grad():
        predicted = module(torch.from_numpy(data.images)).argmax(1)
    return int((predicted == torch.from_numpy(data.labels)).sum()) / len(data.labels)


@click.command()
@click.argument("task", type=click.Choice(sorted(TASKS)))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to [default: the task's assets].")
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16/--no-bf16", default=None, help="[default: bf16 where the processor has it]")
@click.option("--epochs", type=click.IntRange(1), help="Train for another number of epochs than the recipe's.")
def main(task: str, out: Path | None, seed: int, bf16: bool | None, epochs: int | None) -> None:
    """Trains TASK's network on its training images and writes weights, card and network description."""
    chosen, recipe = get_task(task), RECIPES[task]
    recipe = Recipe(**{**asdict(recipe), "epochs": epochs or recipe.epochs})
    bf16 = bf16_supported() if bf16 is None else bf16
    data = load_dataset(chosen.dataset)
    torch.manual_seed(seed)
    module = chosen.untrained_module()
    network = trace_chain(module, data.train.images.shape[1:], task)
    started = time.perf_counter()
    train(module, data.train, recipe, seed, bf16)
    seconds = time.perf_counter() - started
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    folder = out or chosen.folder
    description = json.dumps(network.to_json(), indent=1) + "\n"
    write_atomically(folder / "network.json", lambda p: p.write_text(description))
    weights = folder / "weights.safetensors"
    save_weights(module, weights)
    card = {
        "what": f"weights of task {task}, trained on the training split of data set {chosen.dataset!r}",
        "network_sha256": sha256(folder / "network.json"),
        "parameters": sum(p.numel() for p in module.parameters()),
        "train_images": len(data.train.labels),
        "validation_images": len(data.validation.labels),
        "test_images": len(data.test.labels),
        "split_digests": {
            "train": data.train.digest(),
            "validation": data.validation.digest(),
            "test": data.test.digest(),
        },
        "validation_accuracy": accuracy(module, data.validation),
        "test_accuracy": accuracy(module, data.test),
        "selection": "none: last epoch, one seed; test images chose nothing",
        "recipe": {**asdict(recipe), "seed": seed, "bf16": bf16},
        "seconds": round(seconds, 1),
        **provenance(" ".join(["python -m compress_gym.train", *sys.argv[1:]]), ["torch", "numpy"]),
    }
    write_card(weights, card)
    click.echo(
        f"{task}: validation {card['validation_accuracy']:.4f}, test {card['test_accuracy']:.4f}, "
        f"{seconds:.0f} s, written to {folder}"
    )


if __name__ == "__main__":
    run_command(main, "compress_gym.train")
