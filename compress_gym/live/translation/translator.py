"""A SubTransformer on its own: stored, loaded, and used to translate.

python -m compress_gym.live.translation.translator small "A dog runs on the beach."
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.scoring import translate
from compress_gym.live.weights import load_weights, save_weights
from compress_gym.networks.supertransformer import Transformer
from compress_gym.networks.transformer import Architecture
from compress_gym.support.cards import provenance, read_json, write_atomically, write_card
from compress_gym.support.commands import run_command
from compress_gym.support.errors import AssetError


@dataclass(frozen=True)
class Translator:
    """A transformer with weights of its own, and its vocabulary.

    Attributes:
        module: The transformer, in evaluation mode.
        vocabulary: Its vocabulary.
    """

    module: Transformer
    vocabulary: Vocabulary

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """Translates sentences greedily.

        Raises:
            ValueError: A sentence is empty or too long.
        """
        return translate(self.module, self.vocabulary, sentences)

    def save(self, folder: Path, what: str, terms: str, command: str) -> None:
        """Writes weights, architecture and vocabulary, with their cards.

        Args:
            folder: Where to; made if it is not there.
            what: What it is, for the card.
            terms: What it may be used for, by the card of the weights that it was cut out of.
            command: The command that makes it again, for the card.
        """
        architecture = json.dumps(self.module.architecture.to_json(), indent=1) + "\n"
        write_atomically(folder / "architecture.json", lambda p: p.write_text(architecture))
        save_weights(self.module, folder / "weights.safetensors")
        self.vocabulary.save(folder / "vocabulary.bpe")
        for name in ("weights.safetensors", "vocabulary.bpe"):
            write_card(folder / name, {"what": what, "terms": terms, **provenance(command, ["torch", "tokenizers"])})

    @classmethod
    def load(cls, folder: Path) -> Translator:
        """Reads what `save` wrote.

        Raises:
            AssetError: A file is missing or damaged, or they do not fit each other.
        """
        path = folder / "architecture.json"
        try:
            architecture = Architecture.from_json(read_json(path))
            module = Transformer(architecture)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise AssetError(f"{path}: not readable as an architecture ({error!r})") from error
        vocabulary = Vocabulary.load(folder / "vocabulary.bpe")
        load_weights(module, folder / "weights.safetensors")
        if len(vocabulary) != architecture.vocabulary:
            raise AssetError(
                f"{folder}: {len(vocabulary)} tokens in the vocabulary, {architecture.vocabulary} in {path}"
            )
        return cls(module.eval(), vocabulary)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("sentences", nargs=-1)
def main(folder: Path, sentences: tuple[str, ...]) -> None:
    """Translates SENTENCES (default: the lines of the standard input; empty ones stay) with the one in FOLDER."""
    lines = list(sentences) or sys.stdin.read().splitlines()
    translated = iter(Translator.load(folder)([line for line in lines if line.strip()]))
    for line in lines:
        click.echo(next(translated) if line.strip() else "")


if __name__ == "__main__":
    run_command(main, "compress_gym.live.translation.translator")
