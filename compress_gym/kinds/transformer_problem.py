"""The problem of transformer search: the genes of a SuperTransformer's parts as decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices import load_device, of_transformers
from compress_gym.devices.costs.transformer import transformer_cost_terms
from compress_gym.networks.network import Layer, Network, Segment
from compress_gym.networks.transformer import DEPTH, Architecture, TransformerSpace
from compress_gym.problem import Problem
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.observations import device_features, shape_features
from compress_gym.problem.scores import AccuracyModel

# Kinds of decision by what a gene's name ends in.
_KINDS = {
    "embed_dim": "embed_dim",
    "ffn_dim": "ffn_dim",
    "heads": "heads",
    "self_heads": "heads",
    "cross_heads": "heads",
    "layers": "depth",
    "attention_span": "attention_span",
}


def transformer_decisions(space: TransformerSpace) -> DecisionSpace:
    """Returns one decision a gene, in the order of `TransformerSpace.genes`; a layer's genes require its depth."""
    return DecisionSpace(tuple(_decision(space, name, values) for name, values in space.genes.items()))


def _decision(space: TransformerSpace, name: str, values: tuple[int, ...]) -> Decision:
    layer, _, gene = name.rpartition(".")
    requires = None
    if layer.startswith("decoder.layer") and (depth := int(layer.removeprefix("decoder.layer"))) > 1:
        # The least depth of the space that has this layer.
        least = min(value for value in space.decoder_layers if value >= depth)
        requires = (DEPTH, least) if least > space.decoder_layers[0] else None
    return Decision(name, _KINDS[gene], values, name, requires)


def architecture_of(space: TransformerSpace, decisions: DecisionSpace, strategy: Any) -> Architecture:
    """Returns the architecture of one strategy `[T]`."""
    return space.architecture(decisions.describe(strategy))


def strategy_of(space: TransformerSpace, decisions: DecisionSpace, architecture: Architecture) -> np.ndarray:
    """Returns the canonical strategy `[T]` of an architecture of the space.

    Raises:
        ValueError: A size of it is not a value of the space.
    """
    a = architecture
    values = {name: legal[0] for name, legal in space.genes.items()}
    values |= {"encoder.embed_dim": a.encoder_embed, "decoder.embed_dim": a.decoder_embed, DEPTH: len(a.decoder)}
    for n, e in enumerate(a.encoder, start=1):
        values |= {f"encoder.layer{n}.ffn_dim": e.ffn, f"encoder.layer{n}.heads": e.heads}
    for n, d in enumerate(a.decoder, start=1):
        values |= {
            f"decoder.layer{n}.ffn_dim": d.ffn,
            f"decoder.layer{n}.self_heads": d.self_heads,
            f"decoder.layer{n}.cross_heads": d.cross_heads,
            f"decoder.layer{n}.attention_span": d.span,
        }
    return decisions.check(decisions.encode(values))[0]


def transformer_network(space: TransformerSpace) -> Network:
    """Describes what each gene is about as a linear layer of the uncompressed transformer, for observations."""
    embed, attention = space.embed[-1], space.attention_width
    shapes = {
        "embed_dim": (space.vocabulary, embed),
        "ffn_dim": (embed, space.ffn[-1]),
        "heads": (embed, attention),
        "depth": (embed, embed),
        "attention_span": (embed, attention),
    }
    layers = []
    for decision in transformer_decisions(space).decisions:
        entering, leaving = shapes[decision.kind]
        segments = ((Segment(None, entering),), (Segment(None, leaving),))
        layers.append(Layer(decision.subject, "linear", *segments, in_height=1, in_width=1, bias=True))
    return Network("transformer", (space.length,), tuple(layers), ())


def transformer_problem(
    space: TransformerSpace,
    accuracy_model: AccuracyModel,
    device: str | Path | None,
    origin: Mapping[str, Any],
    valid_loss: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None,
    **settings: Any,
) -> Problem:
    """Builds a problem of one decision a gene.

    Args:
        space: The architectures.
        accuracy_model: How accurate strategies are.
        device: Where latencies come from; `None` leaves them out.
        origin: Where the problem comes from; the device is added.
        valid_loss: What gives the validation loss of strategies, if anything does.
        **settings: `cost`, `budget`, `budget_rule`, `reward`.

    Raises:
        KeyError: An unknown device, cost, budget rule or reward.
        ValueError: A budget out of range, or a device that was not measured with these transformers.
    """
    hardware = of_transformers(load_device(device)) if device is not None else None
    if hardware is not None and hardware.task != origin.get("task"):
        raise ValueError(
            f"device={hardware.name!r} was measured with the transformers of task {hardware.task!r}, "
            f"not of {origin.get('task')!r}"
        )
    decisions = transformer_decisions(space)
    terms = transformer_cost_terms(space, decisions, hardware)
    if hardware is not None:
        largest = dict(zip(terms.metrics, terms.evaluate(decisions.sizes[None] - 1)[0], strict=True))
        settings["device_features"] = device_features(hardware, largest["macs"], largest[hardware.metrics[0]])
    described = {"device": None} if hardware is None else {"device": hardware.name, "device_hash": hardware.digest}
    return Problem(
        decisions,
        terms,
        accuracy_model,
        extras={} if valid_loss is None else {"valid_loss": valid_loss},
        shapes=shape_features(transformer_network(space), decisions),
        origin={**origin, **described},
        **settings,
    )
