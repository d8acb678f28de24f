"""The registry of translation tasks: a space of transformers, a corpus, and what was trained and measured on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from compress_gym.data.multi30k import ParallelCorpus
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.kinds.transformer_problem import transformer_decisions
from compress_gym.networks.transformer import TransformerSpace
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.problem.scores.transformers import LossSurrogate, ScoredTransformers
from compress_gym.support.cards import read_card, sha256
from compress_gym.support.errors import AssetError, missing_extra, unknown_name
from compress_gym.tasks import ASSETS

if TYPE_CHECKING:
    from compress_gym.live.translation.scorer import LiveTranslation
    from compress_gym.networks.supertransformer import Transformer


@dataclass(frozen=True)
class TranslationTask:
    """A named corpus, space and set of assets.

    Attributes:
        name: The name users give.
        version: Raised whenever a shipped asset or default changes.
        space: Its SubTransformers.
        summary: One line for people.
        reader: Module whose `load` reads the corpus; `None`: the task has costs alone.
        device: Name of the shipped device that was measured with its transformers, if there is one.
        assets: Folder that holds the task's folder of assets.
    """

    name: str
    version: int
    space: TransformerSpace
    summary: str
    reader: str | None = None
    device: str | None = None
    assets: Path = ASSETS

    @property
    def folder(self) -> Path:
        """Where the task's assets lie."""
        return self.assets / self.name

    def corpus(self) -> ParallelCorpus:
        """Reads the sentences.

        Raises:
            ValueError: The task has costs alone.
        """
        if self.reader is None:
            raise ValueError(
                f"task={self.name!r} has costs alone: nothing was trained for it, so there is no accuracy; give your "
                "own as accuracy=MODEL, a function of strategies [N, T] with the attributes `source` and `baseline`"
            )
        corpus: ParallelCorpus = import_module(self.reader).load()
        return corpus

    def decisions(self) -> DecisionSpace:
        """Returns the genes as decisions."""
        return transformer_decisions(self.space)

    def asset_hash(self) -> str:
        """Returns one hash over the weights, the vocabulary and what was measured, 16 hex digits."""
        assets = [path for ending in ("safetensors", "bpe", "npz") for path in self.folder.glob(f"*.{ending}")]
        lines = "\n".join(f"{path.name} {sha256(path)}" for path in sorted(assets))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def vocabulary(self) -> Vocabulary:
        """Reads the vocabulary.

        Raises:
            AssetError: It is damaged or not there; the message names the command that makes it.
        """
        self._require("vocabulary.bpe")
        return Vocabulary.load(self.folder / "vocabulary.bpe")

    def supertransformer(self) -> Transformer:
        """Builds the SuperTransformer with its trained weights, in evaluation mode.

        Raises:
            AssetError: The weights are damaged or not there; the message names the command that makes them.
        """
        self._require("weights.safetensors")
        try:
            from compress_gym.live.weights import load_weights
            from compress_gym.networks.supertransformer import Transformer
        except ModuleNotFoundError as error:
            raise missing_extra(str(error.name), "translation", f"the model of task {self.name!r}") from error
        module = Transformer(self.space.largest)
        load_weights(module, self.folder / "weights.safetensors")
        return module.eval()

    def live(self, split: str = "validation", device: str = "cpu") -> LiveTranslation:
        """Builds the live evaluator: inherited weights, sentences of a split.

        Args:
            split: `validation`, or `test` for reporting alone.
            device: Where to compute, `cpu` or `cuda`.

        Raises:
            KeyError: Another split.
            ValueError: Another device, or none there.
        """
        if split not in ("validation", "test"):
            raise unknown_name("split", split, ("validation", "test"))
        corpus, module, vocabulary = self.corpus(), self.supertransformer(), self.vocabulary()
        from compress_gym.live.translation.scorer import LiveTranslation

        return LiveTranslation(module, vocabulary, self.space, getattr(corpus, split), device)

    def strategies(self) -> ScoredTransformers:
        """Reads the SubTransformers that were scored live.

        Raises:
            AssetError: The file is missing or damaged, or was measured with other weights.
        """
        self._check_made_for("strategies.npz")
        return ScoredTransformers.load(self.folder / "strategies.npz", self.decisions())

    def surrogate(self) -> SurrogateAccuracy:
        """Reads the surrogate of BLEU / 100.

        Raises:
            AssetError: The file is missing or damaged, or was fitted to other weights.
        """
        self._check_made_for("surrogate.npz")
        return _surrogate(self.folder / "surrogate.npz", self.decisions())

    def loss_surrogate(self) -> LossSurrogate:
        """Reads the surrogate of the loss; raises as `surrogate`."""
        self._check_made_for("loss_surrogate.npz")
        return LossSurrogate(_surrogate(self.folder / "loss_surrogate.npz", self.decisions()))

    def best_signal(self) -> str:
        """Returns the accuracy that `auto` means: a surrogate where there is one, else `live`."""
        return "surrogate" if (self.folder / "surrogate.npz").exists() else "live"

    def _check_made_for(self, name: str) -> None:
        """Checks that a file was made with this task's weights, by its card."""
        self._require("weights.safetensors")
        path = self.folder / name
        card, weights = read_card(path), sha256(self.folder / "weights.safetensors")
        if card.get("task_version") != self.version or card.get("weights_sha256") != weights:
            raise AssetError(
                f"{path}: made with other weights or another version of the task; make it again with: "
                f"python -m compress_gym.making.collect_translation {self.name}"
            )

    def _require(self, name: str) -> None:
        if self.reader is None:
            self.corpus()  # says what is missing
        if not (self.folder / name).exists():
            raise AssetError(
                f"task={self.name!r}: {self.folder / name} is not there; make it with: "
                f"python -m compress_gym.making.train_translation {self.name}"
            )


# Scaled down from HAT's {512, 640}, {1024, 2048, 3072}, {4, 8}, 6 and 1 to 6 layers as the corpus is from WMT'14.
_MULTI30K = TransformerSpace(
    vocabulary=5000,
    attention_width=192,
    encoder_layers=3,
    embed=(96, 144, 192),
    ffn=(192, 384, 576),
    heads=(2, 4),
    decoder_layers=(1, 2, 3, 4),
    spans=(1, 2, 3),
)
# HAT's own space (its supertransformer/space0.yml), sentences of 30 tokens; its fortieth gene, the number of encoder
# layers, has one value.
_HAT_WMT14 = TransformerSpace(
    vocabulary=32_768,
    attention_width=512,
    encoder_layers=6,
    embed=(512, 640),
    ffn=(1024, 2048, 3072),
    heads=(4, 8),
    decoder_layers=(1, 2, 3, 4, 5, 6),
    spans=(1, 2, 3),
    length=30,
    heads_narrow=False,
)
_TASKS = (
    TranslationTask(
        "multi30k-ende",
        1,
        _MULTI30K,
        "image descriptions, English to German: three encoder and one to four decoder layers, 25 genes",
        reader="compress_gym.data.multi30k",
        device="epyc-torch-fp32",
    ),
    TranslationTask(
        "hat-wmt14",
        1,
        _HAT_WMT14,
        "HAT's transformers for WMT'14: costs alone, on the devices that HAT measured",
        device="hat-xeon-e5-2640",
    ),
)
TRANSLATION_TASKS: dict[str, TranslationTask] = {task.name: task for task in _TASKS}


@cache
def _surrogate(path: Path, decisions: DecisionSpace) -> SurrogateAccuracy:
    """Reads a surrogate once: every finished episode asks for the loss."""
    return SurrogateAccuracy.load(path, decisions)


def get_translation_task(name: str) -> TranslationTask:
    """Returns a translation task by name.

    Raises:
        KeyError: The name is not registered; the message names the closest match.
    """
    if name not in TRANSLATION_TASKS:
        raise unknown_name("task", name, TRANSLATION_TASKS)
    return TRANSLATION_TASKS[name]


def list_translation_tasks() -> list[str]:
    """Returns the names of the translation tasks whose SuperTransformer is shipped."""
    return [name for name, task in TRANSLATION_TASKS.items() if (task.folder / "weights.safetensors").exists()]
