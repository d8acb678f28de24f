"""SubTransformers that were scored live, and what predicts their loss; no torch needed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import read_card, write_arrays
from compress_gym.support.errors import AssetError


@dataclass(frozen=True)
class ScoredTransformers:
    """Strategies and their live scores on validation sentences.

    Attributes:
        strategies: Canonical choices, int64 `[N, T]`, each once.
        valid_loss: Cross-entropy of reference tokens in nats, float64 `[N]`.
        accuracy: BLEU / 100 of greedy translations, float64 `[N]`; NaN where they were not made.
    """

    strategies: NDArray[np.int64]
    valid_loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def translated(self) -> NDArray[np.bool_]:
        """Which strategies have a BLEU score, bool `[N]`."""
        return ~np.isnan(self.accuracy)

    def save(self, path: Path, decisions: DecisionSpace) -> None:
        """Writes the scores; choices take a byte each."""
        write_arrays(
            path,
            decisions=np.array(decisions.names),
            sizes=decisions.sizes.astype(np.uint8),
            strategies=self.strategies.astype(np.uint8),
            valid_loss=self.valid_loss,
            accuracy=self.accuracy,
        )

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> ScoredTransformers:
        """Reads what `save` wrote.

        Raises:
            AssetError: The file is damaged, or was measured for other decisions.
        """
        read_card(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                names, sizes = tuple(file["decisions"].tolist()), file["sizes"]
                strategies = file["strategies"].astype(np.int64)
                loaded = cls(strategies, file["valid_loss"].astype(float), file["accuracy"].astype(float))
            if names != decisions.names or not np.array_equal(sizes, decisions.sizes):
                raise AssetError(f"{path}: measured for decisions {list(names)}, not for {list(decisions.names)}")
            if not len(loaded.valid_loss) == len(loaded.accuracy) == len(decisions.check(strategies)):
                raise AssetError(f"{path}: the numbers of strategies and of scores differ")
        except AssetError:
            raise
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise AssetError(f"{path}: not readable as scored transformers ({error})") from error
        return loaded


@dataclass(frozen=True, eq=False)
class LossSurrogate:
    """Predicts losses.

    Attributes:
        likelihood: Predicts exp(-loss): the geometric mean of the reference tokens' probabilities, a fraction of 1.
    """

    likelihood: SurrogateAccuracy

    def valid_loss(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns cross-entropies of reference tokens in nats, float64 `[N]`."""
        return -np.log(self.likelihood(strategies))
