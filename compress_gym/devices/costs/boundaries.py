"""What it costs where a network changes between full precision and 8 bits, under a runtime that has both.

A layer with weights has the precision that was decided; what comes after it (sums, pools) that of the latest of them.
A tensor that is read in the other precision is converted once, for all that read it so. The network's input and its
logits are in full precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compress_gym.devices import Hardware, Operation
from compress_gym.networks import Network, Segment
from compress_gym.problem.costs.terms import Term
from compress_gym.problem.decisions import FIXED_BITS, FLOAT_BITS, DecisionSpace


def boundary_terms(
    network: Network, decisions: DecisionSpace, device: Hardware, free: int, estimates: dict[Operation, str]
) -> list[Term]:
    """Returns a term for each tensor that may have to be converted: latency and energy, after `free` costs of 0.

    How each conversion's latency is made is added to the estimates.

    Raises:
        ValueError: The device has no measurement of a conversion; the message names the tensor.
    """
    return [_term(boundary, decisions, device, free, estimates) for boundary in boundaries(network)]


@dataclass(frozen=True)
class Boundary:
    """A tensor that may have to be converted.

    Attributes:
        tensor: Name of the layer that makes it; "input" of the network's input.
        segments: Its channels.
        height: Its height in pixels.
        width: Its width.
        made: The layer whose precision it has; `None` is full precision.
        readers: The layers whose precisions it is wanted in; `None` is full precision.
    """

    tensor: str
    segments: tuple[Segment, ...]
    height: int
    width: int
    made: str | None
    readers: tuple[str | None, ...]

    def operation(self, chosen: Mapping[tuple[str, str], int], batch: int) -> Operation | None:
        """Returns the conversion that choices ask for, if any.

        Args:
            chosen: Values by subject and kind (`channels`, `precision`); layers without a precision have 8 bits.
            batch: Inputs a call.
        """
        before, *after = (
            FLOAT_BITS if name is None else chosen.get((name, "precision"), FIXED_BITS)
            for name in (self.made, *self.readers)
        )
        if set(after) == {before}:
            return None
        kind = "quantize" if before == FLOAT_BITS else "dequantize"
        count = sum(chosen.get((s.group or "", "channels"), s.channels) for s in self.segments)
        return Operation(kind, count, count, in_height=self.height, in_width=self.width, batch=batch)


def boundaries(network: Network) -> list[Boundary]:
    """Returns the tensors of a network that may have to be converted, its input first and its logits last."""
    roots = network.weighted_roots
    # What reads each tensor: the layers whose precisions it is wanted in, each once.
    readers: dict[str | None, dict[str | None, None]] = {}
    for layer in network.layers:
        for source in network.sources[layer.name]:
            readers.setdefault(source, {})[roots[layer.name]] = None
    first, last = network.layers[0], network.layers[-1]
    readers[last.name] = {None: None}
    made = [Boundary("input", first.inputs, first.in_height, first.in_width, None, tuple(readers.get(None, ())))]
    for layer in network.layers:
        wanted = tuple(readers.get(layer.name, ()))
        made.append(Boundary(layer.name, layer.outputs, layer.out_height, layer.out_width, roots[layer.name], wanted))
    return [boundary for boundary in made if set(boundary.readers) - {boundary.made}]


def _term(
    boundary: Boundary, decisions: DecisionSpace, device: Hardware, free: int, estimates: dict[Operation, str]
) -> Term:
    index = {(d.subject, d.kind): t for t, d in enumerate(decisions.decisions)}
    groups = [s.group for s in boundary.segments if s.group is not None and (s.group, "channels") in index]
    names = dict.fromkeys(name for name in (boundary.made, *boundary.readers) if name is not None)
    subjects = [(name, "precision") for name in names]
    used = [index[key] for key in [(g, "channels") for g in groups] + subjects if key in index]
    sizes = [len(decisions.decisions[t].values) for t in used]
    table = np.zeros((*sizes, free + 2))
    for choices in np.ndindex(*sizes):
        chosen = {
            (decisions.decisions[t].subject, decisions.decisions[t].kind): decisions.decisions[t].values[c]
            for t, c in zip(used, choices, strict=True)
        }
        operation = boundary.operation(chosen, device.batch)
        if operation is None:
            continue
        try:
            table[choices][free:] = device.latency_us(operation) / 1000, device.energy_mj(operation)
        except ValueError as error:
            raise ValueError(f"what layer {boundary.tensor!r} makes, converted: {error}") from error
        estimates[operation] = device.source(operation)
    return Term(f"{boundary.tensor} conversion", tuple(used), table)
