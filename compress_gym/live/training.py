"""The one training loop: whole networks, and pruned ones that are fine-tuned."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from compress_gym.data import Split
from compress_gym.live.cuda import Losses, RecordedGradients
from compress_gym.live.weights import read_checkpoint, write_checkpoint
from compress_gym.support.errors import AssetError, unknown_name

_CROP_PADDING = 4


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum under a one-cycle schedule.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images an update.
        peak_lr: Highest learning rate of the cycle.
        weight_decay: L2 penalty.
        augmentation: `shift` rolls each batch by up to a pixel; `crop-flip` crops each image from a padding of 4
            and mirrors half of them; `none` leaves them as they are.
        sizes: Progressive resizing: (up to this fraction of the epochs, side in pixels), ascending; images of later
            epochs keep their size.
    """

    epochs: int
    batch_size: int
    peak_lr: float
    weight_decay: float
    augmentation: str
    sizes: tuple[tuple[float, int], ...] = ()

    def size(self, epoch: int) -> int | None:
        """Returns the side to which the images of an epoch are resized, `None` for their own."""
        return next((side for fraction, side in self.sizes if epoch < fraction * self.epochs), None)

    @classmethod
    def of(cls, declared: Mapping[str, Any] | None) -> Recipe:
        """Returns the recipe that a task declares, by default `DEFAULT_FINETUNING`.

        Raises:
            KeyError: An unknown augmentation.
            ValueError: A field is missing or unknown.
        """
        if declared is None:
            return DEFAULT_FINETUNING
        try:
            sizes = tuple((float(fraction), int(side)) for fraction, side in declared.get("sizes", ()))
            recipe = cls(**{**declared, "sizes": sizes})
        except (TypeError, ValueError) as error:
            raise ValueError(f"recipe={dict(declared)} does not fit: {error}") from error
        if recipe.augmentation not in _AUGMENTATIONS:
            raise unknown_name("augmentation", recipe.augmentation, _AUGMENTATIONS)
        return recipe


# How compressed networks are fine-tuned where a task does not say it; N replaces the epochs.
DEFAULT_FINETUNING = Recipe(epochs=1, batch_size=128, peak_lr=0.05, weight_decay=5e-4, augmentation="crop-flip")


def train_module(
    module: nn.Module,
    data: Split,
    recipe: Recipe,
    seed: int,
    bf16: bool = False,
    checkpoint: Path | None = None,
    progress: str | None = None,
    device: str = "cpu",
) -> None:
    """Trains a module in place; the last epoch's weights are the result (nothing is selected).

    Args:
        module: What is trained, left in evaluation mode.
        data: Training images.
        recipe: The recipe.
        seed: Seed of order and augmentation.
        bf16: Whether to compute in bfloat16 (autocast).
        checkpoint: Written after each epoch and continued from if it exists, so that a killed training resumes.
        progress: Description of the progress bar; `None` shows none.
        device: Where to compute, `cpu` or `cuda`; the module is left on the processor.
    """
    torch.manual_seed(seed)
    module.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    updates = len(data.labels) // recipe.batch_size
    optimizer = torch.optim.SGD(
        module.parameters(), lr=recipe.peak_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    batches = _AUGMENTATIONS[recipe.augmentation](data, recipe, seed)
    if not updates:
        raise ValueError(f"batch_size={recipe.batch_size} is more than the {len(data.labels)} training images")
    run = {"recipe": asdict(recipe), "seed": seed, "bf16": bf16, "images": data.digest()}
    done, state = _resume(checkpoint, module, optimizer, run) if checkpoint and checkpoint.exists() else (0, None)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=recipe.epochs * updates)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(done * updates):
            schedule.step()
    losses = partial(_loss, module, bf16)
    find_gradients = RecordedGradients(module, losses) if device == "cuda" else partial(_gradients, module, losses)
    epochs = range(recipe.epochs)
    for epoch in track(epochs, description=progress) if progress else epochs:
        if epoch == done and state is not None:
            torch.set_rng_state(state)  # drop-out draws from the same generator
        order = torch.randperm(len(data.labels))[: updates * recipe.batch_size]
        prepare = batches(epoch, order)
        if epoch < done:
            continue
        for number, chosen in enumerate(order.split(recipe.batch_size)):
            find_gradients(prepare(number), torch.from_numpy(data.labels[chosen.numpy()]))
            optimizer.step()
            schedule.step()
        if checkpoint:
            _save(checkpoint, module, optimizer, {**run, "epochs_done": epoch + 1})
    module.to("cpu").eval()


def _loss(module: nn.Module, bf16: bool, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return nn.functional.cross_entropy(module(images), labels)


def _gradients(module: nn.Module, losses: Losses, images: torch.Tensor, labels: torch.Tensor) -> None:
    module.zero_grad()
    losses(images, labels).backward()


# An augmentation returns, for an epoch and its order of images, a function from batch number to images.
Batches = Callable[[int, torch.Tensor], Callable[[int], torch.Tensor]]


def _shift(data: Split, recipe: Recipe, seed: int) -> Batches:
    """Each batch is rolled by up to a pixel in each direction."""
    images, rng = torch.from_numpy(data.images), np.random.default_rng(seed)

    def epoch(number: int, order: torch.Tensor) -> Callable[[int], torch.Tensor]:
        batches = order.split(recipe.batch_size)
        shifts = rng.integers(-1, 2, size=(len(batches), 2))

        def batch(n: int) -> torch.Tensor:
            shifted = torch.roll(images[batches[n]], (int(shifts[n, 0]), int(shifts[n, 1])), dims=(2, 3))
            return _resized(shifted, recipe.size(number))

        return batch

    return epoch


def _crop_flip(data: Split, recipe: Recipe, seed: int) -> Batches:
    """Each image is cropped at its own place from a padding of black pixels, and mirrored or not."""
    windows = _windows(data)

    def epoch(number: int, order: torch.Tensor) -> Callable[[int], torch.Tensor]:
        corners, mirrored = _draws(len(order), seed, number)

        def batch(n: int) -> torch.Tensor:
            part = slice(n * recipe.batch_size, (n + 1) * recipe.batch_size)
            pixels = _crops(windows, order[part].numpy(), corners[part], mirrored[part])
            images = _resized(torch.from_numpy(data.normalised(pixels)), recipe.size(number))
            return images.contiguous(memory_format=torch.channels_last)

        return batch

    return epoch


def augmented(data: Split, augmentation: str, seed: int = 0) -> Split:
    """Returns the images of a split as a network sees them in training, each augmented once.

    Batch-norm statistics must be re-estimated on such images: trained weights fit the statistics of augmented images,
    and those of images as they are cost even the uncompressed network accuracy.

    Raises:
        ValueError: The augmentation is not `crop-flip`.
    """
    if augmentation != "crop-flip":
        raise ValueError(f"augmentation={augmentation!r}: only 'crop-flip' is made for single images")
    windows = _windows(data)
    corners, mirrored = _draws(len(data.labels), seed, 0)
    return replace(data, pixels=_crops(windows, np.arange(len(data.labels)), corners, mirrored))


def _windows(data: Split) -> NDArray[np.generic]:
    """Every crop of every image, as a view: `[N, channels, rows, columns, height, width]`."""
    pad, side = _CROP_PADDING, data.pixels.shape[-1]
    padded = np.pad(data.pixels, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))


def _draws(count: int, seed: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draws the corner of each image's crop and whether it is mirrored."""
    rng = np.random.default_rng([seed, epoch])
    return rng.integers(0, 2 * _CROP_PADDING + 1, size=(count, 2)), rng.random(count) < 0.5


def _resized(images: torch.Tensor, side: int | None) -> torch.Tensor:
    if side is None or side == images.shape[-1]:
        return images
    return nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def _crops(
    windows: NDArray[np.generic], images: NDArray[np.int64], corners: NDArray[np.int64], mirrored: NDArray[np.bool_]
) -> NDArray[np.generic]:
    crops = windows[images, :, corners[:, 0], corners[:, 1]]
    crops[mirrored] = crops[mirrored, :, :, ::-1]
    return crops


def _unchanged(data: Split, recipe: Recipe, seed: int) -> Batches:
    """Images stay as they are."""
    images = torch.from_numpy(data.images)

    def epoch(number: int, order: torch.Tensor) -> Callable[[int], torch.Tensor]:
        batches = order.split(recipe.batch_size)
        return lambda n: _resized(images[batches[n]], recipe.size(number))

    return epoch


_AUGMENTATIONS: dict[str, Callable[[Split, Recipe, int], Batches]] = {
    "shift": _shift,
    "crop-flip": _crop_flip,
    "none": _unchanged,
}


def _save(path: Path, module: nn.Module, optimizer: torch.optim.SGD, run: dict[str, object]) -> None:
    tensors = {f"module.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
    for number, parameter in enumerate(module.parameters()):
        tensors[f"momentum.{number}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    tensors["generator"] = torch.get_rng_state()
    write_checkpoint(path, tensors, run)


def _resume(
    path: Path, module: nn.Module, optimizer: torch.optim.SGD, run: dict[str, object]
) -> tuple[int, torch.Tensor | None]:
    """Loads a checkpoint and returns how many epochs it holds, and the generator's state after them."""
    stored, tensors = read_checkpoint(path, "epochs_done")
    done = stored.pop("epochs_done")
    # A training may go on where the processor multiplies bfloat16, or does not.
    if {**stored, "bf16": run["bf16"]} != json.loads(json.dumps(run)):
        raise AssetError(f"{path}: written by another training (another recipe, seed or data); remove it to start anew")
    module.load_state_dict({name[7:]: t for name, t in tensors.items() if name.startswith("module.")})
    for number, parameter in enumerate(module.parameters()):
        buffer = tensors[f"momentum.{number}"]
        optimizer.state[parameter]["momentum_buffer"] = buffer.to(parameter.device, memory_format=torch.preserve_format)
    return done, tensors.get("generator")
