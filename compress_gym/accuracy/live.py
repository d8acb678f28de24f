"""Live accuracy: the real compressed network, recovered, on real images."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from compress_gym.compression.fold import fold_batch_norms
from compress_gym.compression.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.compression.reconstruct import ReconstructionBank, build_bank
from compress_gym.compression.recovery import adaptive_batch_norm, parse_recovery, require_batch_norms
from compress_gym.compression.training import FINETUNE, Recipe, train_module
from compress_gym.data import Split
from compress_gym.decisions import DecisionSpace
from compress_gym.networks import Network
from compress_gym.processor import bf16_supported, one_thread

# Small enough for a processor's cache: larger batches lose to memory traffic.
_BATCH = 125


class LiveAccuracy:
    """Scores strategies by building, recovering and running each compressed network.

    Attributes:
        source: `"live"`.
        decisions: The space of strategies.
        recovery: Name of the recovery.
        images: Number of images a strategy is scored on.
    """

    source = "live"

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        decisions: DecisionSpace,
        *,
        calibration: Split,
        scored: Split,
        recovery: str = "adaptive-bn",
        training: Split | None = None,
        finetune: Recipe = FINETUNE["cifar10"],
        bf16: bool = False,
        threads: int = 1,
    ) -> None:
        """Prepares the evaluator.

        Args:
            network: Description of `module`.
            module: The trained, uncompressed model.
            decisions: One `channels` decision per group of `network`.
            calibration: Training images that the recoveries see.
            scored: What accuracy is measured on: validation images, or test images for reporting alone.
            recovery: See `compress_gym.compression.recovery`.
            training: Training images for `finetune-N`.
            finetune: Recipe of `finetune-N`; its epochs are replaced by N.
            bf16: Run in bfloat16. Faster where the processor has it, a little less exact.
            threads: Threads that share the scored images; each batch is computed by one, so scores do not change.

        Raises:
            KeyError: Unknown recovery.
            ValueError: The recovery does not fit the network, or the processor has no bfloat16.
        """
        self._steps = parse_recovery(recovery)
        if self._steps.adaptive_bn:
            require_batch_norms(module)
        if self._steps.finetune_epochs and training is None:
            raise ValueError(f"recovery={recovery!r} needs training images; give training=")
        if bf16 and not bf16_supported():
            raise ValueError("bf16=True, but this processor does not multiply bfloat16; use bf16=False")
        self.recovery, self.bf16, self._threads = recovery, bf16, threads
        self._network, self.decisions = network, decisions
        self._module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranking = channel_ranking(module, network)
        self._training, self._finetune = training, finetune
        self.calibration_images, self.calibration_digest = len(calibration.labels), calibration.digest()
        self._calibration = _channels_last(calibration.images)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self._scored = [batch.to(dtype) for batch in _channels_last(scored.images).split(_BATCH)]
        self._labels = torch.from_numpy(scored.labels)
        self.images = len(scored.labels)
        self._bank: ReconstructionBank | None = None

    @property
    def baseline(self) -> float:
        """Accuracy of the uncompressed network, as trained, without any recovery."""
        with one_thread():
            return float(self._hits(copy.deepcopy(self._module)).mean())

    def compress(self, strategy: ArrayLike) -> nn.Module:
        """Returns the compressed, recovered model in evaluation mode, float32, batch norms not folded."""
        row = self.decisions.check_one(strategy)
        values = {d.subject: d.values[c] for d, c in zip(self.decisions.decisions, row, strict=True)}
        # A whole group is left out: nothing is selected, nothing needs to be refitted.
        counts = {name: n for name, n in values.items() if n < len(self._ranking[name])}
        kept = kept_channels(self._ranking, counts)
        small = remove_channels(self._module, self._network, kept)
        with one_thread():
            if self._steps.reconstruct:
                self.bank.apply(small, kept)
            if self._steps.adaptive_bn:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                    adaptive_batch_norm(small, self._calibration)
            if self._steps.finetune_epochs:
                self._train(small)
        return small.eval()

    def hits(self, strategies: ArrayLike) -> NDArray[np.bool_]:
        """Returns which images each compressed network classifies correctly, bool `[N, images]`."""
        rows = self.decisions.check(strategies)
        with one_thread():
            hits = [self._hits(self.compress(row)) for row in rows]
        return np.array(hits, dtype=np.bool_).reshape(len(rows), self.images)

    def count_correct(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Returns how many images each compressed network classifies correctly, int64 `[N]`."""
        return self.hits(strategies).sum(1)

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self.count_correct(strategies) / self.images

    @property
    def bank(self) -> ReconstructionBank:
        """The bank of reconstructed layers; its normal equations are summed when it is first asked for."""
        if self._bank is None:
            with one_thread():
                self._bank = build_bank(self._module, self._network, self._calibration)
        return self._bank

    def _train(self, small: nn.Module) -> None:
        assert self._training is not None
        recipe = self._finetune.for_epochs(self._steps.finetune_epochs)
        train_module(small, self._training, recipe, seed=0, bf16=self.bf16)

    def _hits(self, module: nn.Module) -> NDArray[np.bool_]:
        """Scores a module, which is folded and converted in place."""
        folded: Any = fold_batch_norms(module, self._network)
        if self.bf16:
            folded = folded.to(torch.bfloat16)

        def classify(batch: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return folded(batch).argmax(1)

        if self._threads == 1:
            predicted = torch.cat([classify(batch) for batch in self._scored])
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                predicted = torch.cat(list(pool.map(classify, self._scored)))
        hits: NDArray[np.bool_] = (predicted == self._labels).numpy()
        return hits


def _channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
