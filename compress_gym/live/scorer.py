"""Live scores of compressed networks: accuracy and loss on real images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from compress_gym.data import Split
from compress_gym.live.compressor import NetworkCompressor, channels_last
from compress_gym.live.compressor import build as build_compressor
from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.fuse import fuse_convolutions
from compress_gym.live.integers import integer_convolutions
from compress_gym.live.shared_layers import QuantisedPrefixes
from compress_gym.problem.decisions import BIT_KINDS, DecisionSpace
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.errors import unknown_name
from compress_gym.support.processor import one_thread
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions

LOSS_COLUMN = "valid_loss"
COLUMNS = (ACCURACY_COLUMN, LOSS_COLUMN)
# Small enough for a processor's cache: larger batches lose to memory traffic.
_BATCH = 125
# Values of layers in all scored images from where on fusing saves more than tracing the network costs.
_FUSED_VALUES = 10**8
# Images that a network with fused operations is tried on beside the one without.
_TRIED = 4


class ImageScorer:
    """Scores strategies by building, recovering and running each compressed network.

    Attributes:
        source: `"live"`.
        compressor: What builds the networks.
        decisions: The space of strategies.
        columns: Names of the score columns: `accuracy`, and `valid_loss` (cross-entropy in nats) where it is asked for.
        images: Number of images a strategy is scored on.
        bf16: Whether it is scored in bfloat16.
    """

    source = "live"

    def __init__(
        self,
        compressor: NetworkCompressor,
        scored: Split,
        threads: int = 1,
        columns: Sequence[str] = (ACCURACY_COLUMN,),
    ) -> None:
        """Prepares the scorer.

        Args:
            compressor: What builds the networks.
            scored: What is scored: validation images, or test images for reporting alone.
            threads: Threads that share the scored images; each batch is computed by one, so scores do not change.
            columns: Which scores.

        Raises:
            KeyError: A column that images do not have.
            ValueError: There are no images.
        """
        if not len(scored.labels):
            raise ValueError("scored= holds 0 images, so nothing can be told by them; give at least one")
        _check_columns(columns)
        self.compressor, self.columns, self._threads = compressor, tuple(columns), threads
        self.decisions, self.bf16 = compressor.decisions, compressor.bf16
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        self._scored = [batch.to(dtype) for batch in channels_last(scored.images).split(_BATCH)]
        self._labels = torch.from_numpy(scored.labels)
        self.images = len(scored.labels)
        self._prefixes: QuantisedPrefixes | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is only there to be faster, and cannot be copied: it is made again."""
        return {**self.__dict__, "_prefixes": None}

    @property
    def baseline(self) -> float:
        """Accuracy of the uncompressed network, as trained, without any recovery."""
        with one_thread():
            return float(self._hits(self._logits(copy.deepcopy(self.compressor.module))).mean())

    def hits(self, strategies: ArrayLike) -> NDArray[np.bool_]:
        """Returns which images each compressed network classifies correctly, bool `[N, images]`."""
        rows, logits_of = self.decisions.check(strategies), self._way
        with one_thread():
            hits = [self._hits(logits_of(row)) for row in rows]
        return np.array(hits, dtype=np.bool_).reshape(len(rows), self.images)

    def count_correct(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Returns how many images each compressed network classifies correctly, int64 `[N]`."""
        return self.hits(strategies).sum(1)

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self.count_correct(strategies) / self.images

    def scores(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Returns the wanted score columns, float64 `[N]` each; every network is built and run once."""
        measured = self.measure(strategies, columns)
        found = {name: measured[name] for name in columns if name in measured}
        if ACCURACY_COLUMN in columns:
            found[ACCURACY_COLUMN] = measured["correct"].sum(1) / self.images
        return found

    def measure(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Scores strategies as they are stored.

        Returns:
            `correct`: correctly classified images of the two halves (images of even and of odd number), int64 `[N, 2]`;
            other columns float64 `[N]` each.

        Raises:
            KeyError: A column that images do not have.
        """
        _check_columns(columns)
        rows, logits_of = self.decisions.check(strategies), self._way
        correct, losses = np.zeros((len(rows), 2), dtype=np.int64), np.zeros(len(rows))
        with one_thread():
            for n, row in enumerate(rows):
                logits = logits_of(row)
                hits = self._hits(logits)
                correct[n] = hits[0::2].sum(), hits[1::2].sum()
                if LOSS_COLUMN in columns:
                    losses[n] = float(nn.functional.cross_entropy(logits.double(), self._labels))
        return {"correct": correct, **({LOSS_COLUMN: losses} if LOSS_COLUMN in columns else {})}

    @property
    def identity(self) -> dict[str, Any]:
        """What a score depends on beside weights and strategy, as cards have it."""
        return {
            **self.compressor.identity,
            "validation_images": self.images,
            "precision": "bf16" if self.bf16 else "fp32",
            "threads": 1,
        }

    @property
    def _way(self) -> Callable[[NDArray[np.int64]], torch.Tensor]:
        """Returns what gives the logits of a strategy."""
        if self._shares_prefixes:
            return self._logits_of_bits
        return lambda row: self._logits(self.compressor.build(row))

    @property
    def _shares_prefixes(self) -> bool:
        """Whether strategies differ in bits alone, and the values of all layers fit into memory."""
        if any(d.kind not in BIT_KINDS for d in self.decisions.decisions):
            return False
        return self.compressor.values_fit(self.images + len(self.compressor.calibration))

    @property
    def _fuses(self) -> bool:
        return self.compressor.values_of_an_image * self.images >= _FUSED_VALUES

    def _logits_of_bits(self, row: NDArray[np.int64]) -> torch.Tensor:
        """Runs a strategy of bits alone; faster after one that begins alike."""
        if self._prefixes is None:
            made_of = self.compressor
            ranges, batches = made_of.whole_ranges, made_of.adapting_batches
            self._prefixes = QuantisedPrefixes(made_of.module, ranges, batches, self._scored)
        return self._prefixes.logits(self.compressor.bits(row))

    def _hits(self, logits: torch.Tensor) -> NDArray[np.bool_]:
        hits: NDArray[np.bool_] = (logits.argmax(1) == self._labels).numpy()
        return hits

    def _logits(self, module: nn.Module) -> torch.Tensor:
        """Runs a module, which is folded and converted in place, on all images: `[images, classes]`."""
        folded = fold_batch_norms(module, self.compressor.network)
        fused = fuse_convolutions(folded, self._scored[0][:_TRIED].float()) if self._fuses else folded
        if self.bf16:
            fused = fused.to(torch.bfloat16)

        def run(batch: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                logits: torch.Tensor = fused(batch)
            return logits

        with integer_convolutions(fused):
            if self._threads == 1:
                return torch.cat([run(batch) for batch in self._scored])
            with ThreadPoolExecutor(self._threads) as pool:
                return torch.cat(list(pool.map(run, self._scored)))


def _check_columns(columns: Sequence[str]) -> None:
    for name in columns:
        if name not in COLUMNS:
            raise unknown_name("column", name, COLUMNS)


def build(
    task: Task, decisions: DecisionSpace, conditions: Conditions, of: type[NetworkCompressor] = NetworkCompressor
) -> ImageScorer:
    """Builds the scorer of a task's network, compressed by a compressor of the given class.

    Raises:
        KeyError: Unknown recovery or corruption.
        ValueError: More images than there are, images that cannot be corrupted, or as `NetworkCompressor`.
    """
    images, scored = conditions.images, task.split(conditions.split)
    if images is None and conditions.split == "validation":
        images = task.declared.validation_images
    if images is not None and not 1 <= images <= len(scored.labels):
        raise ValueError(f"images={images} must be 1 to {len(scored.labels)}, the number of {conditions.split} images")
    scored = scored if images is None else scored.take(images)
    if conditions.corruption:
        from compress_gym.data.corruptions import corrupted

        scored = corrupted(scored, conditions.corruption)
    threads = torch.get_num_threads() if conditions.threads is None else conditions.threads
    return ImageScorer(build_compressor(task, decisions, conditions, of), scored, threads, tuple(task.declared.columns))
