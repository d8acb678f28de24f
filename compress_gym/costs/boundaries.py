"""What it costs where a network changes between full precision and 8 bits, under a runtime that has both.

A layer with weights has the precision that was decided; what comes after it (sums, pools) that of the latest of them.
Wherever a layer reads a tensor of the other precision, the tensor is converted for it. The network's input and its
logits are in full precision.
"""

from __future__ import annotations

import numpy as np

from compress_gym.costs.terms import Term
from compress_gym.decisions import FIXED_BITS, FLOAT_BITS, DecisionSpace
from compress_gym.devices import Hardware, Operation
from compress_gym.networks import Layer, Network, Segment
from compress_gym.networks.sources import sources, weighted_roots


def boundary_terms(network: Network, decisions: DecisionSpace, device: Hardware, free: int) -> list[Term]:
    """Returns a term for each tensor that may have to be converted: latency and energy, after `free` costs of 0.

    Args:
        network: The network.
        decisions: About the precision of layers, and perhaps channels.
        device: Has the operations `quantize` and `dequantize`.
        free: How many metrics come before latency.
    """
    index = {(d.subject, d.kind): t for t, d in enumerate(decisions.decisions)}
    read, roots = sources(network), weighted_roots(network)
    terms = []
    for layer in network.layers:
        reader = roots[layer.name]
        for source in read[layer.name]:
            made = None if source is None else roots[source]
            if made != reader:
                terms.append(_term(layer, layer.inputs, made, reader, index, decisions, device, free))
    last = network.layers[-1]
    terms.append(_term(last, last.outputs, roots[last.name], None, index, decisions, device, free))
    return terms


def _term(
    layer: Layer,
    segments: tuple[Segment, ...],
    made: str | None,
    reader: str | None,
    index: dict[tuple[str, str], int],
    decisions: DecisionSpace,
    device: Hardware,
    free: int,
) -> Term:
    groups = [s.group for s in segments if s.group is not None and (s.group, "channels") in index]
    subjects = [(name, "precision") for name in (made, reader) if name is not None]
    used = [index[key] for key in [(g, "channels") for g in groups] + subjects if key in index]
    sizes = [len(decisions.decisions[t].values) for t in used]
    table = np.zeros((*sizes, free + 2))
    inside = segments == layer.inputs
    height, width = (layer.in_height, layer.in_width) if inside else (layer.out_height, layer.out_width)
    for choices in np.ndindex(*sizes):
        chosen = {
            (decisions.decisions[t].subject, decisions.decisions[t].kind): decisions.decisions[t].values[c]
            for t, c in zip(used, choices, strict=True)
        }
        before, after = (
            FLOAT_BITS if name is None else chosen.get((name, "precision"), FIXED_BITS) for name in (made, reader)
        )
        if before == after:
            continue
        kind = "quantize" if after == FIXED_BITS else "dequantize"
        count = sum(chosen.get((s.group or "", "channels"), s.channels) for s in segments)
        operation = Operation(kind, count, count, in_height=height, in_width=width, batch=device.batch)
        table[choices][free:] = device.latency_us(operation) / 1000, device.energy_mj(operation)
    return Term(f"{layer.name} boundary", tuple(used), table)
