"""From a network, its decisions and a device to cost terms: one term a layer, one for what a whole call costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np

from compress_gym.costs.analytic import METRICS, layer_costs
from compress_gym.costs.terms import CostTerms, Term, pack
from compress_gym.decisions import DecisionSpace
from compress_gym.devices import ESTIMATED, Hardware, Operation, operation_of
from compress_gym.networks import Network

MAX_DECISIONS = 6


def channel_cost_terms(network: Network, decisions: DecisionSpace, device: Hardware | None = None) -> CostTerms:
    """Builds the cost terms of channel pruning.

    Args:
        network: The network.
        decisions: `channels` decisions whose subjects are the network's channel groups.
        device: Where latencies come from; `None` leaves them out.

    Returns:
        Terms with the metrics macs, params, size_bytes, bops and, on a device, latency_ms and energy_mj.

    Raises:
        ValueError: The device has no measurement of an operation; the message names it.
    """
    metrics = METRICS if device is None else (*METRICS, "latency_ms", "energy_mj")
    index = {d.subject: t for t, d in enumerate(decisions.decisions)}
    terms, sources = [], dict[Operation, str]()
    if device is not None:
        terms.append(Term("call", (), np.array([0.0] * len(METRICS) + [device.network_us / 1000, 0.0])))
    for layer in network.layers:
        subjects = tuple(index[group] for group in layer.touched if group in index)
        if len(subjects) > MAX_DECISIONS:
            raise ValueError(f"layer {layer.name!r} depends on {len(subjects)} decisions; at most {MAX_DECISIONS}")
        sizes = [len(decisions.decisions[t].values) for t in subjects]
        table = np.empty((*sizes, len(metrics)))
        for choices in product(*(range(size) for size in sizes)):
            kept = {
                decisions.decisions[t].subject: decisions.decisions[t].values[c]
                for t, c in zip(subjects, choices, strict=True)
            }
            inputs, outputs = layer.kept(kept)
            costs = [*layer_costs(layer, inputs, outputs)]
            if device is not None:
                operation = operation_of(layer, inputs, outputs, *device.bits, device.batch)
                costs += [device.latency_us(operation) / 1000, device.energy_mj(operation)]
                sources[operation] = device.source(operation)
            table[choices] = costs
        terms.append(Term(layer.name, subjects, table))
    estimated = Counter(source for source in sources.values() if source in ESTIMATED)
    return replace(pack(decisions, metrics, terms), estimated=dict(estimated))
