"""The genes of a SuperTransformer's parts as decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.networks.network import Layer, Network, Segment
from compress_gym.networks.transformer import DEPTH, Architecture, TransformerSpace
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.observations import shape_features

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


def gene_features(space: TransformerSpace, decisions: DecisionSpace) -> NDArray[np.float32]:
    """Describes what each gene is about, float32 `[T, columns]` in [0, 1]."""
    return shape_features(transformer_network(space), decisions)
