"""A language pair small enough to be learnt in seconds: every word has one translation, and order stays."""

from __future__ import annotations

import numpy as np

from compress_gym.data.multi30k import ParallelCorpus, SentencePairs
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.training import TranslationRecipe
from compress_gym.networks.transformer import TransformerSpace

ENGLISH = "red dog sees two big cats near old trees"
GERMAN = "rot Hund sieht zwei große Katzen bei alten Bäumen"
WORDS = dict(zip(ENGLISH.split(), GERMAN.split(), strict=True))
RECIPE = TranslationRecipe(updates=200, tokens=160, peak_lr=6e-3, warmup=20, dropout=0.0, average=0.9)


def pairs(count: int, seed: int) -> SentencePairs:
    rng = np.random.default_rng(seed)
    sentences = [rng.choice(list(WORDS), size=rng.integers(1, 7)).tolist() for _ in range(count)]
    return SentencePairs(
        tuple(" ".join(s) for s in sentences), tuple(" ".join(WORDS[word] for word in s) for s in sentences)
    )


CORPUS = ParallelCorpus(pairs(200, 0), pairs(40, 1), pairs(40, 2))


def vocabulary() -> Vocabulary:
    return Vocabulary.train((*CORPUS.train.source, *CORPUS.train.target), 330)


def space(tokens: int) -> TransformerSpace:
    return TransformerSpace(tokens, 32, 2, (16, 32), (16, 48), (1, 2), (1, 2), (1, 2), length=6)


def load() -> ParallelCorpus:
    """What a task's reader is."""
    return CORPUS
