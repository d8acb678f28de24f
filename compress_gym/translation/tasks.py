"""The registry of translation tasks: a corpus, a space of transformers, and what was trained and measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress_gym.data import multi30k
from compress_gym.data.multi30k import ParallelCorpus
from compress_gym.errors import unknown_name
from compress_gym.networks.transformer import TransformerSpace
from compress_gym.tasks import ASSETS


@dataclass(frozen=True)
class TranslationTask:
    """A named corpus, space and set of assets.

    Attributes:
        name: The name users give.
        version: Raised whenever a shipped asset or default changes.
        space: Its SubTransformers.
        summary: One line for people.
        assets: Folder that holds the task's folder of assets.
    """

    name: str
    version: int
    space: TransformerSpace
    summary: str
    assets: Path = ASSETS

    @property
    def folder(self) -> Path:
        """Where the task's assets lie."""
        return self.assets / self.name

    def corpus(self) -> ParallelCorpus:
        """Reads the sentences."""
        return multi30k.load()


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
_TASKS = (
    TranslationTask("multi30k-ende", 1, _MULTI30K, "image descriptions, English to German, 25 genes of a transformer"),
)
TRANSLATION_TASKS: dict[str, TranslationTask] = {task.name: task for task in _TASKS}


def get_translation_task(name: str) -> TranslationTask:
    """Returns a translation task by name.

    Raises:
        KeyError: The name is not registered; the message names the closest match.
    """
    if name not in TRANSLATION_TASKS:
        raise unknown_name("task", name, TRANSLATION_TASKS)
    return TRANSLATION_TASKS[name]
