"""Latency of whole transformers on a device: products of genes, each with a measured coefficient.

Latency is a sum over layers, so it becomes cost terms of few genes. All coefficients are positive or zero: a part that
is there never saves time.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.hardware import DEVICE_KINDS
from compress_gym.networks.transformer import Architecture
from compress_gym.support.cards import read_card
from compress_gym.support.errors import AssetError

# e and d: width of embeddings in encoder and decoder; a sum runs over the layers of that side.
FEATURES = (
    "1",
    "e",
    "d",
    "sum encoder ffn",
    "sum encoder heads",
    "e * sum encoder ffn",
    "e * sum encoder heads",
    "decoder layers",
    "sum decoder ffn",
    "sum self heads",
    "d * decoder layers",
    "d * sum decoder ffn",
    "d * sum self heads",
    "sum cross heads",
    "sum spans",
    "d * sum cross heads",
    "d * sum spans",
    "e * sum cross heads",
    "e * sum spans",
)


@dataclass(frozen=True, eq=False)
class TransformerDevice:
    """Where latencies of transformers come from.

    Attributes:
        name: Name of the device.
        kind: One of `DEVICE_KINDS`.
        task: Name of the task whose transformers were measured.
        metrics: Names of the latencies, in milliseconds.
        coefficients: Milliseconds of one unit of each feature, float64 `[features, metrics]`.
        card: The provenance, as read.
    """

    name: str
    kind: str
    task: str
    metrics: tuple[str, ...]
    coefficients: NDArray[np.float64]
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the table's SHA-256; "" for a device made in memory."""
        return str(self.card.get("sha256", ""))[:16]


def embedding_features(encoder_embed: int, decoder_embed: int) -> NDArray[np.float64]:
    """Returns the features that belong to no layer, `[features]`."""
    return _filled({"1": 1, "e": encoder_embed, "d": decoder_embed})


def encoder_features(embed: int, ffn: int, heads: int) -> NDArray[np.float64]:
    """Returns the features of an encoder layer, `[features]`."""
    return _filled(
        {
            "sum encoder ffn": ffn,
            "sum encoder heads": heads,
            "e * sum encoder ffn": embed * ffn,
            "e * sum encoder heads": embed * heads,
        }
    )


def decoder_features(embed: int, ffn: int, heads: int) -> NDArray[np.float64]:
    """Returns the features of a decoder layer without its attention to the encoder, `[features]`."""
    return _filled(
        {
            "decoder layers": 1,
            "sum decoder ffn": ffn,
            "sum self heads": heads,
            "d * decoder layers": embed,
            "d * sum decoder ffn": embed * ffn,
            "d * sum self heads": embed * heads,
        }
    )


def cross_features(encoder_embed: int, embed: int, heads: int, span: int) -> NDArray[np.float64]:
    """Returns the features of a decoder layer's attention to the encoder, `[features]`."""
    e, d = encoder_embed, embed
    return _filled(
        {
            "sum cross heads": heads,
            "sum spans": span,
            "d * sum cross heads": d * heads,
            "d * sum spans": d * span,
            "e * sum cross heads": e * heads,
            "e * sum spans": e * span,
        }
    )


def architecture_features(architecture: Architecture) -> NDArray[np.float64]:
    """Returns the features of a whole transformer, `[features]`."""
    a = architecture
    parts = [embedding_features(a.encoder_embed, a.decoder_embed)]
    parts += [encoder_features(a.encoder_embed, layer.ffn, layer.heads) for layer in a.encoder]
    for layer in a.decoder:
        parts.append(decoder_features(a.decoder_embed, layer.ffn, layer.self_heads))
        parts.append(cross_features(a.encoder_embed, a.decoder_embed, layer.cross_heads, layer.span))
    return np.sum(parts, axis=0)


def read_coefficients(path: Path) -> TransformerDevice:
    """Reads a table of coefficients and its card.

    Raises:
        AssetError: The table or its card is damaged.
    """
    card = read_card(path)
    for key, legal in (("kind", DEVICE_KINDS), ("task", None)):
        if key not in card or (legal and card[key] not in legal):
            raise AssetError(
                f"{path.with_suffix('.json')}: {key}={card.get(key)!r} is not {legal or 'the name of a task'}"
            )
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        names, coefficients = tuple(row[0] for row in rows), np.array([row[1:] for row in rows], dtype=np.float64)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise AssetError(f"{path}: not readable as coefficients ({error})") from error
    metrics = tuple(header[1:])
    if header[0] != "feature" or not metrics or not all(m.endswith("_ms") for m in metrics):
        raise AssetError(f"{path}, line 1: expected the columns feature,latency_ms and further ones that end in _ms")
    if names != FEATURES or coefficients.shape != (len(FEATURES), len(metrics)):
        raise AssetError(f"{path}: expected one row for each of the features {FEATURES}, in this order")
    if not all(math.isfinite(x) and x >= 0 for x in coefficients.ravel()):
        raise AssetError(f"{path}: coefficients must be finite and not negative")
    return TransformerDevice(path.stem, card["kind"], card["task"], metrics, coefficients, card)


def _filled(values: dict[str, float]) -> NDArray[np.float64]:
    """Returns all features, those that are not given as 0."""
    return np.array([values.get(name, 0) for name in FEATURES], dtype=np.float64)
