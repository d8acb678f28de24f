"""A joint vocabulary of byte pairs for two languages: sentences to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress_gym.support.cards import read_card, write_atomically
from compress_gym.support.errors import AssetError, needing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# In the order of the numbers that `networks/supertransformer.py` gives them.
SPECIAL = ("<pad>", "<begin>", "<end>")
END = 2


class Vocabulary:
    """Byte-level byte-pair encoding (Sennrich et al. 2016): no sentence has an unknown token, and decoding is exact."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wraps a trained tokenizer.

        Raises:
            ValueError: Its special tokens are not those of this package.
        """
        self._tokenizer = tokenizer
        found = tuple(tokenizer.id_to_token(n) for n in range(len(SPECIAL)))
        if found != SPECIAL:
            raise ValueError(f"the vocabulary begins with the tokens {found}; expected {SPECIAL}")

    @classmethod
    def train(cls, sentences: Iterable[str], size: int) -> Vocabulary:
        """Learns the most frequent byte pairs.

        Args:
            sentences: Of both languages.
            size: Number of tokens, at least 259 (256 bytes and three special ones).
        """
        tokenizers = _tokenizers()
        if size < 256 + len(SPECIAL):
            raise ValueError(
                f"size={size} must be at least {256 + len(SPECIAL)}: all bytes and {len(SPECIAL)} specials"
            )
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(sentences, trainer)
        return cls(tokenizer)

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of each sentence, its end included.

        Raises:
            ValueError: A sentence is empty.
        """
        for n, sentence in enumerate(sentences):
            if not sentence.strip():
                raise ValueError(f"sentence {n} is empty; there is nothing to translate")
        return [[*encoding.ids, END] for encoding in self._tokenizer.encode_batch_fast(list(sentences))]

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Returns the sentences; special tokens are left out."""
        sentences = self._tokenizer.decode_batch([list(row) for row in tokens], skip_special_tokens=True)
        return [sentence.strip() for sentence in sentences]

    def save(self, path: Path) -> None:
        """Writes the vocabulary as the `tokenizers` library's JSON."""
        text = self._tokenizer.to_str(pretty=False) + "\n"
        write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: Path, check_card: bool = True) -> Vocabulary:
        """Reads what `save` wrote, checked against the card beside it first if so wished.

        Raises:
            AssetError: File or card is missing, damaged, or not a vocabulary.
        """
        if check_card:
            read_card(path)
        try:
            return cls(_tokenizers().Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except ImportError:
            raise
        except Exception as error:  # the library raises nothing narrower
            raise AssetError(f"{path}: not readable as a vocabulary ({error})") from error


def _tokenizers():  # type: ignore[no-untyped-def]
    with needing("tokenizers", "translation", "splitting sentences into tokens"):
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    return tokenizers
