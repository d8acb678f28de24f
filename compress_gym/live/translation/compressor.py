"""From a strategy of genes to a transformer of its own, cut out of a SuperTransformer, and to a folder."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import ArrayLike

from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.translator import Translator
from compress_gym.networks.supertransformer import Transformer, cut_out
from compress_gym.networks.transformer import TransformerSpace
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.transformer_decisions import architecture_of
from compress_gym.support.processor import checked_device
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions


class TransformerCompressor:
    """Cuts SubTransformers out; they inherit their weights.

    Attributes:
        module: The trained SuperTransformer.
        vocabulary: Its vocabulary.
        space: Its SubTransformers.
        decisions: Their genes.
    """

    def __init__(
        self,
        module: Transformer,
        vocabulary: Vocabulary,
        space: TransformerSpace,
        decisions: DecisionSpace,
        device: str = "cpu",
        terms: str = "not stated",
    ) -> None:
        """Checks that they belong together.

        Args:
            module: The trained SuperTransformer.
            vocabulary: Its vocabulary.
            space: Its SubTransformers.
            decisions: Their genes.
            device: Where to compute, `cpu` or `cuda`, in float32 on both.
            terms: What the weights may be used for.

        Raises:
            ValueError: The vocabulary or the space is not the module's, or the device is not there.
        """
        if len(vocabulary) != module.architecture.vocabulary:
            raise ValueError(
                f"the vocabulary has {len(vocabulary)} tokens, the transformer {module.architecture.vocabulary}"
            )
        if not space.largest.fits_into(module.architecture):
            raise ValueError(f"space={space} holds architectures that do not fit into {module.architecture}")
        self.module, self.vocabulary = module.to(checked_device(device)), vocabulary
        self.space, self.decisions, self._terms = space, decisions, terms

    def build(self, strategy: ArrayLike) -> Transformer:
        """Returns a transformer of its own: matrices that lie whole in memory are multiplied a fifth faster."""
        return cut_out(self.module, architecture_of(self.space, self.decisions, strategy))

    def export(self, strategy: ArrayLike, path: Path) -> Path:
        """Writes weights, architecture and vocabulary into a folder, which `Translator.load` reads; returns it."""
        translator = Translator(self.build(strategy), self.vocabulary)
        translator.save(path, "SubTransformer, weights inherited", self._terms, "Problem.export")
        return path


def vocabulary_of(task: Task) -> Vocabulary:
    """Reads a task's vocabulary.

    Raises:
        AssetError: It is damaged or not there; the message names the command that brings or makes it.
    """
    return Vocabulary.load(task.checked("vocabulary.bpe"), check_card=False)


def build(task: Task, decisions: DecisionSpace, conditions: Conditions) -> TransformerCompressor:
    """Builds the compressor of a task's SuperTransformer; raises as `TransformerCompressor`."""
    module, vocabulary = task.trained_module(), vocabulary_of(task)
    return TransformerCompressor(module, vocabulary, task.network(), decisions, conditions.device, task.terms)  # type: ignore[arg-type]
