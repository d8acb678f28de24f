"""A user's own data: arrays, tensors or datasets in three splits, checked before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.data.dataset import Dataset, Split

SPLIT_NAMES = ("train", "validation", "test")
# Normalised inputs stay far below; pixels of 0 to 255 do not.
_LARGEST = 50.0


def dataset_of(name: str, splits: Mapping[str, Any]) -> Dataset:
    """Returns a data set of a user's own splits.

    Args:
        name: What messages call it.
        splits: `train`, `validation` and `test`, each a pair of inputs `[N, ...]` (normalised floats, as the network
            takes them) and integer labels `[N]`, arrays or tensors; or a sequence of such pairs (a torch `Dataset`).

    Raises:
        ValueError: A split is missing or unknown, shapes differ, or inputs or labels are none; the message names it.
    """
    if not isinstance(splits, Mapping) or set(splits) != set(SPLIT_NAMES):
        given = sorted(map(str, splits)) if isinstance(splits, Mapping) else type(splits).__name__
        raise ValueError(f"the data of {name!r} must be a dictionary of {', '.join(SPLIT_NAMES)}; it is {given}")
    made = {split: labelled(split, splits[split]) for split in SPLIT_NAMES}
    shapes = {split: part.pixels.shape[1:] for split, part in made.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the inputs of {name!r} have different shapes in its splits: {shapes}")
    return Dataset(name, made["train"], made["validation"], made["test"])


def labelled(argument: str, given: Any, shape: tuple[int, ...] | None = None) -> Split:
    """Checks a pair of inputs and labels, or a sequence of such pairs.

    Args:
        argument: What messages call it.
        given: The pair, or a dataset.
        shape: The shape of one input, if it is known.

    Raises:
        ValueError: They are none.
    """
    if _is_dataset(given):
        given = _stacked(argument, given)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{argument} must be a pair of images [N, channels, height, width] and labels [N]")
    images, labels = inputs(argument, given[0], shape), _array(f"the labels of {argument}", given[1])
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{argument} has labels of shape {labels.shape} and dtype {labels.dtype}; expected integers [{len(images)}]"
        )
    return Split(images, labels.astype(np.int64))


def _is_dataset(given: Any) -> bool:
    if isinstance(given, (tuple, list, str, Mapping)) or hasattr(given, "shape"):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def _stacked(argument: str, dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Reads every pair of a dataset."""
    try:
        pairs = [(_array(argument, x), _array(argument, y)) for x, y in (dataset[n] for n in range(len(dataset)))]
        return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must hold pairs of an image and a label, at least one and all of the same shape: {error}"
        ) from error


def _array(argument: str, given: Any) -> NDArray[Any]:
    """Returns an array, also of a tensor that has gradients, lies on a device, or has numbers that numpy lacks."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if given.is_floating_point() else given
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} cannot be read as an array: {error}") from error


def inputs(argument: str, given: Any, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Checks inputs and returns them as float32 `[N, channels, height, width]`.

    Raises:
        ValueError: Another shape, other numbers than finite floats, or pixels that are not normalised.
    """
    images = _array(argument, given)
    wanted = "[N, channels, height, width]" if shape is None else f"[N, {', '.join(map(str, shape))}]"
    if images.ndim == 4 and not len(images):
        raise ValueError(f"{argument} has no images")
    if images.ndim != 4 or (shape is not None and images.shape[1:] != shape):
        raise ValueError(f"{argument} has images of shape {images.shape}; expected {wanted}")
    if images.dtype.kind != "f":
        raise ValueError(
            f"{argument} has images of dtype {images.dtype}; expected floats as the network takes them, "
            "normalised as in its training"
        )
    if wrong := np.count_nonzero(~np.isfinite(images)):
        raise ValueError(f"{argument} has {wrong:,} values that are NaN or infinite; expected finite floats")
    if (largest := float(np.abs(images).max())) > _LARGEST:
        raise ValueError(
            f"{argument} has images with values up to {largest:.0f}, as pixels of 0 to 255 have; give them as the "
            "network takes them, normalised as in its training"
        )
    return np.ascontiguousarray(images, dtype=np.float32)


def check_labels(argument: str, split: Split, classes: int) -> None:
    """Checks that a network has an output for every label.

    Raises:
        ValueError: It has not.
    """
    lowest, highest = int(split.labels.min()), int(split.labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"{argument} has labels from {lowest} to {highest}; the network has {classes} outputs, so labels must be 0 "
            f"to {classes - 1}"
        )
