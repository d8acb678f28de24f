"""Live accuracy: the real compressed network, recovered, on real images."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.compression.recovery import RECOVERIES, require_batch_norms
from compress_gym.data import Dataset, Split
from compress_gym.decisions import DecisionSpace
from compress_gym.errors import unknown_name
from compress_gym.networks import Network
from compress_gym.processor import bf16_supported, one_thread

# Small enough for a processor's cache: larger batches lose to memory traffic.
_BATCH = 100


class LiveAccuracy:
    """Scores strategies by building, recovering and running each compressed network.

    Attributes:
        source: `"live"`.
        decisions: The space of strategies.
        images: Number of images a strategy is scored on.
    """

    source = "live"

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        decisions: DecisionSpace,
        dataset: Dataset,
        recovery: str = "adaptive-bn",
        calibration_images: int = 512,
        split: str = "validation",
        bf16: bool = False,
    ) -> None:
        """Prepares the evaluator.

        Args:
            network: Description of `module`.
            module: The trained, uncompressed model.
            decisions: One `channels` decision per group of `network`.
            dataset: Where calibration images (the first training images) and scored images come from.
            recovery: `"none"` or `"adaptive-bn"`.
            calibration_images: How many training images the recovery sees.
            split: `"validation"`, or `"test"` for reporting alone.
            bf16: Run in bfloat16 (channels last). Faster where the processor has it, a little less exact.

        Raises:
            KeyError: Unknown recovery or split.
            ValueError: The recovery does not fit the network, or the processor has no bfloat16.
        """
        if recovery not in RECOVERIES:
            raise unknown_name("recovery", recovery, RECOVERIES)
        if split not in ("validation", "test"):
            raise unknown_name("split", split, ("validation", "test"))
        if recovery == "adaptive-bn":
            require_batch_norms(module)
        if bf16 and not bf16_supported():
            raise ValueError("bf16=True, but this processor does not multiply bfloat16; use bf16=False")
        self.recovery, self.bf16 = recovery, bf16
        self._network, self.decisions = network, decisions
        self._module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranking = channel_ranking(module, network)
        self._recover = RECOVERIES[recovery]
        calibration = dataset.train.take(calibration_images)
        self.calibration_digest = calibration.digest()
        self._calibration = _channels_last(calibration.images)
        scored: Split = getattr(dataset, split)
        self._scored = _channels_last(scored.images).split(_BATCH)
        self._labels = torch.from_numpy(scored.labels)
        self.images = len(scored.labels)

    @property
    def baseline(self) -> float:
        """Accuracy of the uncompressed network, as trained, without any recovery."""
        with one_thread():
            return self._correct(self._module) / self.images

    def compress(self, strategy: ArrayLike) -> nn.Module:
        """Returns the compressed, recovered model in evaluation mode."""
        row = self.decisions.check_one(strategy)
        counts = {d.subject: d.values[c] for d, c in zip(self.decisions.decisions, row, strict=True)}
        kept = kept_channels(self._ranking, counts)
        small = remove_channels(self._module, self._network, kept)
        with one_thread(), torch.no_grad(), self._autocast():
            return self._recover(small, self._calibration)

    def count_correct(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Returns how many images each compressed network classifies correctly, int64 `[N]`."""
        rows = self.decisions.check(strategies)
        with one_thread():
            return np.array([self._correct(self.compress(row)) for row in rows], dtype=np.int64)

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self.count_correct(strategies) / self.images

    def _correct(self, module: nn.Module) -> int:
        with torch.no_grad(), self._autocast():
            predicted = torch.cat([module(batch).argmax(1) for batch in self._scored])
        return int((predicted == self._labels).sum())

    def _autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


def _channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
