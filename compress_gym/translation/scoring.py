"""How good a transformer's translations are: loss of the reference tokens, and BLEU of greedy translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from compress_gym.data.vocabulary import Vocabulary
from compress_gym.errors import missing_extra
from compress_gym.networks.supertransformer import PAD, Transformer
from compress_gym.networks.transformer import Architecture
from compress_gym.translation.batches import Batch, TokenPairs, batch_of, batches_by_length, check_lengths, padded
from compress_gym.translation.training import batch_loss

# Tokens of a batch whose loss is computed, padding included, and sentences of one that is translated.
_LOSS_TOKENS = 512
_TRANSLATED = 128
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


def scoring_batches(pairs: TokenPairs) -> list[Batch]:
    """Pads sentence pairs for `validation_loss`."""
    return [batch_of(pairs, rows) for rows in batches_by_length(pairs, _LOSS_TOKENS)]


@torch.no_grad()
def validation_loss(module: Transformer, batches: Sequence[Batch], architecture: Architecture | None = None) -> float:
    """Returns the cross-entropy of the reference tokens (without smoothing), the mean over tokens, in nats."""
    total = sum(
        batch.tokens * float(batch_loss(module, batch, architecture or module.architecture, 0.0)) for batch in batches
    )
    return total / sum(batch.tokens for batch in batches)


def translate(
    module: Transformer,
    vocabulary: Vocabulary,
    sentences: Sequence[str],
    architecture: Architecture | None = None,
) -> list[str]:
    """Translates sentences greedily, those of like length together.

    Raises:
        ValueError: A sentence is empty, or has more tokens than the transformer has positions.
    """
    rows = vocabulary.encode(sentences)
    check_lengths(rows, "source")
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    translations = [""] * len(rows)
    for start in range(0, len(order), _TRANSLATED):
        chosen = order[start : start + _TRANSLATED]
        source = padded([rows[n] for n in chosen])
        length = min(source.shape[1] * 3 // 2 + _EXTRA, len(module.positions))
        written = module.greedy(source, length, architecture).tolist()
        decoded = vocabulary.decode([[token for token in row if token != PAD] for row in written])
        for n, sentence in zip(chosen, decoded, strict=True):
            translations[n] = sentence
    return translations


def bleu(translations: Sequence[str], references: Sequence[str]) -> Bleu:
    """Computes the BLEU of cased, detokenised translations with sacrebleu's defaults (13a)."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise missing_extra("sacrebleu", "translation", "the BLEU of translations") from error
    metric = BLEU()
    score = metric.corpus_score(list(translations), [list(references)]).score
    return Bleu(float(score), str(metric.get_signature()))
