"""Trains a task's network and writes its assets: `python -m compress_gym.making.train digits-cnn`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from compress_gym.data import Split, load_dataset
from compress_gym.live.training import Recipe, train_module
from compress_gym.live.weights import save_weights
from compress_gym.networks.network import description_digest
from compress_gym.networks.trace import trace
from compress_gym.support.cards import provenance, write_atomically, write_card
from compress_gym.support.commands import run_command
from compress_gym.support.processor import bf16_supported, checked_device, torch_device_name
from compress_gym.tasks import TASKS, get_task

# Two fifths of the epochs on 24 pixels, a fifth on 28: 0.78 of the computing for 40 epochs on 32.
_FIRST_CYCLE = Recipe(
    epochs=40,
    batch_size=128,
    peak_lr=0.2,
    weight_decay=5e-4,
    augmentation="crop-flip",
    sizes=((0.4, 24), (0.6, 28)),
)
# A second cycle, on images of full size, goes on from there.
_SECOND_CYCLE = Recipe(epochs=40, batch_size=128, peak_lr=0.1, weight_decay=3e-4, augmentation="crop-flip")
_CIFAR = (_FIRST_CYCLE, _SECOND_CYCLE)
# Each task's cycles, in order; each starts from the weights that the one before left.
RECIPES: dict[str, tuple[Recipe, ...]] = {
    "digits-cnn": (Recipe(epochs=60, batch_size=64, peak_lr=0.1, weight_decay=5e-4, augmentation="shift"),),
    "cifar10-plain20": _CIFAR,
    "cifar10-resnet20": _CIFAR,
    "cifar10-resnet56": _CIFAR,
    "cifar10-resnet18": _CIFAR,
    "cifar10-mobilenetv2": _CIFAR,
    # Five poolings leave nothing of 24 pixels.
    "cifar10-vgg16": (replace(_FIRST_CYCLE, sizes=()), _SECOND_CYCLE),
}


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

    Args:
        module: What is trained.
        data: Training images.
        cycles: The recipes.
        seed: Of the first cycle.
        bf16: Whether to compute in bfloat16.
        checkpoint: Each cycle has a file of this name with its number before the ending; a killed training goes on
            from the latest.
        device: Where to compute, `cpu` or `cuda`.

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


def accuracy(module: nn.Module, data: Split) -> float:
    """Returns the fraction of images classified correctly."""
    correct, rows = 0, np.arange(len(data.labels))
    with torch.no_grad():
        for start in range(0, len(rows), 500):
            part = data.part(rows[start : start + 500])
            correct += int((module(torch.from_numpy(part.images)).argmax(1).numpy() == part.labels).sum())
    return correct / len(data.labels)


@click.command()
@click.argument("task", type=click.Choice(sorted(TASKS)))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to [default: the task's assets].")
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16/--no-bf16", default=None, help="[default: bf16 where it is computed natively]")
@click.option("--cuda", is_flag=True, help="Train on the first CUDA device.")
@click.option("--epochs", type=click.IntRange(1), help="Train one cycle of so many epochs instead of the recipe's.")
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Written after each epoch, one file a cycle; a killed training that is started again with the same goes on.",
)
def main(
    task: str,
    out: Path | None,
    seed: int,
    bf16: bool | None,
    cuda: bool,
    epochs: int | None,
    threads: int | None,
    checkpoint: Path | None,
) -> None:
    """Trains TASK's network on its training images and writes weights, card and network description."""
    chosen, cycles = get_task(task), RECIPES[task]
    if epochs:
        cycles = (replace(cycles[-1], epochs=epochs),)
    device = checked_device("cuda" if cuda else "cpu")
    bf16 = bf16_supported(device) if bf16 is None else bf16
    if threads:
        torch.set_num_threads(threads)
    data = load_dataset(chosen.dataset)
    torch.manual_seed(seed)
    module = chosen.untrained_module()
    network = trace(module, data.train.pixels.shape[1:], task)
    started = time.perf_counter()
    resumed = train_cycles(module, data.train, cycles, seed, bf16, checkpoint, device)
    seconds = time.perf_counter() - started
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if chosen.half_weights:
        module.half().float()  # what is scored below is what is stored
    folder = out or chosen.folder
    description = json.dumps(network.to_json(), indent=1) + "\n"
    write_atomically(folder / "network.json", lambda p: p.write_text(description))
    weights = folder / "weights.safetensors"
    save_weights(module, weights, half=chosen.half_weights)
    card = {
        "what": f"weights of task {task}, trained on the training split of data set {chosen.dataset!r}",
        "network_sha256": description_digest(network.to_json()),
        "parameters": sum(p.numel() for p in module.parameters()),
        "stored_as": "float16" if chosen.half_weights else "float32",
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
        "recipe": {"cycles": [asdict(recipe) for recipe in cycles], "seed": seed, "bf16": bf16},
        "trained_on": torch_device_name(device),
        "seconds": "went on from a checkpoint" if resumed else round(seconds, 1),
        **provenance(" ".join(["python -m compress_gym.making.train", *sys.argv[1:]]), ["torch", "numpy"]),
    }
    write_card(weights, card)
    click.echo(
        f"{task}: validation {card['validation_accuracy']:.4f}, test {card['test_accuracy']:.4f}, "
        f"{seconds:.0f} s, written to {folder}"
    )


if __name__ == "__main__":
    run_command(main, "compress_gym.making.train")
