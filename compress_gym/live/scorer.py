"""Live accuracy: the real compressed network, recovered, on real images."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from compress_gym.data import Split
from compress_gym.live.bias_correction import correct_biases, output_means
from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.fuse import fuse_convolutions
from compress_gym.live.integers import integer_convolutions
from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.live.quantise import InputRange, RememberedScales, input_ranges, quantise, settle
from compress_gym.live.reconstruct import ReconstructionBank, build_bank
from compress_gym.live.recovery import (
    CALIBRATION_BATCH,
    adaptive_batch_norm,
    parse_recovery,
    require_batch_norms,
)
from compress_gym.live.shared_layers import PrunedPrefixes, QuantisedPrefixes
from compress_gym.live.training import FINETUNE, Recipe, train_module
from compress_gym.networks import Network
from compress_gym.problem.decisions import BIT_KINDS, DecisionSpace, layer_bits, weighted_layers
from compress_gym.support.processor import bf16_supported, checked_device, one_thread

# Small enough for a processor's cache: larger batches lose to memory traffic.
_BATCH = 125
# Values of layers in all scored images from where on fusing saves more than tracing the network costs.
_FUSED_VALUES = 10**8
# Images that a network with fused operations is tried on beside the one without.
_TRIED = 4
# Networks that differ in bits alone share the values of their first layers, where so much memory can hold them.
_SHARED_BYTES = 2**30
# A layer's output, its batch norm's, its ReLU's, and what the next one rounds it to.
_VALUES_A_LAYER = 4


class LiveAccuracy:
    """Scores strategies by building, recovering and running each compressed network.

    Attributes:
        source: `"live"`.
        decisions: The space of strategies.
        recovery: Name of the recovery.
        images: Number of images a strategy is scored on.
        bf16: Whether it is scored in bfloat16.
        trains_in_bf16: Whether it is fine-tuned in it.
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
        ranges: Split | None = None,
        training: Split | None = None,
        finetune: Recipe = FINETUNE["cifar10"],
        finetune_bits: Recipe | None = None,
        bf16: bool = False,
        threads: int = 1,
        training_device: str = "cpu",
    ) -> None:
        """Prepares the evaluator.

        Args:
            network: Description of `module`.
            module: The trained, uncompressed model.
            decisions: About channels of groups and bits of layers of `network`.
            calibration: Training images that the recoveries see.
            scored: What accuracy is measured on: validation images, or test images for reporting alone.
            recovery: See `compress_gym.live.recovery`.
            ranges: Training images that the ranges of quantised inputs are found on; needed where bits are decided.
            training: Training images for `finetune-N`.
            finetune: Recipe of `finetune-N`; its epochs are replaced by N.
            finetune_bits: The same of networks that are quantised and keep all channels; default: `finetune`.
            bf16: Run in bfloat16. Faster where the processor has it, a little less exact. Where bits are decided,
                `finetune-N` alone does: numbers of few bits are not rounded twice when they are scored.
            threads: Threads that share the scored images; each batch is computed by one, so scores do not change.
            training_device: Where `finetune-N` computes, `cpu` or `cuda`; everything else runs on the processor.

        Raises:
            KeyError: Unknown recovery.
            ValueError: The recovery does not fit the network or the decisions, images are missing, the processor has
                no bfloat16, or the training device is not there or cannot train quantised networks.
        """
        for name, images in (("calibration", calibration), ("scored", scored)):
            if not len(images.labels):
                raise ValueError(f"{name}= holds 0 images, so nothing can be told by them; give at least one")
        self._steps = parse_recovery(recovery)
        self._decides_bits = any(d.kind in BIT_KINDS for d in decisions.decisions)
        if self._decides_bits and ranges is None:
            raise ValueError("decisions about bits need training images to find the ranges of inputs on; give ranges=")
        if self._decides_bits and bf16 and not self._steps.finetune_epochs:
            raise ValueError("bf16=True: quantised networks are scored in float32 (only fine-tuned in bfloat16)")
        if self._steps.bias_correction and not self._decides_bits:
            raise ValueError(f"recovery={recovery!r} corrects what quantisation does, and no bits are decided")
        if self._steps.adaptive_bn:
            require_batch_norms(module)
        if self._steps.finetune_epochs and training is None:
            raise ValueError(f"recovery={recovery!r} needs training images; give training=")
        if bf16 and not bf16_supported():
            raise ValueError("bf16=True, but this processor does not multiply bfloat16; use bf16=False")
        if training_device != "cpu" and self._decides_bits:
            raise ValueError(f"training_device={training_device!r}: quantised networks are trained on the processor")
        self._training_device = checked_device(training_device)
        self.trains_in_bf16 = bf16 and self._steps.finetune_epochs > 0
        self.bf16 = bf16 and not self._decides_bits
        self.recovery, self._threads = recovery, threads
        self._network, self.decisions = network, decisions
        self._module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranking = channel_ranking(module, network)
        self._training, self._finetune, self._finetune_bits = training, finetune, finetune_bits or finetune
        self.calibration_images, self.calibration_digest = len(calibration.labels), calibration.digest()
        self._calibration = _channels_last(calibration.images)
        self.range_images, self.range_digest = (0, "") if ranges is None else (len(ranges.labels), ranges.digest())
        self._range_images = None if ranges is None else _channels_last(ranges.images)
        self._layers = weighted_layers(network)
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        self._scored = [batch.to(dtype) for batch in _channels_last(scored.images).split(_BATCH)]
        self._labels = torch.from_numpy(scored.labels)
        self.images = len(scored.labels)
        self._bank: ReconstructionBank | None = None
        self._ranges: dict[str, InputRange] | None = None
        self._prefixes: QuantisedPrefixes | None = None
        self._pruned_prefixes: PrunedPrefixes | None = None
        self._find_scales = RememberedScales()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is only there to be faster, and cannot be copied: it is made again."""
        return {**self.__dict__, "_prefixes": None, "_pruned_prefixes": None}

    @property
    def recipes(self) -> list[dict[str, Any]]:
        """What networks are fine-tuned by, as plain data; none if they are not."""
        return [asdict(r) for r in (self._finetune, self._finetune_bits)] if self._steps.finetune_epochs else []

    @property
    def baseline(self) -> float:
        """Accuracy of the uncompressed network, as trained, without any recovery."""
        with one_thread():
            return float(self._hits(copy.deepcopy(self._module)).mean())

    def compress(self, strategy: ArrayLike) -> nn.Module:
        """Returns the compressed, recovered model in evaluation mode, float32, batch norms not folded.

        Where bits are decided, its weights are rounded and hooks round what enters its layers.
        """
        row = self.decisions.check_one(strategy)
        chosen = zip(self.decisions.decisions, row, strict=True)
        values = {d.subject: d.values[c] for d, c in chosen if d.kind == "channels"}
        # A whole group is left out: nothing is selected, nothing needs to be refitted.
        counts = {name: n for name, n in values.items() if n < len(self._ranking[name])}
        kept = kept_channels(self._ranking, counts)
        small = remove_channels(self._module, self._network, kept)
        with one_thread():
            if self._steps.reconstruct and kept:
                self.bank.apply(small, kept)
            if self._decides_bits:
                self._quantise(small, layer_bits(self.decisions, row, self._layers), pruned=bool(kept))
            if self._steps.adaptive_bn:
                self._adapt(small)
            if self._steps.finetune_epochs:
                self._train(small, self._finetune_bits if self._decides_bits and not kept else self._finetune)
        return settle(small).eval()

    def hits(self, strategies: ArrayLike) -> NDArray[np.bool_]:
        """Returns which images each compressed network classifies correctly, bool `[N, images]`."""
        rows = self.decisions.check(strategies)
        score = self._hits_of_bits if self._shares_prefixes else lambda row: self._hits(self.compress(row))
        with one_thread():
            hits = [score(row) for row in rows]
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

    @property
    def _shares_prefixes(self) -> bool:
        """Whether strategies differ in bits alone, and the values of all layers fit into memory."""
        if any(d.kind not in BIT_KINDS for d in self.decisions.decisions):
            return False
        return self._values_fit(self.images + len(self._calibration))

    def _values_fit(self, images: int) -> bool:
        """Whether values of layers can be kept: nothing else is done to the network, and they fit into memory."""
        if self._steps.finetune_epochs or self._steps.bias_correction:
            return False
        return 4 * _VALUES_A_LAYER * self._values_of_an_image * images <= _SHARED_BYTES

    @property
    def _values_of_an_image(self) -> int:
        return sum(x.out_channels * x.out_height * x.out_width for x in self._network.layers)

    @property
    def _fuses(self) -> bool:
        return self._values_of_an_image * self.images >= _FUSED_VALUES

    def _hits_of_bits(self, row: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Scores a strategy of bits alone; faster after one that begins alike."""
        if self._prefixes is None:
            calibration = self._calibration.split(CALIBRATION_BATCH) if self._steps.adaptive_bn else ()
            self._prefixes = QuantisedPrefixes(self._module, self._whole_ranges, calibration, self._scored)
        predicted = self._prefixes.classify(layer_bits(self.decisions, row, self._layers))
        hits: NDArray[np.bool_] = (predicted == self._labels).numpy()
        return hits

    @property
    def _whole_ranges(self) -> dict[str, InputRange]:
        """What enters the layers of the uncompressed network."""
        if self._ranges is None:
            assert self._range_images is not None
            self._ranges = input_ranges(self._module, self._layers, self._range_images)
        return self._ranges

    def _quantise(self, small: nn.Module, bits: dict[str, tuple[int, int]], pruned: bool) -> None:
        """Quantises a model in place; what enters the layers of a pruned one is seen after its own recovery."""
        assert self._range_images is not None
        ranges = self._pruned_ranges(small) if pruned else self._whole_ranges
        means = output_means(small, self._layers, self._range_images) if self._steps.bias_correction else {}
        quantise(small, bits, ranges, self._steps.finetune_epochs > 0, self._find_scales)
        if means:
            correct_biases(small, means, self._range_images)

    def _pruned_ranges(self, small: nn.Module) -> dict[str, InputRange]:
        """What enters the layers of a pruned network; faster after one that begins alike."""
        assert self._range_images is not None
        if self._values_fit(len(self._calibration) + len(self._range_images)):
            if self._pruned_prefixes is None:
                calibration = self._calibration.split(CALIBRATION_BATCH) if self._steps.adaptive_bn else ()
                self._pruned_prefixes = PrunedPrefixes(self._module, self._layers, calibration, self._range_images)
            return self._pruned_prefixes.ranges(small)
        if self._steps.adaptive_bn:
            self._adapt(small)
        return input_ranges(small, self._layers, self._range_images)

    def _adapt(self, small: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16), integer_convolutions(small):
            adaptive_batch_norm(small, self._calibration)

    def _train(self, small: nn.Module, recipe: Recipe) -> None:
        assert self._training is not None
        recipe = recipe.for_epochs(self._steps.finetune_epochs)
        train_module(small, self._training, recipe, seed=0, bf16=self.trains_in_bf16, device=self._training_device)

    def _hits(self, module: nn.Module) -> NDArray[np.bool_]:
        """Scores a module, which is folded and converted in place."""
        folded = fold_batch_norms(module, self._network)
        fused = fuse_convolutions(folded, self._scored[0][:_TRIED].float()) if self._fuses else folded
        if self.bf16:
            fused = fused.to(torch.bfloat16)

        def classify(batch: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                predicted: torch.Tensor = fused(batch).argmax(1)
            return predicted

        with integer_convolutions(fused):
            if self._threads == 1:
                predicted = torch.cat([classify(batch) for batch in self._scored])
            else:
                with ThreadPoolExecutor(self._threads) as pool:
                    predicted = torch.cat(list(pool.map(classify, self._scored)))
        hits: NDArray[np.bool_] = (predicted == self._labels).numpy()
        return hits


def _channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
