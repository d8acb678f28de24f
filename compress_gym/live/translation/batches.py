"""Sentence pairs as padded batches of tokens, sentences of like length together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compress_gym.data.multi30k import SentencePairs
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.networks.supertransformer import BEGIN, MAX_LENGTH, PAD


@dataclass(frozen=True)
class TokenPairs:
    """Sentence pairs as tokens, each with its end; rows that belong together have the same number.

    Attributes:
        source: Tokens of each source sentence.
        target: Tokens of each target sentence.
    """

    source: list[list[int]]
    target: list[list[int]]

    @classmethod
    def encode(cls, pairs: SentencePairs, vocabulary: Vocabulary) -> TokenPairs:
        """Encodes sentences.

        Raises:
            ValueError: A sentence is empty, or has more tokens than a transformer has positions.
        """
        both = []
        for name, sentences in (("source", pairs.source), ("target", pairs.target)):
            rows = vocabulary.encode(sentences)
            check_lengths(rows, name)
            both.append(rows)
        return cls(*both)


@dataclass(frozen=True)
class Batch:
    """Padded tokens of some sentence pairs.

    Attributes:
        rows: Numbers of the pairs, int64 `[N]`.
        source: int64 `[N, source length]`.
        entering: Target tokens behind a `BEGIN`, without their ends, int64 `[N, target length]`.
        leaving: Target tokens with their ends: what is predicted, int64 `[N, target length]`.
    """

    rows: np.ndarray
    source: Tensor
    entering: Tensor
    leaving: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Returns the same batch on a device."""
        return Batch(self.rows, *(tensor.to(device) for tensor in (self.source, self.entering, self.leaving)))

    @property
    def tokens(self) -> int:
        """Number of target tokens, padding not counted."""
        return int((self.leaving != PAD).sum())


def check_lengths(rows: Sequence[Sequence[int]], name: str) -> None:
    """Checks that sentences fit a transformer's positions.

    Raises:
        ValueError: One does not; the message gives its number.
    """
    for n, row in enumerate(rows):
        if len(row) > MAX_LENGTH:
            raise ValueError(f"{name} sentence {n} has {len(row)} tokens; at most {MAX_LENGTH} are possible: split it")


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Returns rows of tokens as one tensor, int64 `[N, longest]`, `PAD` behind shorter ones."""
    array = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for target, row in zip(array, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(array)


def batch_of(pairs: TokenPairs, rows: np.ndarray) -> Batch:
    """Pads the pairs of some numbers."""
    leaving = padded([pairs.target[n] for n in rows])
    entering = torch.roll(leaving, 1, dims=1)
    entering[:, 0] = BEGIN
    return Batch(rows, padded([pairs.source[n] for n in rows]), entering, leaving)


def batches_by_length(pairs: TokenPairs, tokens: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Groups pairs of like length.

    Args:
        pairs: The sentence pairs.
        tokens: Most tokens of a batch, padding included, on its longer side.
        rng: Shuffles pairs of equal length, and the batches; `None` keeps all in order.

    Returns:
        Numbers of the pairs of each batch; every pair is in one batch.
    """
    lengths = np.array([max(len(s), len(t)) for s, t in zip(pairs.source, pairs.target, strict=True)])
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    # Among pairs of one length, those whose shorter sides agree come together too.
    shorter = np.array([min(len(s), len(t)) for s, t in zip(pairs.source, pairs.target, strict=True)])
    order = order[np.lexsort((shorter[order], lengths[order]))]
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= tokens:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches if rng is None else [batches[n] for n in rng.permutation(len(batches))]
