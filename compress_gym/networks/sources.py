"""Which layers each layer reads: found again from a description, which holds layers in forward order and no edges.

A layer reads the latest tensor made of the same channels; a sum or product the latest two. That is so in every network
whose branches end before others begin (a test compares it with the traced graph of each bundled one).
"""

from __future__ import annotations

from compress_gym.networks.network import WEIGHTED, Network, Segment

_COMBINES = ("add", "multiply")


def sources(network: Network) -> dict[str, tuple[str | None, ...]]:
    """Returns the layers whose outputs each layer reads, the latest first; `None` is the network's input."""
    made: dict[tuple[Segment, ...], list[str]] = {}
    read: dict[str, tuple[str | None, ...]] = {}
    for layer in network.layers:
        parts = [(segment,) for segment in layer.inputs] if layer.kind == "concat" else [layer.inputs]
        wanted = 2 if layer.kind in _COMBINES else 1
        found = [name for part in parts for name in made.get(part, [])[: -wanted - 1 : -1]]
        read[layer.name] = tuple(found) or (None,)
        made.setdefault(layer.outputs, []).append(layer.name)
    return read


def weighted_roots(network: Network) -> dict[str, str | None]:
    """Returns, for each layer's output, the weighted layer that made it: itself, or along the latest sources.

    `None` is the network's input.
    """
    read, roots = sources(network), dict[str, str | None]()
    for layer in network.layers:
        latest = read[layer.name][0]
        roots[layer.name] = layer.name if layer.kind in WEIGHTED else None if latest is None else roots[latest]
    return roots
