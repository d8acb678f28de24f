"""The registry of tasks: a network, a data set, trained weights and measured accuracies under one name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from compress_gym.cards import read_card, read_json, sha256
from compress_gym.decisions import DecisionSpace, channel_decisions
from compress_gym.errors import AssetError, missing_extra, unknown_name
from compress_gym.networks import Network

if TYPE_CHECKING:
    from torch import nn

    from compress_gym.accuracy.live import LiveAccuracy
    from compress_gym.accuracy.measured import MeasuredAccuracy

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Task:
    """A named network, data set and set of assets.

    Attributes:
        name: The name users give.
        version: Raised whenever a shipped asset or default changes.
        dataset: Name in `compress_gym.data.DATASETS`.
        module: Where the torch class is: `module:Class`.
        recovery: Default recovery of the live evaluator, and that of the measured table.
        calibration_images: Training images the recovery sees.
        levels: Channel counts a group can be pruned to.
        summary: One line for people.
        assets: Folder that holds the task's folder of assets.
    """

    name: str
    version: int
    dataset: str
    module: str
    recovery: str
    calibration_images: int
    levels: int
    summary: str
    assets: Path = ASSETS

    @property
    def folder(self) -> Path:
        """Where the task's assets lie."""
        return self.assets / self.name

    def network(self) -> Network:
        """Reads the network's description (no torch needed).

        Raises:
            AssetError: The description is damaged, or is not the one the weights were trained with.
        """
        path = self.folder / "network.json"
        description, card = read_json(path), read_json(self.folder / "weights.json")
        if card.get("network_sha256") != sha256(path):
            raise AssetError(f"{path}: the checksum differs from the one on weights.json; the file was changed")
        return Network.from_json(description)

    def channel_decisions(self) -> DecisionSpace:
        """Returns the decisions of `ChannelPrune`."""
        return channel_decisions(self.network(), self.levels)

    def untrained_module(self) -> nn.Module:
        """Builds the torch model with fresh weights."""
        path, _, name = self.module.partition(":")
        try:
            build = getattr(import_module(path), name)
        except ModuleNotFoundError as error:
            raise missing_extra("torch", "live", f"the model of task {self.name!r}") from error
        module: nn.Module = build()
        return module

    def trained_module(self) -> nn.Module:
        """Builds the torch model with the shipped weights, in evaluation mode.

        Raises:
            AssetError: The weights are damaged or do not fit the model.
        """
        module = self.untrained_module()
        from compress_gym.compression.weights import load_weights

        load_weights(module, self.folder / "weights.safetensors")
        return module.eval()

    def live(self, recovery: str | None = None, split: str = "validation", bf16: bool = False) -> LiveAccuracy:
        """Builds the live evaluator (needs the extra `live`)."""
        from compress_gym.data import load_dataset

        module = self.trained_module()
        from compress_gym.accuracy.live import LiveAccuracy

        return LiveAccuracy(
            self.network(),
            module,
            self.channel_decisions(),
            load_dataset(self.dataset),
            recovery=recovery or self.recovery,
            calibration_images=self.calibration_images,
            split=split,
            bf16=bf16,
        )

    def measured(self) -> MeasuredAccuracy:
        """Reads the measured table.

        Raises:
            AssetError: The table is damaged, or was measured with other weights or another recovery.
        """
        from compress_gym.accuracy.measured import MeasuredAccuracy

        path = self.folder / "measured.npz"
        card = read_card(path)
        expected = {
            "task_version": self.version,
            "weights_sha256": sha256(self.folder / "weights.safetensors"),
            "recovery": self.recovery,
            "calibration_images": self.calibration_images,
        }
        for key, value in expected.items():
            if card.get(key) != value:
                raise AssetError(
                    f"{path}: measured with {key}={card.get(key)!r}, the task has {value!r}; measure it again with: "
                    f"compress-gym collect {self.name}"
                )
        return MeasuredAccuracy.load(path, self.channel_decisions())

    def asset_hash(self) -> str:
        """Returns one hash over the network, the weights and what was measured, 16 hex digits."""
        assets = [self.folder / "network.json", *self.folder.glob("*.safetensors"), *self.folder.glob("*.npz")]
        lines = "\n".join(f"{p.name} {sha256(p)}" for p in sorted(assets))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def weights_card(self) -> dict[str, object]:
        """Reads the card of the weights and checks the weights against it."""
        return read_card(self.folder / "weights.safetensors")


TASKS: dict[str, Task] = {
    "digits-cnn": Task(
        name="digits-cnn",
        version=1,
        dataset="digits",
        module="compress_gym.networks.digits_cnn:DigitsCNN",
        recovery="adaptive-bn",
        calibration_images=256,
        levels=8,
        summary="five 3x3 convolutions on 16x16 handwritten digits; all 32,768 strategies measured",
    ),
}


def list_tasks() -> list[str]:
    """Returns the names of the shipped tasks."""
    return sorted(TASKS)


def get_task(name: str) -> Task:
    """Returns a task by name.

    Raises:
        KeyError: The name is not registered; the message names the closest match.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]
