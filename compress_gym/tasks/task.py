"""A task: a network, a data set, trained weights and measured scores under one name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress_gym.networks.network import description_digest
from compress_gym.support.cards import card_path, check_sum, read_card, read_json, sha256
from compress_gym.support.errors import AssetError
from compress_gym.support.lazy import load
from compress_gym.tasks.declaration import Declaration, read_declaration
from compress_gym.tasks.fetched import fetch_command, fetch_files, fetched_folder

if TYPE_CHECKING:
    from torch import nn

    from compress_gym.data import Dataset


WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class InMemory:
    """What a task holds that lies in no folder.

    Attributes:
        network: The static description.
        module: The trained module.
        data: The data set.
    """

    network: Any
    module: nn.Module
    data: Dataset


@dataclass(frozen=True)
class Task:
    """A named network, data set and set of assets.

    Attributes:
        declared: What its file says.
        folder: Where its assets lie.
        memory: Network, weights and data of a task that lies in no folder.
    """

    declared: Declaration
    folder: Path
    memory: InMemory | None = None

    def __hash__(self) -> int:
        """Of its place: the declaration holds dictionaries."""
        return hash((self.name, self.folder))

    @classmethod
    def read(cls, folder: Path) -> Task:
        """Reads a task's folder.

        Raises:
            AssetError: `task.json` is missing or wrong.
        """
        return cls(read_declaration(folder), folder)

    @property
    def name(self) -> str:
        """The name users give."""
        return self.declared.name

    @property
    def version(self) -> int:
        """Raised whenever an asset or default changes."""
        return self.declared.version

    @property
    def summary(self) -> str:
        """One line for people."""
        return self.declared.summary

    @property
    def device(self) -> str | None:
        """Name of the device that was profiled for it."""
        return self.declared.device

    @property
    def recovery(self) -> str:
        """The default recovery, and that of the measured scores."""
        return self.declared.recoveries[0]

    @property
    def options(self) -> Mapping[str, Any]:
        """What kinds read."""
        return self.declared.options

    @property
    def weights(self) -> Path:
        """Where the trained weights lie."""
        return self.file(WEIGHTS)

    def file(self, name: str) -> Path:
        """Returns where a file of the task lies: in its folder, or where fetching puts those that the package lacks."""
        path = self.folder / name
        return path if name not in self.declared.fetched or path.exists() else fetched_folder(self.name) / name

    @property
    def ready(self) -> bool:
        """Whether some environment takes it: its weights are there or can be fetched, or it has costs alone."""
        return self.memory is not None or self.declared.data is None or self.weights.exists() or self._fetches(WEIGHTS)

    def _fetches(self, name: str) -> bool:
        """Returns whether a file is not in the task's folder, but its card is, so that it can be fetched."""
        path = self.folder / name
        return name in self.declared.fetched and not path.exists() and card_path(path).exists()

    def _sum(self, name: str) -> str:
        """Returns a file's SHA-256 in hex; where it is to be fetched, the one that it must have."""
        path = self.folder / name
        if name in self.declared.fetched and not path.exists():
            return str(read_json(card_path(path)).get("sha256"))
        return sha256(path)

    def network(self) -> Any:
        """Returns the static description: a `Network`, or a space of architectures; no torch is needed.

        Raises:
            AssetError: The description is damaged, or is not the one the weights were trained with.
        """
        if self.memory is not None:
            return self.memory.network
        source = self.declared.network
        described, path = load(source.description), self.folder / "network.json"
        try:
            if source.space is not None:
                return described.from_json(source.space)
            data = read_json(path)
            network = described.from_json(data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, AssetError):
                raise
            raise AssetError(f"{path}: not readable as a network ({error})") from error
        card = read_json(card_path(self.folder / WEIGHTS)) if self.weights.exists() else None
        if card is not None and card.get("network_sha256") != description_digest(data):
            raise AssetError(f"{path}: the checksum differs from the one on weights.json; the file was changed")
        return network

    def untrained_module(self) -> nn.Module:
        """Builds the torch module with fresh weights."""
        if self.memory is not None:
            return self.memory.module
        source = self.declared.network
        build = load(source.build, self.folder)
        module: nn.Module = build() if source.space is None else build(self.network())
        return module

    def trained_module(self) -> nn.Module:
        """Builds the torch module with the trained weights, in evaluation mode.

        Raises:
            AssetError: The weights are damaged, do not fit the module, or are not there.
        """
        if self.memory is not None:
            return self.memory.module
        path = self.checked(WEIGHTS)
        module = self.untrained_module()
        load("compress_gym.live.weights:load_weights")(module, path, check_card=False)
        return module.eval()

    def data(self) -> Any:
        """Reads the data set: a `Dataset`, or what else the reader returns with its three splits.

        Raises:
            ValueError: The task has costs alone.
        """
        if self.memory is not None:
            return self.memory.data
        if self.declared.data is None:
            raise ValueError(
                f"task={self.name!r} has costs alone: nothing was trained for it, so there is no accuracy; give your "
                "own as accuracy=MODEL, a function of strategies [N, T] with the attributes `source` and `baseline`"
            )
        read = load(self.declared.data, self.folder)()
        if isinstance(read, Mapping):
            from compress_gym.data.own import dataset_of

            return dataset_of(self.name, read)
        return read

    def split(self, name: str) -> Any:
        """Returns one of the data set's splits: `train`, `validation` or `test`."""
        return getattr(self.data(), name)

    def weights_card(self) -> dict[str, Any]:
        """Reads the card of the weights and checks the weights against it, unless they are to be fetched.

        Raises:
            AssetError: There are no weights, or they are damaged.
            ValueError: The task has costs alone.
        """
        self._require_trained()
        path = self.folder / WEIGHTS
        return read_json(card_path(path)) if self._fetches(WEIGHTS) else read_card(path)

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights' file, in hex; "" where they lie in no file."""
        return self._sum(WEIGHTS) if self.memory is None else ""

    @property
    def made_with(self) -> dict[str, Any]:
        """What scores depend on, as the cards of this task's files have it."""
        calibration = self.declared.calibration
        seen = {
            "recovery": self.recovery,
            "calibration_images": calibration and calibration.images,
            "calibration_augmentation": calibration and calibration.augmentation,
        }
        always = {"task_version": self.version, "weights_sha256": self.weights_digest}
        return always | (seen if calibration is not None else {})

    def check_made_for(self, path: Path, command: str) -> None:
        """Checks by its card that a file was made with this task's weights and recovery.

        Raises:
            AssetError: It was not; the message names the command that makes it again.
        """
        card = read_card(path)
        for key, value in self.made_with.items():
            if card.get(key) != value:
                raise AssetError(
                    f"{path}: made with {key}={card.get(key)!r}, the task has {value!r}; make it again with: {command}"
                )

    def asset_hash(self, measured: Iterable[Path]) -> str:
        """Returns one hash over the network, the weights and measured files, 16 hex digits.

        Raises:
            AssetError: The weights are not there.
        """
        if self.declared.data is not None:  # a task of costs alone has no weights
            self._require_trained()
        files = {*self.folder.glob("*.safetensors"), *self.folder.glob("*.bpe"), *filter(Path.exists, measured)}
        digests = {path.name: sha256(path) for path in files}
        digests |= {name: self._sum(name) for name in self.declared.fetched if name not in digests}
        if (description := self.folder / "network.json").exists():
            digests[description.name] = description_digest(read_json(description))
        lines = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def checked(self, name: str) -> Path:
        """Returns where the weights or another trained file lies, checked against its card.

        Raises:
            AssetError: It is not there or damaged; the message names the command that brings or makes it.
            ValueError: The task has costs alone.
        """
        self._require_trained()
        path = self.file(name)
        if self._fetches(name):
            bring = f"bring it with: {fetch_command(self.name)}"
            if not path.exists():
                raise AssetError(
                    f"task={self.name!r}: {name} is not in the package, since its data's terms are narrower than the "
                    f"package's licence; {bring}"
                )
            try:
                check_sum(path, read_json(card_path(self.folder / name)))
            except AssetError as error:
                raise AssetError(f"{error}; {bring}") from error
        elif not path.exists():
            raise AssetError(f"task={self.name!r}: {path} is not there; make it with: compress-gym train {self.name}")
        else:
            read_card(path)
        return path

    def fetch(self, source: Path | None = None) -> Path:
        """Brings the files that the package lacks into the user's folder; as of `fetched.fetch_files`.

        Args:
            source: A checkout, or a folder that holds the files; `None` downloads.

        Returns:
            The folder that has the files, every one of them checked.
        """
        sums = {name: str(read_json(card_path(self.folder / name)).get("sha256")) for name in self.declared.fetched}
        return fetch_files(self.name, self.folder, sums, self.terms, source)

    @property
    def terms(self) -> str:
        """What the weights may be used for."""
        return str(self.weights_card().get("terms", "not stated"))

    def _require_trained(self) -> None:
        """Checks that there are weights, here or to be fetched."""
        if self.declared.data is None and self.memory is None:
            self.data()  # says what is missing
        if not self.ready:
            raise AssetError(
                f"task={self.name!r}: its weights are not at {self.weights}; train them with: "
                f"compress-gym train {self.name}"
            )
