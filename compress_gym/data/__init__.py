"""Readers of data sets in their official formats."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from compress_gym.data.dataset import Dataset, Split
from compress_gym.support.errors import unknown_name

__all__ = ["DATASETS", "Dataset", "Split", "load_dataset"]

# Reader modules by name: imported when asked for, so that importing this package stays light.
DATASETS: dict[str, str] = {"cifar10": "compress_gym.data.cifar10", "digits": "compress_gym.data.digits"}


def load_dataset(name: str) -> Dataset:
    """Reads a data set by name.

    Raises:
        KeyError: The name is not registered.
        ImportError: A library that holds or reads the data is not installed.
        FileNotFoundError: The data root does not hold it; the message names the command that brings it.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    read: Callable[[], Dataset] = import_module(DATASETS[name]).load
    return read()
