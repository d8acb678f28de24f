"""From a network, its decisions and a device to cost terms: one term a layer, one for what a whole call costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices import ESTIMATED, AnyDevice, Hardware, Operation, of_operations, operation_of
from compress_gym.devices.costs.boundaries import boundary_terms
from compress_gym.networks import Layer, Network
from compress_gym.networks.network import WEIGHTED
from compress_gym.problem.costs.analytic import METRICS, layer_costs
from compress_gym.problem.costs.terms import CostTerms, Term, pack
from compress_gym.problem.decisions import BIT_KINDS, FLOAT_BITS, INPUT_KINDS, WEIGHT_KINDS, DecisionSpace
from compress_gym.problem.network_decisions import undecided_bits

MAX_DECISIONS = 6
# What a device alone can tell.
DEVICE_METRICS = ("latency_ms", "energy_mj")


@lru_cache(maxsize=32)
def network_cost_terms(network: Network, decisions: DecisionSpace, device: AnyDevice | None = None) -> CostTerms:
    """Builds the cost terms of decisions about channels, bits, or both; the same ones once in a process.

    Returns:
        Terms with the metrics macs, params, size_bytes, bops and, on a device, latency_ms and energy_mj.

    Raises:
        ValueError: The device is one of transformers, has no measurement of an operation, or lacks bits; the message
            names it.
    """
    if device is not None:
        device = of_operations(device)
    metrics = METRICS if device is None else (*METRICS, *DEVICE_METRICS)
    terms, sources, known = [], dict[Operation, str](), _Known()
    if device is not None:
        terms.append(Term("call", (), np.array([0.0] * len(METRICS) + [device.network_us / 1000, 0.0])))
    paired = any(d.kind == "precision" for d in decisions.decisions)
    roots = network.weighted_roots if paired else {}
    for layer in network.layers:
        grid = _grid(layer, decisions, roots.get(layer.name))
        table = np.empty((*grid.shape, len(metrics)))
        for column, values in enumerate(layer_costs(layer, grid.inputs, grid.outputs, *grid.bits)):
            table[..., column] = values
        if device is not None:
            table[..., len(METRICS) :] = _device_costs(layer, grid, device, sources, known)
        terms.append(Term(layer.name, grid.decisions, table))
    if paired and device is not None:
        terms += boundary_terms(network, decisions, device, len(METRICS), sources)
    estimated = Counter(source for source in sources.values() if source in ESTIMATED)
    return replace(pack(decisions, metrics, terms), estimated=dict(estimated))


@dataclass(frozen=True)
class _Grid:
    """Every form that decisions give a layer, as arrays that broadcast to one shape: an axis a decision.

    Attributes:
        decisions: Indices of the decisions that the layer depends on.
        shape: How many values each has.
        inputs: Channels that enter.
        outputs: Channels that leave.
        bits: Bits of weights and of the input.
        rooted: Whether bits are those of the layer with weights that came before.
    """

    decisions: tuple[int, ...]
    shape: tuple[int, ...]
    inputs: Any
    outputs: Any
    bits: tuple[Any, Any]
    rooted: bool


def _grid(layer: Layer, decisions: DecisionSpace, root: str | None) -> _Grid:
    """Lays a layer's forms out; where precisions are decided, one without weights has that of its `root`."""
    index = {(d.subject, d.kind): t for t, d in enumerate(decisions.decisions)}
    groups = [g for g in layer.touched if (g, "channels") in index]
    subject = root or layer.name
    own = [(subject, kind) for kind in BIT_KINDS if (subject, kind) in index]
    touching = [index[g, "channels"] for g in groups] + [index[key] for key in own]
    if len(touching) > MAX_DECISIONS:
        raise ValueError(f"layer {layer.name!r} depends on {len(touching)} decisions; at most {MAX_DECISIONS}")
    values = np.ix_(*(decisions.decisions[t].numbers for t in touching))
    counts: dict[str, Any] = dict(zip(groups, values, strict=False))
    bits = {kind: array for (_, kind), array in zip(own, values[len(groups) :], strict=True)}
    default = undecided_bits(decisions)
    chosen = [
        next((bits[kind] for kind in kinds if kind in bits), otherwise)
        for kinds, otherwise in zip((WEIGHT_KINDS, INPUT_KINDS), default, strict=True)
    ]
    shape = tuple(len(decisions.decisions[t].values) for t in touching)
    return _Grid(tuple(touching), shape, *layer.kept(counts), bits=(chosen[0], chosen[1]), rooted=root is not None)


# Costs by what a layer's forms have in common, and by the forms: most layers of a network are like another one.
_Known = dict[tuple[Operation, bytes], NDArray[np.float64]]


def _device_costs(
    layer: Layer, grid: _Grid, device: Hardware, sources: dict[Operation, str], known: _Known
) -> NDArray[np.float64]:
    """Returns latency and energy of every form of a layer, float64 `[..., 2]`; different forms are asked for once."""
    # Where no bits are decided, and in layers without weights that follow none, they are the device's.
    follows = layer.kind in WEIGHTED or bool(grid.rooted)
    decided = [follows and not (isinstance(b, int) and b == FLOAT_BITS) for b in grid.bits]
    bits = [b if yes else d for b, yes, d in zip(grid.bits, decided, device.bits, strict=True)]
    columns = [np.broadcast_to(x, grid.shape).ravel() for x in (grid.inputs, grid.outputs, *bits)]
    # One number a form, since rows are slow to compare: channels below 2^24, bits below 2^6.
    packed = ((columns[0] << 36) | (columns[1] << 12)) | (columns[2] << 6) | columns[3]
    _, first, which = np.unique(packed, return_index=True, return_inverse=True)
    different = np.stack([column[first] for column in columns], axis=-1)
    key = operation_of(layer, 1, 1, batch=device.batch), different.tobytes()
    if key in known:
        return known[key][which.reshape(grid.shape)]
    costs = known[key] = np.empty((len(different), 2))
    for n, (entering, leaving, weight_bits, input_bits) in enumerate(different.tolist()):
        operation = operation_of(layer, entering, leaving, weight_bits, input_bits, device.batch)
        try:
            costs[n] = device.latency_us(operation) / 1000, device.energy_mj(operation)
        except ValueError as error:
            raise ValueError(f"layer {layer.name!r}: {error}") from error
        sources[operation] = device.source(operation)
    return costs[which.reshape(grid.shape)]
