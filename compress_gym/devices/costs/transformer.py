"""What a transformer costs: counted work and sizes, and a device's latency, as terms over its genes.

The work is that of one sentence: `length` tokens in, `length` tokens out, one after the other, earlier keys and values
kept. Sentences are not batched, nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices import AnyDevice, of_transformers
from compress_gym.devices.energy import DRAM_PJ_PER_BYTE, FP32_MAC_PJ, ON_CHIP_PJ_PER_BYTE, REUSE
from compress_gym.devices.transformer_latency import (
    cross_features,
    decoder_features,
    embedding_features,
    encoder_features,
)
from compress_gym.networks.transformer import DEPTH, TransformerSpace
from compress_gym.problem.costs.terms import CostTerms, Term, pack
from compress_gym.problem.decisions import DecisionSpace

METRICS = ("macs", "params", "size_bytes", "bops")
_BITS = 32

# Multiply-accumulates, parameters, and weights that are read from memory.
Counts = tuple[int, int, int]


def encoder_layer_counts(length: int, embed: int, ffn: int, attention: int) -> Counts:
    """Counts an encoder layer.

    Args:
        length: Tokens of the sentence.
        embed: Features of a token.
        ffn: Width of the feed-forward network.
        attention: Features of all heads together.
    """
    weights = 4 * embed * attention + 2 * embed * ffn
    biases_and_norms = 3 * attention + embed + ffn + embed + 4 * embed
    return length * weights + 2 * length**2 * attention, weights + biases_and_norms, weights


def decoder_layer_counts(length: int, embed: int, ffn: int, attention: int) -> Counts:
    """Counts a decoder layer without its attention to the encoder; arguments as of `encoder_layer_counts`."""
    weights = 4 * embed * attention + 2 * embed * ffn
    biases_and_norms = 3 * attention + embed + ffn + embed + 4 * embed
    earlier = length * (length + 1) // 2
    return length * weights + 2 * earlier * attention, weights + biases_and_norms, length * weights


def cross_attention_counts(length: int, encoder_embed: int, embed: int, attention: int, span: int) -> Counts:
    """Counts a decoder layer's attention to the last `span` encoder layers, whose keys are computed once."""
    once, each = 2 * encoder_embed * attention, 2 * embed * attention
    biases_and_norms = 3 * attention + embed + 2 * embed
    macs = span * length * once + length * each + 2 * span * length**2 * attention
    return macs, once + each + biases_and_norms, once + length * each


def embedding_counts(length: int, vocabulary: int, encoder_embed: int, embed: int) -> Counts:
    """Counts the embedding table, which predicts the output too, and the two last norms."""
    table = vocabulary * embed
    return length * table, vocabulary * max(encoder_embed, embed) + 2 * (encoder_embed + embed), length * table


def energy_mj(macs: int, weights_read: int) -> float:
    """Estimates energy in millijoules as `devices/energy.py` does; activations, few beside weights, are left out."""
    on_chip_bytes = macs * 2 * _BITS / 8 / REUSE
    dram_bytes = weights_read * _BITS / 8
    return (macs * FP32_MAC_PJ + on_chip_bytes * ON_CHIP_PJ_PER_BYTE + dram_bytes * DRAM_PJ_PER_BYTE) * 1e-9


def transformer_cost_terms(
    space: TransformerSpace, decisions: DecisionSpace, device: AnyDevice | None = None
) -> CostTerms:
    """Builds the cost terms of a space of transformers; a decoder layer beyond the depth costs nothing.

    Returns:
        Terms with the metrics macs, params, size_bytes, bops, energy_mj and, on a device, those that it has.

    Raises:
        ValueError: The device is one of operations.
    """
    hardware = None if device is None else of_transformers(device)
    latencies = () if hardware is None else hardware.metrics
    metrics = (*METRICS, *latencies, "energy_mj")
    length, head = space.length, space.attention_of

    def costs(counts: Counts, features: NDArray[np.float64]) -> list[float]:
        macs, params, weights_read = counts
        times = [] if hardware is None else (features @ hardware.coefficients).tolist()
        return [macs, params, params * _BITS / 8, macs * _BITS**2, *times, energy_mj(macs, weights_read)]

    def term(names: Sequence[str], cost: Callable[..., list[float]], layer: int = 0) -> Term:
        """Tabulates `cost` over the genes of some names; of decoder layer `layer`, zero if it is beyond the depth."""
        indices = tuple(decisions.names.index(name) for name in names)
        values = [decisions.decisions[t].numbers for t in indices]
        table = np.zeros((*(len(v) for v in values), len(metrics)))
        for choices in product(*(range(len(v)) for v in values)):
            genes = [v[c] for v, c in zip(values, choices, strict=True)]
            if layer:
                depth, *genes = genes
                if depth < layer:
                    continue
            table[choices] = cost(*genes)
        return Term(".".join(names), indices, table)

    def of_embeddings(e: int, d: int) -> list[float]:
        return costs(embedding_counts(length, space.vocabulary, e, d), embedding_features(e, d))

    def of_encoder(e: int, f: int, h: int) -> list[float]:
        return costs(encoder_layer_counts(length, e, f, head(h)), encoder_features(e, f, h))

    def of_decoder(d: int, f: int, h: int) -> list[float]:
        return costs(decoder_layer_counts(length, d, f, head(h)), decoder_features(d, f, h))

    def of_cross(e: int, d: int, h: int, s: int) -> list[float]:
        return costs(cross_attention_counts(length, e, d, head(h), s), cross_features(e, d, h, s))

    encoder, decoder = "encoder.embed_dim", "decoder.embed_dim"
    terms = [term((encoder, decoder), of_embeddings)]
    for n in range(1, space.encoder_layers + 1):
        terms.append(term((encoder, f"encoder.layer{n}.ffn_dim", f"encoder.layer{n}.heads"), of_encoder))
    for n in range(1, space.decoder_layers[-1] + 1):
        layer = f"decoder.layer{n}"
        terms.append(term((DEPTH, decoder, f"{layer}.ffn_dim", f"{layer}.self_heads"), of_decoder, n))
        cross = (DEPTH, encoder, decoder, f"{layer}.cross_heads", f"{layer}.attention_span")
        terms.append(term(cross, of_cross, n))
    return pack(decisions, metrics, terms)
