"""The registry of tasks: a network, a data set, trained weights and measured accuracies under one name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from compress_gym.networks import Network
from compress_gym.networks.network import description_digest
from compress_gym.problem.decisions import (
    BIT_KINDS,
    BitValues,
    DecisionSpace,
    bit_decisions,
    channel_decisions,
    joint_decisions,
)
from compress_gym.support.cards import read_card, read_json, sha256
from compress_gym.support.errors import AssetError, missing_extra, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from compress_gym.data import Dataset
    from compress_gym.live.scorer import LiveAccuracy
    from compress_gym.problem.scores.measured import MeasuredAccuracy
    from compress_gym.problem.scores.sensitivity import Sensitivities
    from compress_gym.problem.scores.strategies import MeasuredStrategies
    from compress_gym.problem.scores.surrogate import SurrogateAccuracy

ASSETS = Path(__file__).parent / "assets"
# Channels, height and width of an image.
DATASET_SHAPES = {"digits": (1, 16, 16), "cifar10": (3, 32, 32)}
# What each environment's measurements are called: `measured.npz` of channels, `measured-mixed-quant.npz` of bits.
ENDINGS = {"ChannelPrune": "", "MixedQuant": "-mixed-quant", "JointPQ": "-joint-pq"}
# HAQ's device, on which latency follows bits.
DEFAULT_BITS_DEVICE = "bismo-edge"


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
        calibration_augmentation: How they are augmented: as in training; `None` leaves them as they are.
        levels: Channel counts a group can be pruned to.
        summary: One line for people.
        device: Name of the shipped device that was profiled for it, if there is one.
        validation_images: Validation images a strategy is scored on; `None`: all.
        half_weights: Whether weights are stored in half precision.
        bits: Which bits its accuracies are measured for.
        fixed: Layers that stay at 8 bits; `None`: the first and the last (HAQ's rule).
        shipped: Whether its assets are part of the package; otherwise they can be made by its commands.
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
    device: str | None = None
    validation_images: int | None = None
    calibration_augmentation: str | None = None
    half_weights: bool = False
    bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    fixed: tuple[str, ...] | None = None
    shipped: bool = True
    assets: Path = ASSETS

    @property
    def folder(self) -> Path:
        """Where the task's assets lie."""
        return self.assets / self.name

    def network(self) -> Network:
        """Reads the network's description (no torch needed where the task is shipped).

        Raises:
            AssetError: The description is damaged, or is not the one the weights were trained with.
        """
        path = self.folder / "network.json"
        if not self.shipped and not path.exists():
            return self._traced()
        description, card = read_json(path), read_json(self.folder / "weights.json")
        if card.get("network_sha256") != description_digest(description):
            raise AssetError(f"{path}: the checksum differs from the one on weights.json; the file was changed")
        try:
            return Network.from_json(description)
        except ValueError as error:
            raise AssetError(f"{path}: {error}") from error

    def _traced(self) -> Network:
        """Describes the network of a task whose weights are not trained yet."""
        module = self.untrained_module()
        from compress_gym.networks.trace import trace

        return trace(module, DATASET_SHAPES[self.dataset], self.name)

    def channel_decisions(self) -> DecisionSpace:
        """Returns the decisions of `ChannelPrune`."""
        return channel_decisions(self.network(), self.levels)

    def decisions(self, env: str = "ChannelPrune", bits: BitValues | None = None) -> DecisionSpace:
        """Returns the decisions of an environment.

        Args:
            env: One of `ENDINGS`.
            bits: Which bits can be chosen; default: those that accuracies are measured for.

        Raises:
            KeyError: The environment has no such decisions.
        """
        if env not in ENDINGS:
            raise unknown_name("env", env, ENDINGS)
        if env == "ChannelPrune":
            return self.channel_decisions()
        chosen = bits or BitValues(self.bits)
        if env == "MixedQuant":
            return bit_decisions(self.network(), chosen, self.fixed)
        return joint_decisions(self.network(), chosen, self.fixed, self.levels)

    def asset(self, what: str, env: str = "ChannelPrune") -> Path:
        """Returns the path of `measured`, `strategies` or `surrogate` of an environment."""
        return self.folder / f"{what}{ENDINGS[env]}.npz"

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
            AssetError: The weights are damaged, do not fit the model, or are not shipped.
        """
        self._require_weights()
        module = self.untrained_module()
        from compress_gym.live.weights import load_weights

        load_weights(module, self.folder / "weights.safetensors")
        return module.eval()

    def dataset_splits(self) -> Dataset:
        """Reads the data set."""
        from compress_gym.data import load_dataset

        return load_dataset(self.dataset)

    def live(
        self,
        recovery: str | None = None,
        split: str = "validation",
        images: int | None = None,
        corruption: str = "",
        bf16: bool = False,
        threads: int | None = 1,
        decisions: DecisionSpace | None = None,
        training_device: str = "cpu",
    ) -> LiveAccuracy:
        """Builds the live evaluator (needs the extra `live` and the data set).

        Args:
            recovery: Default: the task's.
            split: `validation`, or `test` for reporting alone.
            images: Score the first so many images; default: the task's number for validation, all for test.
            corruption: Name of a corruption of the scored images, or "" for none.
            bf16: Run in bfloat16.
            threads: Threads that share the images; `None`: as many as torch uses.
            decisions: What strategies decide; default: channels.
            training_device: Where `finetune-N` computes, `cpu` or `cuda`.
        """
        if split not in ("validation", "test"):
            raise unknown_name("split", split, ("validation", "test"))
        module, data = self.trained_module(), self.dataset_splits()
        import torch

        from compress_gym.live.quantise import RANGE_IMAGES
        from compress_gym.live.scorer import LiveAccuracy
        from compress_gym.live.training import FINETUNE, FINETUNE_BITS, augmented

        decisions = decisions or self.channel_decisions()
        if images is None and split == "validation":
            images = self.validation_images
        scored = getattr(data, split)
        if images is not None and not 1 <= images <= len(scored.labels):
            raise ValueError(f"images={images} must be 1 to {len(scored.labels)}, the number of {split} images")
        scored = scored if images is None else scored.take(images)
        calibration = data.train.take(self.calibration_images)
        if self.calibration_augmentation:
            calibration = augmented(calibration, self.calibration_augmentation)
        if corruption:
            from compress_gym.data.corruptions import corrupted

            scored = corrupted(scored, corruption)
        return LiveAccuracy(
            self.network(),
            module,
            decisions,
            calibration=calibration,
            scored=scored,
            recovery=recovery or self.recovery,
            ranges=data.train.take(RANGE_IMAGES) if any(d.kind in BIT_KINDS for d in decisions.decisions) else None,
            training=data.train,
            finetune=FINETUNE[self.dataset],
            finetune_bits=FINETUNE_BITS[self.dataset],
            bf16=bf16,
            threads=torch.get_num_threads() if threads is None else threads,
            training_device=training_device,
        )

    def measured(self, env: str = "ChannelPrune") -> MeasuredAccuracy:
        """Reads the measured table of an environment's strategies.

        Raises:
            AssetError: The table is damaged, or was measured with other weights or another recovery.
        """
        from compress_gym.problem.scores.measured import MeasuredAccuracy

        path = self.asset("measured", env)
        self._check_made_for(path)
        return MeasuredAccuracy.load(path, self.decisions(env))

    def strategies(self, env: str = "ChannelPrune") -> MeasuredStrategies:
        """Reads the measured strategies of a space too large to enumerate.

        Raises:
            AssetError: The file is missing or damaged, or was measured with other weights or another recovery.
        """
        from compress_gym.problem.scores.strategies import MeasuredStrategies

        path = self.asset("strategies", env)
        self._check_made_for(path)
        return MeasuredStrategies.load(path, self.decisions(env))

    def surrogate(self, env: str = "ChannelPrune") -> SurrogateAccuracy:
        """Reads the surrogate of an environment's strategies.

        Raises:
            AssetError: The file is missing or damaged, or was fitted to other weights or another recovery.
        """
        from compress_gym.problem.scores.surrogate import SurrogateAccuracy

        path = self.asset("surrogate", env)
        self._check_made_for(path)
        return SurrogateAccuracy.load(path, self.decisions(env))

    @property
    def sensitivity_path(self) -> Path:
        """Where the sensitivities of single layers lie."""
        return self.folder / "sensitivity.npz"

    def sensitivities(self) -> Sensitivities:
        """Reads how sensitive the network is to compressing single layers.

        Raises:
            AssetError: They were not measured, or with other weights or another recovery, or the file is damaged.
        """
        from compress_gym.problem.scores.sensitivity import Sensitivities

        path, command = self.sensitivity_path, f"compress-gym sensitivity {self.name}"
        if not path.exists():
            raise AssetError(
                f"features='sensitivity': those of task {self.name!r} are not at {path}; measure them with: {command}"
            )
        self._check_made_for(path, command)
        return Sensitivities.load(path)

    def best_signal(self, env: str = "ChannelPrune") -> str:
        """Returns the accuracy that `auto` means: a table of all strategies, else a surrogate, else `live`."""
        return next((name for name in ("measured", "surrogate") if self.asset(name, env).exists()), "live")

    def _check_made_for(self, path: Path, command: str = "") -> None:
        """Checks that a file was made with this task's weights and recovery, by its card."""
        card = read_card(path)
        expected = {
            "task_version": self.version,
            "weights_sha256": sha256(self.folder / "weights.safetensors"),
            "recovery": self.recovery,
            "calibration_images": self.calibration_images,
            "calibration_augmentation": self.calibration_augmentation,
        }
        for key, value in expected.items():
            if card.get(key) != value:
                raise AssetError(
                    f"{path}: made with {key}={card.get(key)!r}, the task has {value!r}; measure it again with: "
                    f"{command or f'compress-gym collect {self.name}'}"
                )

    def _require_weights(self) -> None:
        if not self.shipped and not (self.folder / "weights.safetensors").exists():
            raise AssetError(
                f"task={self.name!r} is not shipped and its weights are not at {self.folder}; train them with: "
                f"python -m compress_gym.making.train {self.name} (shipped: {', '.join(list_tasks())})"
            )

    def asset_hash(self, env: str = "ChannelPrune") -> str:
        """Returns one hash over the network, the weights and what was measured for an environment, 16 hex digits.

        Args:
            env: A key of `ENDINGS`.

        Raises:
            AssetError: The task is not shipped and its weights are not there.
        """
        self._require_weights()
        measured = (self.asset(what, env) for what in ("measured", "strategies", "surrogate"))
        digests = {p.name: sha256(p) for p in (*self.folder.glob("*.safetensors"), *filter(Path.exists, measured))}
        digests["network.json"] = description_digest(read_json(self.folder / "network.json"))
        lines = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def weights_card(self) -> dict[str, object]:
        """Reads the card of the weights and checks the weights against it."""
        return read_card(self.folder / "weights.safetensors")


def _cifar10(name: str, builder: str, summary: str, shipped: bool, device: str | None = None) -> Task:
    return Task(
        name=f"cifar10-{name}",
        version=1,
        dataset="cifar10",
        module=f"compress_gym.networks.{builder}",
        recovery="reconstruct+adaptive-bn",
        calibration_images=1024,
        calibration_augmentation="crop-flip",
        levels=16,
        summary=summary,
        validation_images=2000,
        half_weights=True,
        shipped=shipped,
        device=device,
    )


_MEASURED_ON = "epyc-milan-ort-fp32"
_TASKS = (
    Task(
        name="digits-cnn",
        version=1,
        dataset="digits",
        module="compress_gym.networks.digits_cnn:DigitsCNN",
        device=_MEASURED_ON,
        recovery="adaptive-bn",
        calibration_images=256,
        levels=8,
        bits=(2, 4, 8),
        fixed=("fc",),
        summary="five 3x3 convolutions on 16x16 handwritten digits; all 32,768 strategies measured",
    ),
    _cifar10("plain20", "cifar_resnet:plain20", "Plain-20 on CIFAR-10: convolutions in a row", True, _MEASURED_ON),
    _cifar10("resnet20", "cifar_resnet:resnet20", "ResNet-20 on CIFAR-10", True, _MEASURED_ON),
    _cifar10("resnet56", "cifar_resnet:resnet56", "ResNet-56 on CIFAR-10", True, _MEASURED_ON),
    _cifar10("resnet18", "resnet18:ResNet18", "ResNet-18 with a CIFAR stem on CIFAR-10", False),
    _cifar10("mobilenetv2", "mobilenet_v2:MobileNetV2", "MobileNetV2 with CIFAR strides on CIFAR-10", False),
    _cifar10("vgg16", "vgg16:VGG16", "VGG-16 with batch norm on CIFAR-10", False),
)
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


def list_tasks() -> list[str]:
    """Returns the names of the shipped tasks."""
    return sorted(name for name, task in TASKS.items() if task.shipped)


def get_task(name: str) -> Task:
    """Returns a task by name.

    Raises:
        KeyError: The name is not registered; the message names the closest match.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]
