"""HAT's latency data sets: CSV, ten features of a translation network and its times (hardware-aware-transformers).

`latency_dataset.py` writes them: mean and standard deviation, in ms, over the runs between the 10th and the 90th
percentile, of encoding one sentence of 30 tokens (IWSLT: 23) and of decoding as many tokens with a beam; data set and
device are in the file's name. The features are averages over layers, so two networks may share them: equal features
with different times are two measurements, and an equal row is a copy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.published.table import PublishedTable, column_places, in_range, number, shown, whole
from compress_gym.support.errors import AssetError

HAT_FEATURES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
WHOLE = ("encoder_embed_dim", "encoder_layer_num", "decoder_embed_dim", "decoder_layer_num")
TIMES = {
    "latency_mean_encoder": "encoder_ms",
    "latency_mean_decoder": "decoder_ms",
    "latency_std_encoder": "encoder_std_ms",
    "latency_std_decoder": "decoder_std_ms",
}
HEADER = (*HAT_FEATURES, *TIMES)
UNITS = {
    **dict.fromkeys(HAT_FEATURES, "channels"),
    "encoder_layer_num": "layers",
    "decoder_layer_num": "layers",
    "encoder_self_attention_heads_avg": "heads",
    "decoder_self_attention_heads_avg": "heads",
    "decoder_ende_attention_heads_avg": "heads",
    "decoder_arbitrary_ende_attn_avg": "encoder layers",
    **dict.fromkeys(TIMES.values(), "ms"),
}


class HatTable(PublishedTable):
    """Measured times of whole networks."""

    @property
    def features(self) -> NDArray[np.float64]:
        """The ten features, `[rows, 10]`, in the order of `HAT_FEATURES`."""
        return np.stack([self.columns[name].astype(np.float64) for name in HAT_FEATURES], axis=1)

    @property
    def encoder_ms(self) -> NDArray[np.float64]:
        """Mean time of the encoder in ms, `[rows]`."""
        return self.columns["encoder_ms"]

    @property
    def decoder_ms(self) -> NDArray[np.float64]:
        """Mean time of the decoder in ms, `[rows]`."""
        return self.columns["decoder_ms"]

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """Time of encoder and decoder together in ms, `[rows]`: what HAT's predictor is trained on."""
        return self.encoder_ms + self.decoder_ms


def mismatch(data: bytes, text: str | None) -> str | None:
    """Returns why the content is not HAT's, or None where it may be."""
    if text is None:
        return "it is not UTF-8 text"
    first = text.split("\n", 1)[0]
    if HAT_FEATURES[0] in first or next(iter(TIMES)) in first:
        return None
    return f"line 1 names neither the column {HAT_FEATURES[0]} nor {next(iter(TIMES))}"


def read(path: Path, data: bytes) -> HatTable:
    """Reads the CSV file.

    Raises:
        AssetError: A column is missing, unknown or out of order, a value is missing or no such number, or a row is
            given twice. The message names file and line.
    """
    header, *lines = data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    if tuple(header.split(",")) != HEADER:
        raise AssetError(f"{path}, line 1: expected the columns {','.join(HEADER)}; found {shown(header)}")
    seen: dict[tuple[Any, ...], int] = {}
    for line, text in enumerate(lines, start=2):
        try:
            row = _row(text.split(","))
            if row in seen:
                raise ValueError(f"the row is the same as that of line {seen[row]}")
        except ValueError as error:
            raise AssetError(f"{path}, line {line}: {error}") from error
        seen[row] = line
    return HatTable(
        path,
        "hat",
        "HAT: measured times of encoder and decoder of translation networks on one device; the features are averages "
        "over layers.",
        column_places(path, tuple(UNITS), list(seen)),
        UNITS,
    )


def _row(texts: list[str]) -> tuple[Any, ...]:
    if len(texts) != len(HEADER):
        raise ValueError(f"expected {len(HEADER)} values, found {len(texts)}")
    row: list[Any] = []
    for name, text in zip(HEADER, texts, strict=True):
        value = number(name, text)
        if name in WHOLE:
            row.append(whole(name, value))
        else:
            row.append(in_range(f"{name} (ms)" if name in TIMES else name, value, zero="_std_" in name))
    return tuple(row)
