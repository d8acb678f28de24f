"""Live scores of SubTransformers with inherited weights: BLEU and loss on validation sentences."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.data.multi30k import SentencePairs
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.kinds.transformer_problem import transformer_decisions
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.networks.supertransformer import Transformer, cut_out
from compress_gym.networks.transformer import Architecture, TransformerSpace
from compress_gym.support.processor import checked_device


class LiveTranslation:
    """Scores strategies by translating validation sentences now; `accuracy` is BLEU / 100."""

    def __init__(
        self,
        module: Transformer,
        vocabulary: Vocabulary,
        space: TransformerSpace,
        pairs: SentencePairs,
        device: str = "cpu",
    ) -> None:
        """Prepares the sentences.

        Args:
            module: The trained SuperTransformer.
            vocabulary: Its vocabulary.
            space: Its SubTransformers.
            pairs: Sentences that are scored.
            device: Where to compute, `cpu` or `cuda`, in float32 on both.

        Raises:
            ValueError: The vocabulary or the space is not the module's, a sentence is empty or too long, or the device
                is not there.
        """
        if len(vocabulary) != module.architecture.vocabulary:
            raise ValueError(
                f"the vocabulary has {len(vocabulary)} tokens, the transformer {module.architecture.vocabulary}"
            )
        if not space.largest.fits_into(module.architecture):
            raise ValueError(f"space={space} holds architectures that do not fit into {module.architecture}")
        self.module, self.vocabulary = module.to(checked_device(device)), vocabulary
        self.space, self.pairs = space, pairs
        self.decisions = transformer_decisions(space)
        self._batches = scoring_batches(TokenPairs.encode(pairs, vocabulary), device)
        self._last_loss: tuple[Architecture, float] | None = None

    @property
    def source(self) -> str:
        """`live`."""
        return "live"

    @cached_property
    def baseline(self) -> float:
        """BLEU / 100 of the largest SubTransformer."""
        return self._bleu(self.space.largest)

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns BLEU / 100 of strategies `[N, T]`, float64 `[N]`."""
        return np.array([self._bleu(a) for a in self._architectures(strategies)], dtype=np.float64)

    def valid_loss(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns the cross-entropy of reference tokens in nats, the mean over tokens, float64 `[N]`."""
        return np.array([self._loss(a) for a in self._architectures(strategies)], dtype=np.float64)

    def _architectures(self, strategies: ArrayLike) -> list[Architecture]:
        rows = self.decisions.check(strategies)
        return [self.space.architecture(self.decisions.describe(row)) for row in rows]

    def _loss(self, architecture: Architecture) -> float:
        # The reward `hat` and the last info ask for the same architecture.
        if self._last_loss is None or self._last_loss[0] != architecture:
            self._last_loss = architecture, validation_loss(self._cut_out(architecture), self._batches)
        return self._last_loss[1]

    def _cut_out(self, architecture: Architecture) -> Transformer:
        """Returns a transformer of its own: matrices that lie whole in memory are multiplied a fifth faster."""
        return cut_out(self.module, architecture)

    def _bleu(self, architecture: Architecture) -> float:
        translations = translate(self._cut_out(architecture), self.vocabulary, self.pairs.source)
        return bleu(translations, self.pairs.target).score / 100
