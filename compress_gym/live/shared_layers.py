"""Runs one model with many changes of its layers: what lies before the first changed layer is not computed again.

Enumerated strategies differ mostly in their last decisions, so most of a network's work is shared by neighbours.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import fx, nn

from compress_gym.live.integers import integer_convolution
from compress_gym.live.quantise import InputQuantiser, InputRange, quantised_weight, weight_scales
from compress_gym.live.recovery import estimating
from compress_gym.problem.decisions import FLOAT_BITS

# Operations that overwrite their input: what was computed must stay as it was.
_OUT_OF_PLACE: dict[Any, Any] = {
    **{operator.iadd: operator.add, operator.imul: operator.mul, torch.relu_: torch.relu},
    **{"relu_": "relu", "add_": "add", "mul_": "mul"},
}


class PrefixRunner:
    """A model whose intermediate values are kept for some streams of batches.

    Attributes:
        model: The model; what hangs on its layers (weights, hooks) may be changed before they run again.
    """

    def __init__(self, module: nn.Module, streams: Sequence[Sequence[torch.Tensor]]) -> None:
        """Traces a copy of a module.

        Args:
            module: Traceable by `torch.fx`.
            streams: Batches of each stream.
        """
        self.model = fx.symbolic_trace(copy.deepcopy(module))
        self._norms = [n for n, m in module.named_modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
        for part in self.model.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]
        for node in self.model.graph.nodes:
            node.target = _OUT_OF_PLACE.get(node.target, node.target)
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
        self._interpreter = fx.Interpreter(self.model, garbage_collect_values=False)
        self._nodes = list(self.model.graph.nodes)
        source = next(node for node in self._nodes if node.op == "placeholder")
        self._values: list[list[dict[fx.Node, Any]]] = [[{source: batch} for batch in stream] for stream in streams]

    def position(self, names: Iterable[str]) -> int:
        """Returns where the first of these layers runs; the end if there are none."""
        wanted = set(names)
        found = (n for n, node in enumerate(self._nodes) if node.op == "call_module" and node.target in wanted)
        return next(found, len(self._nodes) - 1)

    def after(self, position: int, names: Iterable[str]) -> list[nn.Module]:
        """Returns those of these layers that run at a position or after it."""
        wanted = set(names)
        later = (str(n.target) for n in self._nodes[position:] if n.op == "call_module")
        return [self.model.get_submodule(name) for name in later if name in wanted]

    def inputs(self, stream: int, position: int, names: Iterable[str]) -> dict[str, list[torch.Tensor]]:
        """Returns what entered those of these layers that run at a position or after it, a tensor each batch."""
        wanted = set(names)
        later = [n for n in self._nodes[position:] if n.op == "call_module" and n.target in wanted]
        return {str(n.target): [values[n.args[0]] for values in self._values[stream]] for n in later}

    def run(self, stream: int, position: int) -> list[torch.Tensor]:
        """Runs what comes at a position and after it, and returns the outputs of a stream's batches."""
        outputs = []
        for values in self._values[stream]:
            self._interpreter.env = values
            for node in self._nodes[position:]:
                if node.op != "placeholder":
                    values[node] = self._interpreter.run_node(node)
            outputs.append(values[self._nodes[-1]])
        return outputs

    def run_adapted(self, position: int) -> list[torch.Tensor]:
        """Runs the second stream after the first, if that has batches, gave later batch norms their statistics."""
        with torch.no_grad():
            if self._values[0]:
                later: Any = self.after(position, self._norms)
                with estimating(later):
                    self.run(0, position)
            return self.run(1, position)


class PrunedPrefixes:
    """Sees what enters the layers of networks that differ in the channels of their layers."""

    def __init__(
        self, module: nn.Module, layers: Sequence[str], calibration: Sequence[torch.Tensor], images: torch.Tensor
    ) -> None:
        """Prepares the network.

        Args:
            module: In full precision, uncompressed, in evaluation mode.
            layers: Layers whose inputs are seen.
            calibration: Batches on which batch-norm statistics are re-estimated; none: they stay.
            images: What the network sees, in one batch.
        """
        self._runner, self._layers = PrefixRunner(module, (calibration, (images,))), tuple(layers)
        self._last: dict[str, dict[str, torch.Tensor]] = {}
        self._seen: dict[str, InputRange] = {}

    def ranges(self, pruned: nn.Module) -> dict[str, InputRange]:
        """Returns what enters each layer of a pruned network after batch-norm statistics are re-estimated.

        Args:
            pruned: The module with fewer channels; it is not changed.
        """
        states = {name: _own_state(part) for name, part in pruned.named_modules()}
        changed = [name for name, state in states.items() if not _equal(state, self._last.get(name))]
        position = self._runner.position(changed)
        self._last = {}  # interrupted from here on, everything is computed again
        for name in changed:
            self._set(name, pruned.get_submodule(name), states[name])
        self._runner.run_adapted(position)
        for name, values in self._runner.inputs(1, position, self._layers).items():
            self._seen[name] = InputRange.of(values[0])
        self._last = states
        return dict(self._seen)

    def _set(self, name: str, part: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        target: Any = self._runner.model.get_submodule(name)
        for key, tensor in state.items():
            # Statistics are overwritten while they are estimated.
            own = tensor.clone()
            setattr(target, key, nn.Parameter(own, requires_grad=False) if key in target._parameters else own)
        if isinstance(part, nn.Conv2d):
            target.groups = part.groups


class QuantisedPrefixes:
    """Runs networks that differ in the bits of their layers alone."""

    def __init__(
        self,
        module: nn.Module,
        ranges: Mapping[str, InputRange],
        calibration: Sequence[torch.Tensor],
        scored: Sequence[torch.Tensor],
    ) -> None:
        """Prepares the network.

        Args:
            module: In full precision, in evaluation mode.
            ranges: What its layers saw, see `input_ranges`.
            calibration: Batches on which batch-norm statistics are re-estimated; none: they stay.
            scored: Batches to classify.
        """
        self._runner, self._ranges = PrefixRunner(module, (calibration, scored)), ranges
        model: Any = self._runner.model
        self._weights = {name: model.get_submodule(name).weight.detach().clone() for name in ranges}
        self._bits: dict[str, tuple[int, int]] = {}
        self._rounded, self._quantisers = cache(self._round), cache(self._quantiser)

    def logits(self, bits: Mapping[str, tuple[int, int]]) -> torch.Tensor:
        """Returns the logits of every scored image, `[images, classes]`.

        Args:
            bits: Of weights and of the input of every layer.
        """
        changed = [name for name in bits if bits[name] != self._bits.get(name)]
        position = self._runner.position(changed)
        self._bits = {}  # interrupted from here on, everything is computed again
        for name in changed:
            self._set(name, *bits[name])
        logits = self._runner.run_adapted(position)
        self._bits = dict(bits)
        return torch.cat(logits)

    def _set(self, name: str, weight_bits: int, input_bits: int) -> None:
        target: Any = self._runner.model.get_submodule(name)
        target.__dict__.pop("forward", None)
        target._forward_pre_hooks.clear()
        target.weight.data, target.weight_scales = self._rounded(name, weight_bits)
        if input_bits != FLOAT_BITS:
            target.register_forward_pre_hook(self._quantisers(name, input_bits))
        integer = integer_convolution(target)
        if integer is not None:
            target._forward_pre_hooks.clear()
            target.forward = integer

    def _round(self, name: str, bits: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight: torch.Tensor = self._weights[name]
        if bits == FLOAT_BITS:
            return weight, None
        scales = weight_scales(weight, bits)
        return quantised_weight(weight, scales, bits), scales

    def _quantiser(self, name: str, bits: int) -> InputQuantiser:
        return InputQuantiser(self._ranges[name], bits)


def _own_state(part: nn.Module) -> dict[str, torch.Tensor]:
    """Returns copies of a module's own tensors, those of its children left out."""
    named = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    return {name: tensor.detach().clone() for name, tensor in named}


def _equal(state: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor] | None) -> bool:
    return other is not None and all(torch.equal(tensor, other[name]) for name, tensor in state.items())
