"""What an encoder-decoder transformer for translation looks like, without its weights; no torch needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Name of the gene that says how many decoder layers there are.
DEPTH = "decoder.layers"


@dataclass(frozen=True)
class EncoderLayer:
    """Sizes of an encoder layer.

    Attributes:
        ffn: Width of the feed-forward network.
        heads: Heads of the self-attention.
    """

    ffn: int
    heads: int


@dataclass(frozen=True)
class DecoderLayer:
    """Sizes of a decoder layer.

    Attributes:
        ffn: Width of the feed-forward network.
        self_heads: Heads of the self-attention.
        cross_heads: Heads of the encoder-decoder attention.
        span: The encoder-decoder attention reads the outputs of the last so many encoder layers, side by side
            (HAT, section 2.1, "arbitrary encoder-decoder attention").
    """

    ffn: int
    self_heads: int
    cross_heads: int
    span: int


@dataclass(frozen=True)
class Architecture:
    """Sizes of a whole transformer; source, target and output share one embedding table.

    Attributes:
        vocabulary: Number of tokens.
        head_width: Features of an attention head: fewer heads mean narrower attention.
        encoder_embed: Features of a token in the encoder.
        decoder_embed: Features of a token in the decoder.
        encoder: Encoder layers, the first one first.
        decoder: Decoder layers, the first one first.
    """

    vocabulary: int
    head_width: int
    encoder_embed: int
    decoder_embed: int
    encoder: tuple[EncoderLayer, ...]
    decoder: tuple[DecoderLayer, ...]

    def __post_init__(self) -> None:
        """Checks that all sizes are positive, and that encoder layers which are attended to are there."""
        sizes = {name: getattr(self, name) for name in ("vocabulary", "head_width", "encoder_embed", "decoder_embed")}
        for side in ("encoder", "decoder"):
            if not getattr(self, side):
                raise ValueError(f"{side}: at least one layer is needed")
            for n, layer in enumerate(getattr(self, side), start=1):
                sizes |= {f"{side} layer {n}: {name}": value for name, value in asdict(layer).items()}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        for name in ("encoder_embed", "decoder_embed"):
            if sizes[name] % 2:
                raise ValueError(f"{name}={sizes[name]} must be even: positions are pairs of sine and cosine")
        for n, layer in enumerate(self.decoder, start=1):
            if layer.span > len(self.encoder):
                raise ValueError(
                    f"decoder layer {n}: span={layer.span} attends to encoder layers that are not there; "
                    f"the encoder has {len(self.encoder)}"
                )

    def fits_into(self, other: Architecture) -> bool:
        """Returns whether a transformer of this architecture can be cut out of one of the other."""
        if (self.vocabulary, self.head_width) != (other.vocabulary, other.head_width):
            return False
        if len(self.encoder) != len(other.encoder):
            return False
        if self.encoder_embed > other.encoder_embed or self.decoder_embed > other.decoder_embed:
            return False
        encoders = all(a.ffn <= b.ffn and a.heads <= b.heads for a, b in zip(self.encoder, other.encoder, strict=True))
        decoders = all(
            a.ffn <= b.ffn and a.self_heads <= b.self_heads and a.cross_heads <= b.cross_heads
            for a, b in zip(self.decoder, other.decoder, strict=False)
        )
        return encoders and decoders and len(self.decoder) <= len(other.decoder)

    def to_json(self) -> dict[str, Any]:
        """Returns the architecture as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Architecture:
        """Builds an architecture from `to_json`'s plain data."""
        layers = {
            "encoder": tuple(EncoderLayer(**layer) for layer in data["encoder"]),
            "decoder": tuple(DecoderLayer(**layer) for layer in data["decoder"]),
        }
        return cls(**{**data, **layers})


@dataclass(frozen=True)
class TransformerSpace:
    """The architectures that one SuperTransformer holds; every list of values ascends.

    Attributes:
        vocabulary: Number of tokens.
        attention_width: Features of all heads together, with the most heads.
        encoder_layers: Number of encoder layers, which is fixed (as in HAT).
        embed: Features of a token, in the encoder and in the decoder each.
        ffn: Widths of a feed-forward network.
        heads: Heads of an attention.
        decoder_layers: Numbers of decoder layers.
        spans: How many of the last encoder layers an encoder-decoder attention can read.
        length: Tokens of the sentence, and of its translation, whose work is counted.
        heads_narrow: Whether fewer heads make an attention narrower; otherwise they split the same width, which leaves
            its costs as they are (HAT's release).
    """

    vocabulary: int
    attention_width: int
    encoder_layers: int
    embed: tuple[int, ...]
    ffn: tuple[int, ...]
    heads: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    spans: tuple[int, ...]
    length: int = 16
    heads_narrow: bool = True

    def __post_init__(self) -> None:
        """Checks that heads divide the attention's width; the largest architecture checks the rest."""
        for name in ("embed", "ffn", "heads", "decoder_layers", "spans"):
            values: Sequence[int] = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] < 1:
                raise ValueError(f"{name}={values} must be ascending positive numbers, at least one")
        if self.attention_width % self.heads[-1]:
            raise ValueError(
                f"heads={self.heads[-1]} do not divide attention_width={self.attention_width}; "
                f"choose a multiple, as {self.attention_width // self.heads[-1] * self.heads[-1] or self.heads[-1]}"
            )
        self.largest  # noqa: B018  (checked as it is built)

    @property
    def genes(self) -> dict[str, tuple[int, ...]]:
        """Legal values by name, in HAT's order with depth before what depends on it."""
        genes = {"encoder.embed_dim": self.embed}
        for n in range(1, self.encoder_layers + 1):
            genes |= {f"encoder.layer{n}.ffn_dim": self.ffn, f"encoder.layer{n}.heads": self.heads}
        genes |= {"decoder.embed_dim": self.embed, DEPTH: self.decoder_layers}
        for n in range(1, self.decoder_layers[-1] + 1):
            genes |= {
                f"decoder.layer{n}.ffn_dim": self.ffn,
                f"decoder.layer{n}.self_heads": self.heads,
                f"decoder.layer{n}.cross_heads": self.heads,
                f"decoder.layer{n}.attention_span": self.spans,
            }
        return genes

    def attention_of(self, heads: int) -> int:
        """Returns the features of so many heads together."""
        return self.attention_width // self.heads[-1] * heads if self.heads_narrow else self.attention_width

    def architecture(self, values: Mapping[str, int]) -> Architecture:
        """Builds the architecture of a value for each gene; those of decoder layers beyond the depth do not count.

        Raises:
            ValueError: A gene is missing, unknown, or has a value outside the space.
        """
        genes = self.genes
        unknown, missing = sorted(set(values) - set(genes)), sorted(set(genes) - set(values))
        if unknown or missing:
            raise ValueError(f"genes do not fit: unknown {unknown}, missing {missing}")
        for name, value in values.items():
            if value not in genes[name]:
                raise ValueError(f"{name}={value!r} is not one of {list(genes[name])}")

        def layer(side: str, n: int, *names: str) -> list[int]:
            return [values[f"{side}.layer{n}.{name}"] for name in names]

        return Architecture(
            self.vocabulary,
            self.attention_width // self.heads[-1],
            values["encoder.embed_dim"],
            values["decoder.embed_dim"],
            tuple(EncoderLayer(*layer("encoder", n, "ffn_dim", "heads")) for n in range(1, self.encoder_layers + 1)),
            tuple(
                DecoderLayer(*layer("decoder", n, "ffn_dim", "self_heads", "cross_heads", "attention_span"))
                for n in range(1, values[DEPTH] + 1)
            ),
        )

    @property
    def largest(self) -> Architecture:
        """The SuperTransformer's own architecture."""
        return self.architecture({name: values[-1] for name, values in self.genes.items()})

    @property
    def smallest(self) -> Architecture:
        """The architecture in which every gene has its least value."""
        return self.architecture({name: values[0] for name, values in self.genes.items()})

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draws every gene with equal chances (HAT, section 2.2)."""
        return self.architecture({name: values[rng.integers(len(values))] for name, values in self.genes.items()})

    def to_json(self) -> dict[str, Any]:
        """Returns the space as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TransformerSpace:
        """Builds a space from `to_json`'s plain data."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**fields)
