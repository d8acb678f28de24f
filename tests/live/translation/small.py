"""A language pair small enough to be learnt in seconds: every word has one translation, and order stays."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from compress_gym.data.multi30k import ParallelCorpus, SentencePairs
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.training import TranslationRecipe, train_supertransformer
from compress_gym.live.weights import save_weights
from compress_gym.networks.supertransformer import Transformer
from compress_gym.networks.transformer import TransformerSpace
from compress_gym.support.cards import write_card
from compress_gym.tasks import Task

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


@cache
def trained() -> Transformer:
    """A SuperTransformer that was trained for seconds, once for all tests."""
    words = vocabulary()
    torch.manual_seed(0)
    module = Transformer(space(len(words)).largest)
    pairs = TokenPairs.encode(CORPUS.train, words)
    assert train_supertransformer(module, space(len(words)), pairs, RECIPE, seed=0) == RECIPE.updates
    return module


def write_tiny_translation(folder: Path) -> Task:
    """A task as the shipped one of transformers is, in a folder `tiny-translation` within `folder`."""
    made, words = folder / "tiny-translation", vocabulary()
    made.mkdir(parents=True)
    fields = {
        "name": made.name,
        "summary": "nine words",
        "data": f"{__name__}:load",
        "network": {
            "build": "compress_gym.networks.supertransformer:of_space",
            "description": "compress_gym.networks.transformer:TransformerSpace",
            "space": space(len(words)).to_json(),
        },
        "columns": {"accuracy": {"costly": True}, "valid_loss": {"surrogate": "loss_surrogate", "link": "exp(-x)"}},
        "kinds": ["TransformerNAS-v0"],
    }
    (made / "task.json").write_text(json.dumps(fields))
    task = Task.read(made)
    words.save(made / "vocabulary.bpe")
    save_weights(trained(), task.weights, half=True)
    for path in (made / "vocabulary.bpe", task.weights):
        write_card(path, {"terms": "for tests"})
    return task
