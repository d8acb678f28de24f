"""A SuperTransformer for translation, after HAT (Wang et al. 2020): every smaller transformer is part of its weights.

Each weight of a SubTransformer is the leading block of the SuperTransformer's: the first rows and columns of a matrix,
the first heads, the first decoder layers. One class serves both: `Transformer(architecture)` holds the weights of one
architecture, its methods run any architecture that fits into it, and `cut_out` copies the blocks into a transformer of
their own. Layer norms come before each part (pre-norm), so that decoder layers can be left out.

A head has a fixed width, and fewer heads mean narrower attention. (HAT's release splits a fixed width into fewer, wider
heads, which leaves costs as they are.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_gym.networks.transformer import Architecture, DecoderLayer, EncoderLayer, TransformerSpace

PAD, BEGIN, END = range(3)
# Tokens of a sentence, its end included. Multi30k's longest has some 60.
MAX_LENGTH = 128


def leading_linear(layer: nn.Linear, x: Tensor, features: int) -> Tensor:
    """Applies the leading block of a linear layer: `[..., inputs]` to `[..., features]`."""
    return functional.linear(x, layer.weight[:features, : x.shape[-1]], layer.bias[:features])


def leading_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalises `[..., features]` with the leading gains and biases of a layer norm."""
    features = x.shape[-1]
    return functional.layer_norm(x, (features,), layer.weight[:features], layer.bias[:features])


def positions(length: int, features: int) -> Tensor:
    """Returns sine and cosine in turns, float32 `[length, features]`; columns do not depend on how many there are.

    Wavelengths rise from 2 pi to 10,000 pi over 256 features, whatever the number of features: a narrow embedding sees
    the leading columns of a wide one.
    """
    wavelengths = torch.exp(torch.arange(0, features, 2) * (-math.log(10_000.0) / 256))
    angles = torch.arange(length)[:, None] * wavelengths
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(length, features)


class Attention(nn.Module):
    """Multi-head attention whose number of heads and features can shrink."""

    def __init__(self, embed: int, memory_embed: int, heads: int, head_width: int) -> None:
        """Builds the projections, for `embed` features of a query and of the result."""
        super().__init__()
        self.head_width = head_width
        self.query = nn.Linear(embed, heads * head_width)
        self.key = nn.Linear(memory_embed, heads * head_width)
        self.value = nn.Linear(memory_embed, heads * head_width)
        self.out = nn.Linear(heads * head_width, embed)

    def keys_and_values(self, memory: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Maps what is attended to, `[N, length, features]`, to two tensors `[N, heads, length, head_width]`."""
        return self._split(self.key, memory, heads), self._split(self.value, memory, heads)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attends.

        Args:
            x: Queries, `[N, length, features]`.
            keys: `[N, heads, memory length, head_width]`.
            values: The same shape.
            mask: True where a key may be read, bool, broadcast to `[N, heads, length, memory length]`.
            causal: Whether a query reads only keys up to its own place.

        Returns:
            `[N, length, features]`.
        """
        queries = self._split(self.query, x, keys.shape[1])
        read = functional.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
        return leading_linear(self.out, read.transpose(1, 2).flatten(2), x.shape[-1])

    def _split(self, layer: nn.Linear, x: Tensor, heads: int) -> Tensor:
        projected = leading_linear(layer, x, heads * self.head_width)
        return projected.unflatten(-1, (heads, self.head_width)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a rectifier between them."""

    def __init__(self, embed: int, ffn: int) -> None:
        """Builds the layers."""
        super().__init__()
        self.widen = nn.Linear(embed, ffn)
        self.narrow = nn.Linear(ffn, embed)

    def forward(self, x: Tensor, ffn: int) -> Tensor:
        """Maps `[..., features]` to the same shape, through `ffn` hidden units."""
        return leading_linear(self.narrow, functional.relu(leading_linear(self.widen, x, ffn)), x.shape[-1])


class EncoderBlock(nn.Module):
    """Self-attention and feed-forward network, each with a residual around it."""

    def __init__(self, embed: int, layer: EncoderLayer, head_width: int, dropout: float) -> None:
        """Builds the block."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed)
        self.attention = Attention(embed, embed, layer.heads, head_width)
        self.ffn_norm = nn.LayerNorm(embed)
        self.ffn = FeedForward(embed, layer.ffn)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, layer: EncoderLayer) -> Tensor:
        """Maps `[N, length, features]` to the same shape with the sizes of `layer`."""
        y = leading_norm(self.attention_norm, x)
        x = x + self.dropout(self.attention(y, *self.attention.keys_and_values(y, layer.heads), mask))
        return x + self.dropout(self.ffn(leading_norm(self.ffn_norm, x), layer.ffn))


@dataclass
class LayerState:
    """What a decoder layer remembers while it writes a sentence.

    Attributes:
        memory: Keys and values of the encoder, `[N, heads, span * source length, head_width]` each.
        memory_mask: True where they belong to a token, bool `[N, 1, 1, span * source length]`; `None`: everywhere.
        past: Keys and values of the tokens so far, `[N, heads, length, head_width]` each; `None` at the start.
    """

    memory: tuple[Tensor, Tensor]
    memory_mask: Tensor | None
    past: tuple[Tensor, Tensor] | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the keys and values of new tokens and returns all."""
        if self.past is not None:
            keys, values = torch.cat([self.past[0], keys], dim=2), torch.cat([self.past[1], values], dim=2)
        self.past = keys, values
        return self.past


class DecoderBlock(nn.Module):
    """Self-attention, attention to the encoder, and feed-forward network, each with a residual around it."""

    def __init__(self, embed: int, encoder_embed: int, layer: DecoderLayer, head_width: int, dropout: float) -> None:
        """Builds the block."""
        super().__init__()
        self.self_norm = nn.LayerNorm(embed)
        self.self_attention = Attention(embed, embed, layer.self_heads, head_width)
        self.cross_norm = nn.LayerNorm(embed)
        self.cross_attention = Attention(embed, encoder_embed, layer.cross_heads, head_width)
        self.ffn_norm = nn.LayerNorm(embed)
        self.ffn = FeedForward(embed, layer.ffn)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: LayerState, layer: DecoderLayer) -> Tensor:
        """Maps new tokens `[N, length, features]` to the same shape; their keys and values are added to the state."""
        y = leading_norm(self.self_norm, x)
        past = state.extend(*self.self_attention.keys_and_values(y, layer.self_heads))
        x = x + self.dropout(self.self_attention(y, *past, causal=x.shape[1] > 1))
        y = leading_norm(self.cross_norm, x)
        x = x + self.dropout(self.cross_attention(y, *state.memory, state.memory_mask))
        return x + self.dropout(self.ffn(leading_norm(self.ffn_norm, x), layer.ffn))


class Transformer(nn.Module):
    """An encoder-decoder transformer that can run every smaller one inside it."""

    positions: Tensor

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        """Builds the weights of an architecture.

        Args:
            architecture: Its sizes; methods that take an `architecture` run this one by default.
            dropout: Of embeddings, and of what is added to them.
        """
        super().__init__()
        self.architecture, a = architecture, architecture
        widest = max(a.encoder_embed, a.decoder_embed)
        self.embedding = nn.Embedding(a.vocabulary, widest)
        self.encoder = nn.ModuleList(EncoderBlock(a.encoder_embed, e, a.head_width, dropout) for e in a.encoder)
        self.encoder_norm = nn.LayerNorm(a.encoder_embed)
        self.decoder = nn.ModuleList(
            DecoderBlock(a.decoder_embed, a.encoder_embed, d, a.head_width, dropout) for d in a.decoder
        )
        self.decoder_norm = nn.LayerNorm(a.decoder_embed)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", positions(MAX_LENGTH, widest), persistent=False)
        nn.init.normal_(self.embedding.weight, std=widest**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, source: Tensor, target: Tensor, architecture: Architecture | None = None) -> Tensor:
        """Predicts each target token's successor (teacher forcing).

        Args:
            source: Tokens, int64 `[N, source length]`, padded with `PAD`.
            target: Tokens that begin with `BEGIN`, int64 `[N, target length]`, padded with `PAD`.
            architecture: What is run; it must fit into the module's own.

        Returns:
            Logits, `[N, target length, vocabulary]`.
        """
        return self.logits(self.hidden(source, target, architecture))

    def hidden(self, source: Tensor, target: Tensor, architecture: Architecture | None = None) -> Tensor:
        """Returns what `forward` multiplies by the embedding table, `[N, target length, decoder_embed]`."""
        a = self._checked(architecture)
        return self._decode(target, self.encode(source, a), 0, a)

    def logits(self, hidden: Tensor) -> Tensor:
        """Maps `[..., decoder_embed]` to logits `[..., vocabulary]`."""
        return functional.linear(hidden, self.embedding.weight[:, : hidden.shape[-1]])

    def encode(self, source: Tensor, architecture: Architecture) -> list[LayerState]:
        """Encodes source tokens `[N, length]` and returns what each decoder layer starts from."""
        padded = source == PAD
        valid = ~padded if bool(padded.any()) else None
        mask = None if valid is None else valid[:, None, None]
        x, outputs = self._embed(source, 0, architecture.encoder_embed), []
        for block, encoder_layer in zip(self.encoder, architecture.encoder, strict=True):
            x = block(x, mask, encoder_layer)
            outputs.append(x)
        spans = max(layer.span for layer in architecture.decoder)
        outputs = [leading_norm(self.encoder_norm, output) for output in outputs[-spans:]]
        states = []
        for block, layer in zip(self.decoder, architecture.decoder, strict=False):
            memory = torch.cat(outputs[-layer.span :], dim=1)
            memory_mask = None if valid is None else valid.repeat(1, layer.span)[:, None, None]
            keys_and_values = block.cross_attention.keys_and_values(memory, layer.cross_heads)  # type: ignore[union-attr, operator]
            states.append(LayerState(keys_and_values, memory_mask))
        return states

    @torch.no_grad()
    def greedy(
        self, source: Tensor, length: int, architecture: Architecture | None = None, stop: bool = True
    ) -> Tensor:
        """Translates greedily; each step computes the new token alone, keys and values of earlier ones are kept.

        Args:
            source: Tokens, int64 `[N, source length]`, padded with `PAD`.
            length: Most tokens of a translation, its end included.
            architecture: What is run; it must fit into the module's own.
            stop: Whether to stop when all translations have ended; otherwise all `length` steps are made.

        Returns:
            Tokens, int64 `[N, at most length]`; what follows an `END` is `PAD`.
        """
        if not 1 <= length <= MAX_LENGTH:
            raise ValueError(f"length={length} must be 1 to {MAX_LENGTH}")
        a = self._checked(architecture)
        states = self.encode(source, a)
        token = torch.full((len(source), 1), BEGIN, device=source.device)
        ended = torch.zeros(len(source), 1, dtype=torch.bool, device=source.device)
        written = []
        for step in range(length):
            token = self.logits(self._decode(token, states, step, a)).argmax(-1)
            written.append(token.masked_fill(ended, PAD))
            ended |= token == END
            if stop and bool(ended.all()):
                break
        return torch.cat(written, dim=1)

    def _decode(self, target: Tensor, states: list[LayerState], start: int, a: Architecture) -> Tensor:
        """Runs the decoder over new tokens `[N, length]`, the first of which is the sentence's token `start`."""
        x = self._embed(target, start, a.decoder_embed)
        for block, state, layer in zip(self.decoder, states, a.decoder, strict=False):
            x = block(x, state, layer)
        return leading_norm(self.decoder_norm, x)

    def _embed(self, tokens: Tensor, start: int, features: int) -> Tensor:
        if tokens.shape[1] == 0 or start + tokens.shape[1] > MAX_LENGTH:
            raise ValueError(
                f"a sentence has {start + tokens.shape[1]} tokens; it must have 1 to {MAX_LENGTH}: split it"
            )
        rows = functional.embedding(tokens, self.embedding.weight[:, :features]) * math.sqrt(features)
        return self.dropout(rows + self.positions[start : start + tokens.shape[1], :features])

    def _checked(self, architecture: Architecture | None) -> Architecture:
        if architecture is None:
            return self.architecture
        if architecture is not self.architecture and not architecture.fits_into(self.architecture):
            raise ValueError(f"architecture={architecture} does not fit into {self.architecture}")
        return architecture


def cut_out(module: Transformer, architecture: Architecture) -> Transformer:
    """Copies a SubTransformer's weights into a transformer of its own, in evaluation mode, on the same device.

    Raises:
        ValueError: The architecture does not fit into the module's.
    """
    module._checked(architecture)
    with torch.device("meta"):  # nothing is drawn that is replaced
        own = Transformer(architecture)
    whole = module.state_dict()
    blocks = {
        name: whole[name][tuple(slice(size) for size in tensor.shape)].clone(memory_format=torch.contiguous_format)
        for name, tensor in own.state_dict().items()
    }
    own.load_state_dict(blocks, assign=True)
    own.positions = module.positions[:, : own.positions.shape[1]].clone(memory_format=torch.contiguous_format)
    return own.eval()


def of_space(space: TransformerSpace) -> Transformer:
    """Builds the SuperTransformer that holds every architecture of a space, with fresh weights."""
    return Transformer(space.largest)
