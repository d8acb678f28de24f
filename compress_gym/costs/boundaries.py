"""What it costs where a network changes between full precision and 8 bits, under a runtime that has both.

A layer with weights has the precision that was decided; what comes after it (sums, pools) that of the latest of them.
Wherever a layer reads a tensor of the other precision, the tensor is converted for it. The network's input and its
logits are in full precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compress_gym.costs.terms import Term
from compress_gym.decisions import FIXED_BITS, FLOAT_BITS, DecisionSpace
from compress_gym.devices import Hardware, Operation
from compress_gym.networks import Network, Segment
from compress_gym.networks.sources import sources, weighted_roots


def boundary_terms(network: Network, decisions: DecisionSpace, device: Hardware, free: int) -> list[Term]:
    """Returns a term for each tensor that may have to be converted: latency and energy, after `free` costs of 0.

    Args:
        network: The network.
        decisions: About the precision of layers, and perhaps channels.
        device: Has the operations `quantize` and `dequantize`.
        free: How many metrics come before latency.
    """
    return [_term(boundary, decisions, device, free) for boundary in boundaries(network)]


@dataclass(frozen=True)
class Boundary:
    """A tensor that may have to be converted.

    Attributes:
        layer: Name of the layer that reads it, or of the last one, whose logits leave.
        segments: Its channels.
        height: Its height in pixels.
        width: Its width.
        made: The layer whose precision it has; `None` is full precision.
        reader: The layer whose precision it is wanted in; `None` is full precision.
    """

    layer: str
    segments: tuple[Segment, ...]
    height: int
    width: int
    made: str | None
    reader: str | None

    def operation(self, chosen: Mapping[tuple[str, str], int], batch: int) -> Operation | None:
        """Returns the conversion that choices ask for, if any.

        Args:
            chosen: Values by subject and kind (`channels`, `precision`); layers without a precision have 8 bits.
            batch: Inputs a call.
        """
        before, after = (
            FLOAT_BITS if name is None else chosen.get((name, "precision"), FIXED_BITS)
            for name in (self.made, self.reader)
        )
        if before == after:
            return None
        kind = "quantize" if after == FIXED_BITS else "dequantize"
        count = sum(chosen.get((s.group or "", "channels"), s.channels) for s in self.segments)
        return Operation(kind, count, count, in_height=self.height, in_width=self.width, batch=batch)


def boundaries(network: Network) -> list[Boundary]:
    """Returns the tensors of a network that may have to be converted, those inside it first."""
    read, roots, found = sources(network), weighted_roots(network), []
    for layer in network.layers:
        for source in read[layer.name]:
            made, reader = None if source is None else roots[source], roots[layer.name]
            if made != reader:
                found.append(Boundary(layer.name, layer.inputs, layer.in_height, layer.in_width, made, reader))
    last = network.layers[-1]
    return [*found, Boundary(last.name, last.outputs, last.out_height, last.out_width, roots[last.name], None)]


def _term(boundary: Boundary, decisions: DecisionSpace, device: Hardware, free: int) -> Term:
    index = {(d.subject, d.kind): t for t, d in enumerate(decisions.decisions)}
    groups = [s.group for s in boundary.segments if s.group is not None and (s.group, "channels") in index]
    subjects = [(name, "precision") for name in (boundary.made, boundary.reader) if name is not None]
    used = [index[key] for key in [(g, "channels") for g in groups] + subjects if key in index]
    sizes = [len(decisions.decisions[t].values) for t in used]
    table = np.zeros((*sizes, free + 2))
    for choices in np.ndindex(*sizes):
        chosen = {
            (decisions.decisions[t].subject, decisions.decisions[t].kind): decisions.decisions[t].values[c]
            for t, c in zip(used, choices, strict=True)
        }
        operation = boundary.operation(chosen, device.batch)
        if operation is not None:
            table[choices][free:] = device.latency_us(operation) / 1000, device.energy_mj(operation)
    return Term(f"{boundary.layer} boundary", tuple(used), table)
