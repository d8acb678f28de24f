"""The problem of a network's channels, bits, or both; of a task's network or of a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress_gym.devices import AnyDevice, load_device
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.networks import Network
from compress_gym.problem import Problem
from compress_gym.problem.decisions import DecisionSpace, steps_by_layer
from compress_gym.problem.observations import device_features, shape_features
from compress_gym.problem.scores import AccuracyModel


def network_problem(
    network: Network,
    decisions: DecisionSpace,
    accuracy_model: AccuracyModel,
    device: str | Path | AnyDevice | None,
    origin: Mapping[str, Any],
    **settings: Any,
) -> Problem:
    """Builds a problem whose steps make the decisions about one layer together.

    Args:
        network: What is compressed.
        decisions: From the builders in `compress_gym.problem.decisions`.
        accuracy_model: How accurate strategies are.
        device: Where latencies come from; `None` leaves them out.
        origin: Where the problem comes from; the device is added.
        **settings: `cost`, `budget`, `budget_rule`, `reward`.

    Raises:
        KeyError: An unknown device, cost, budget rule or reward.
        ValueError: A budget out of range, or a device that was not profiled for the network or lacks bits.
    """
    hardware = load_device(device) if isinstance(device, (str, Path)) else device
    terms = network_cost_terms(network, decisions, hardware)
    if hardware is not None:
        uncompressed = dict(zip(terms.metrics, terms.evaluate(decisions.sizes[None] - 1)[0], strict=True))
        settings["device_features"] = device_features(hardware, uncompressed["macs"], uncompressed["latency_ms"])
    described: dict[str, Any] = {"device": None}
    if hardware is not None:
        described = {"device": hardware.name, "device_hash": hardware.digest}
        described |= {f"{source}_operations": count for source, count in terms.estimated.items()}
    return Problem(
        decisions,
        terms,
        accuracy_model,
        steps=steps_by_layer(decisions),
        shapes=shape_features(network, decisions),
        origin={**origin, **described},
        **settings,
    )
