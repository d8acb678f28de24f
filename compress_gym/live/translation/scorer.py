"""Live scores of SubTransformers with inherited weights: BLEU and loss on sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.data.multi30k import SentencePairs
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.compressor import TransformerCompressor
from compress_gym.live.translation.compressor import build as build_compressor
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.networks.supertransformer import Transformer
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.errors import unknown_name
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions

COLUMNS = (ACCURACY_COLUMN, "valid_loss")


class TranslationScorer:
    """Scores strategies by translating sentences now: `accuracy` is BLEU / 100, `valid_loss` nats a token.

    Attributes:
        source: `"live"`.
        compressor: What cuts SubTransformers out.
        decisions: The space of strategies.
        columns: Names of the score columns.
        pairs: Sentences that are scored.
    """

    source = "live"
    columns = COLUMNS

    def __init__(self, compressor: TransformerCompressor, pairs: SentencePairs) -> None:
        """Prepares the sentences.

        Raises:
            ValueError: A sentence is empty or too long.
        """
        self.compressor, self.decisions, self.pairs = compressor, compressor.decisions, pairs
        device = compressor.module.positions.device.type
        self._batches = scoring_batches(TokenPairs.encode(pairs, compressor.vocabulary), device)

    @cached_property
    def baseline(self) -> float:
        """BLEU / 100 of the largest SubTransformer."""
        return float(self(self.decisions.uncompressed)[0])

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns BLEU / 100 of strategies `[N, T]`, float64 `[N]`."""
        return self.scores(strategies, (ACCURACY_COLUMN,))[ACCURACY_COLUMN]

    def scores(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Returns the wanted score columns, float64 `[N]` each.

        Raises:
            KeyError: A column that translations do not have.
        """
        for name in columns:
            if name not in COLUMNS:
                raise unknown_name("column", name, COLUMNS)
        rows = self.decisions.check(strategies)
        found = {name: np.empty(len(rows)) for name in columns}
        for n, row in enumerate(rows):
            module = self.compressor.build(row)
            for name, column in found.items():
                column[n] = self._bleu(module) if name == ACCURACY_COLUMN else validation_loss(module, self._batches)
        return found

    def measure(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Scores strategies as they are stored: the wanted columns, float64 `[N]` each."""
        return dict(self.scores(strategies, columns))

    @property
    def identity(self) -> dict[str, Any]:
        """What a score depends on beside weights and strategy, as cards have it."""
        return {"sentences": len(self.pairs.source), "sentences_digest": self.pairs.digest()}

    def _bleu(self, module: Transformer) -> float:
        translations = translate(module, self.compressor.vocabulary, self.pairs.source)
        return bleu(translations, self.pairs.target).score / 100


def build(task: Task, decisions: DecisionSpace, conditions: Conditions) -> TranslationScorer:
    """Builds the scorer of a task's SuperTransformer.

    Raises:
        ValueError: A device that is not there, or conditions that translations do not have.
    """
    if conditions.recovery not in (None, "none") or conditions.corruption or conditions.bf16:
        raise ValueError(f"{conditions}: SubTransformers inherit their weights and are scored as they are, in fp32")
    pairs = task.split(conditions.split)
    pairs = pairs if conditions.images is None else pairs.take(conditions.images)
    return TranslationScorer(build_compressor(task, decisions, conditions), pairs)
