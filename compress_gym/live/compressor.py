"""From a strategy of channels and bits to a torch module, recovered, and to a file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from compress_gym.data import Split
from compress_gym.live.bias_correction import correct_biases, output_means
from compress_gym.live.export import export_onnx
from compress_gym.live.integers import integer_convolutions
from compress_gym.live.prune import channel_ranking, kept_channels, remove_channels
from compress_gym.live.quantise import RANGE_IMAGES, InputRange, RememberedScales, input_ranges, quantise, settle
from compress_gym.live.reconstruct import ReconstructionBank, build_bank
from compress_gym.live.recovery import CALIBRATION_BATCH, adaptive_batch_norm, parse_recovery, require_batch_norms
from compress_gym.live.shared_layers import PrunedPrefixes
from compress_gym.live.training import DEFAULT_FINETUNING, Recipe, augmented, train_module
from compress_gym.networks import Network
from compress_gym.problem.decisions import BIT_KINDS, DecisionSpace
from compress_gym.problem.network_decisions import layer_bits, weighted_layers
from compress_gym.support.processor import bf16_supported, checked_device, one_thread
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions

# Networks that begin alike share the values of their first layers, where so much memory can hold them.
_SHARED_BYTES = 2**30
# A layer's output, its batch norm's, its ReLU's, and what the next one rounds it to.
_VALUES_A_LAYER = 4


class NetworkCompressor:
    """Builds, recovers and exports compressed networks.

    Attributes:
        network: Description of the module.
        decisions: The space of strategies.
        recovery: Name of the recovery.
        steps: Its steps.
        module: The uncompressed module, in evaluation mode.
        calibration: Training images that recoveries see.
        decides_bits: Whether bits are decided.
        trains_in_bf16: Whether networks are fine-tuned in bfloat16.
    """

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        decisions: DecisionSpace,
        *,
        calibration: Split,
        recovery: str = "adaptive-bn",
        ranges: Split | None = None,
        training: Split | None = None,
        finetune: Recipe = DEFAULT_FINETUNING,
        finetune_bits: Recipe | None = None,
        bf16: bool = False,
        training_device: str = "cpu",
    ) -> None:
        """Prepares the compressor.

        Args:
            network: Description of `module`.
            module: The trained, uncompressed model.
            decisions: About channels of groups and bits of layers of `network`.
            calibration: Training images that the recoveries see.
            recovery: See `compress_gym.live.recovery`.
            ranges: Training images that the ranges of quantised inputs are found on; needed where bits are decided.
            training: Training images for `finetune-N`.
            finetune: Recipe of `finetune-N`; its epochs are replaced by N.
            finetune_bits: The same of networks that are quantised and keep all channels; default: `finetune`.
            bf16: Compute recoveries in bfloat16, where the processor has it. Where bits are decided, `finetune-N` alone
                does: numbers of few bits are not rounded twice when they are scored.
            training_device: Where `finetune-N` computes, `cpu` or `cuda`; everything else runs on the processor.

        Raises:
            KeyError: Unknown recovery.
            ValueError: The recovery does not fit the network or the decisions, images are missing, the processor has
                no bfloat16, or the training device is not there or cannot train quantised networks.
        """
        if not len(calibration.labels):
            raise ValueError("calibration= holds 0 images, so nothing can be told by them; give at least one")
        self.steps = parse_recovery(recovery)
        self.decides_bits = any(d.kind in BIT_KINDS for d in decisions.decisions)
        if self.decides_bits and ranges is None:
            raise ValueError("decisions about bits need training images to find the ranges of inputs on; give ranges=")
        if self.decides_bits and bf16 and not self.steps.finetune_epochs:
            raise ValueError("bf16=True: quantised networks are scored in float32 (only fine-tuned in bfloat16)")
        if self.steps.bias_correction and not self.decides_bits:
            raise ValueError(f"recovery={recovery!r} corrects what quantisation does, and no bits are decided")
        if self.steps.adaptive_bn:
            require_batch_norms(module)
        if self.steps.finetune_epochs and training is None:
            raise ValueError(f"recovery={recovery!r} needs training images; give training=")
        if bf16 and not bf16_supported():
            raise ValueError("bf16=True, but this processor does not multiply bfloat16; use bf16=False")
        if training_device != "cpu" and self.decides_bits:
            raise ValueError(f"training_device={training_device!r}: quantised networks are trained on the processor")
        self._training_device = checked_device(training_device)
        self.trains_in_bf16 = bf16 and self.steps.finetune_epochs > 0
        self.bf16 = bf16 and not self.decides_bits
        self.recovery, self.network, self.decisions = recovery, network, decisions
        self.module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranking = channel_ranking(module, network)
        self._training, self._finetune, self._finetune_bits = training, finetune, finetune_bits or finetune
        self._seen_by = {"calibration": (len(calibration.labels), calibration.digest())}
        if ranges is not None:
            self._seen_by["range"] = len(ranges.labels), ranges.digest()
        self.calibration = channels_last(calibration.images)
        self._range_images = None if ranges is None else channels_last(ranges.images)
        self.layers = weighted_layers(network)
        self._pruned_prefixes: PrunedPrefixes | None = None
        self._find_scales = RememberedScales()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is only there to be faster, and cannot be copied: it is made again."""
        return {**self.__dict__, "_pruned_prefixes": None}

    @property
    def identity(self) -> dict[str, Any]:
        """What a compressed network depends on beside weights and strategy, as cards have it."""
        seen: dict[str, Any] = {}
        for what, (count, digest) in self._seen_by.items():
            seen |= {f"{what}_images": count, f"{what}_digest": digest}
        recipes = [asdict(r) for r in (self._finetune, self._finetune_bits)] if self.steps.finetune_epochs else []
        return {
            "recovery": self.recovery,
            **seen,
            **({"finetune_precision": "bf16"} if self.trains_in_bf16 else {}),
            **({"finetune_recipes": recipes} if recipes else {}),
        }

    def build(self, strategy: ArrayLike) -> nn.Module:
        """Returns the compressed, recovered model in evaluation mode, float32, batch norms not folded.

        Where bits are decided, its weights are rounded and hooks round what enters its layers.
        """
        row = self.decisions.check_one(strategy)
        chosen = zip(self.decisions.decisions, row, strict=True)
        values = {d.subject: d.values[c] for d, c in chosen if d.kind == "channels"}
        # A whole group is left out: nothing is selected, nothing needs to be refitted.
        counts = {name: n for name, n in values.items() if n < len(self._ranking[name])}
        kept = kept_channels(self._ranking, counts)
        small = remove_channels(self.module, self.network, kept)
        with one_thread():
            if self.steps.reconstruct and kept:
                self.bank.apply(small, kept)
            if self.decides_bits:
                self._quantise(small, self.bits(row), pruned=bool(kept))
            return self.recovered(small, self._finetune_bits if self.decides_bits and not kept else self._finetune)

    def recovered(self, small: nn.Module, recipe: Recipe | None = None) -> nn.Module:
        """Takes the steps of the recovery that any compressed module can take, in place; in evaluation mode."""
        if self.steps.adaptive_bn:
            self._adapt(small)
        if self.steps.finetune_epochs:
            self._train(small, recipe or self._finetune)
        return settle(small).eval()

    def bits(self, row: NDArray[np.int64]) -> dict[str, tuple[int, int]]:
        """Returns the bits of weights and of the input of each layer under a strategy `[T]`."""
        return layer_bits(self.decisions, row, self.layers)

    def export(self, strategy: ArrayLike, path: Path) -> Path:
        """Writes the compressed network of a strategy as ONNX: the integers that were scored, where bits are decided.

        Returns:
            `path`.
        """
        module = self.build(strategy)
        if not self.decides_bits:
            return export_onnx(module, self.network.input_shape, path)
        from compress_gym.live.export_quantised import export_quantised

        return export_quantised(module, self.network, path)

    @cached_property
    def bank(self) -> ReconstructionBank:
        """The bank of reconstructed layers; its normal equations are summed when it is first asked for."""
        with one_thread():
            return build_bank(self.module, self.network, self.calibration)

    def values_fit(self, images: int) -> bool:
        """Whether values of layers can be kept: nothing else is done to the network, and they fit into memory."""
        if self.steps.finetune_epochs or self.steps.bias_correction:
            return False
        return 4 * _VALUES_A_LAYER * self.values_of_an_image * images <= _SHARED_BYTES

    @property
    def values_of_an_image(self) -> int:
        """How many numbers the layers of the uncompressed network make of one image."""
        return sum(x.out_channels * x.out_height * x.out_width for x in self.network.layers)

    @cached_property
    def whole_ranges(self) -> Mapping[str, InputRange]:
        """What enters the layers of the uncompressed network."""
        assert self._range_images is not None
        return input_ranges(self.module, self.layers, self._range_images)

    @property
    def adapting_batches(self) -> tuple[torch.Tensor, ...]:
        """Batches on which batch-norm statistics are re-estimated; none: they stay."""
        return self.calibration.split(CALIBRATION_BATCH) if self.steps.adaptive_bn else ()

    def _quantise(self, small: nn.Module, bits: dict[str, tuple[int, int]], pruned: bool) -> None:
        """Quantises a model in place; what enters the layers of a pruned one is seen after its own recovery."""
        assert self._range_images is not None
        ranges = self._pruned_ranges(small) if pruned else self.whole_ranges
        means = output_means(small, self.layers, self._range_images) if self.steps.bias_correction else {}
        quantise(small, bits, ranges, self.steps.finetune_epochs > 0, self._find_scales)
        if means:
            correct_biases(small, means, self._range_images)

    def _pruned_ranges(self, small: nn.Module) -> dict[str, InputRange]:
        """What enters the layers of a pruned network; faster after one that begins alike."""
        assert self._range_images is not None
        if self.values_fit(len(self.calibration) + len(self._range_images)):
            if self._pruned_prefixes is None:
                batches = self.adapting_batches
                self._pruned_prefixes = PrunedPrefixes(self.module, self.layers, batches, self._range_images)
            return self._pruned_prefixes.ranges(small)
        if self.steps.adaptive_bn:
            self._adapt(small)
        return input_ranges(small, self.layers, self._range_images)

    def _adapt(self, small: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16), integer_convolutions(small):
            adaptive_batch_norm(small, self.calibration)

    def _train(self, small: nn.Module, recipe: Recipe) -> None:
        assert self._training is not None
        recipe = replace(recipe, epochs=self.steps.finetune_epochs)
        train_module(small, self._training, recipe, seed=0, bf16=self.trains_in_bf16, device=self._training_device)


def channels_last(images: NDArray[np.float32]) -> torch.Tensor:
    """Returns images as a tensor whose channels lie side by side."""
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


def build(
    task: Task, decisions: DecisionSpace, conditions: Conditions, of: type[NetworkCompressor] = NetworkCompressor
) -> NetworkCompressor:
    """Builds the compressor of a task's network, of this class or one derived from it; raises as the class does."""
    data, seen = task.data(), task.declared.calibration
    calibration = data.train if seen is None else data.train.take(seen.images)
    if seen is not None and seen.augmentation:
        calibration = augmented(calibration, seen.augmentation)
    decides_bits = any(d.kind in BIT_KINDS for d in decisions.decisions)
    recipes = {name: Recipe.of(task.declared.recipes.get(name)) for name in ("finetune", "finetune_bits")}
    return of(
        task.network(),
        task.trained_module(),
        decisions,
        calibration=calibration,
        recovery=conditions.recovery or task.recovery,
        ranges=data.train.take(RANGE_IMAGES) if decides_bits else None,
        training=data.train,
        **recipes,
        bf16=conditions.bf16,
        training_device=conditions.device,
    )
