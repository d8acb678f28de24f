"""How good a transformer's translations are: loss of the reference tokens, and BLEU of greedy translations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.batches import Batch, TokenPairs, batch_of, batches_by_length, check_lengths, padded
from compress_gym.live.translation.training import batch_loss
from compress_gym.networks.supertransformer import PAD, Transformer
from compress_gym.networks.transformer import Architecture
from compress_gym.support.errors import needing

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

# Tokens of a batch whose loss is computed, padding included, and sentences of one that is translated: small enough for
# a processor's cache, large enough to occupy a GPU.
_LOSS_TOKENS = {"cpu": 512, "cuda": 16_384}
_TRANSLATED = {"cpu": 128, "cuda": 1024}
# A translation has at most half as many tokens again as its source, and so many more.
_EXTRA = 12


class Bleu(NamedTuple):
    """A BLEU score.

    Attributes:
        score: BLEU, 0 to 100.
        signature: sacrebleu's, which says how it was computed.
    """

    score: float
    signature: str


def scoring_batches(pairs: TokenPairs, device: str = "cpu") -> list[Batch]:
    """Pads sentence pairs for `validation_loss` of a module on a device, `cpu` or `cuda`."""
    return [batch_of(pairs, rows).to(device) for rows in batches_by_length(pairs, _LOSS_TOKENS[device])]


@torch.no_grad()
def validation_loss(module: Transformer, batches: Sequence[Batch], architecture: Architecture | None = None) -> float:
    """Returns the cross-entropy of the reference tokens (without smoothing), the mean over tokens, in nats."""
    total = sum(
        batch.tokens * float(batch_loss(module, batch, architecture or module.architecture, 0.0)) for batch in batches
    )
    return total / sum(batch.tokens for batch in batches)


def translate(
    module: Transformer, vocabulary: Vocabulary, sentences: Sequence[str], architecture: Architecture | None = None
) -> list[str]:
    """Translates sentences greedily, those of like length together.

    Raises:
        ValueError: A sentence is empty, or has more tokens than the transformer has positions.
    """
    rows = vocabulary.encode(sentences)
    check_lengths(rows, "source")
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    translations, device = [""] * len(rows), module.positions.device
    together = _TRANSLATED[device.type]
    for start in range(0, len(order), together):
        chosen = order[start : start + together]
        source = padded([rows[n] for n in chosen]).to(device)
        length = min(source.shape[1] * 3 // 2 + _EXTRA, len(module.positions))
        written = module.greedy(source, length, architecture).tolist()
        decoded = vocabulary.decode([[token for token in row if token != PAD] for row in written])
        for n, sentence in zip(chosen, decoded, strict=True):
            translations[n] = sentence
    return translations


def bleu(translations: Sequence[str], references: Sequence[str]) -> Bleu:
    """Computes the BLEU of cased, detokenised translations with sacrebleu's defaults (13a)."""
    metric = _metric(tuple(references))
    score = metric.corpus_score(list(translations), None).score
    return Bleu(float(score), str(metric.get_signature()))


@lru_cache(maxsize=4)
def _metric(references: tuple[str, ...]) -> BLEU:
    """Splits references into words once."""
    with needing("sacrebleu", "translation", "the BLEU of translations"):
        from sacrebleu.metrics import BLEU
    return BLEU(references=[list(references)])
