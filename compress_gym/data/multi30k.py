"""Multi30k, task 1 (Elliott et al. 2016): image descriptions in English, translated to German by professionals.

29,000 pairs train, 1,014 validate; the 1,000 of `test_2016_flickr` are for reporting alone. Sentences are raw: cased,
not tokenised.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from compress_gym.data.archives import archive_folder

# Splits by the names of their files.
_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


@dataclass(frozen=True)
class SentencePairs:
    """Sentences and their translations, in order.

    Attributes:
        source: Sentences in the source language.
        target: Their translations.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]

    def take(self, count: int) -> SentencePairs:
        """Returns the first `count` pairs."""
        return SentencePairs(self.source[:count], self.target[:count])

    def digest(self) -> str:
        """Returns the SHA-256 of all sentences, 16 hex digits."""
        return hashlib.sha256("\n".join((*self.source, *self.target)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ParallelCorpus:
    """Sentence pairs in three splits. Test pairs are for reporting alone: nothing may be chosen by them."""

    train: SentencePairs
    validation: SentencePairs
    test: SentencePairs


def load() -> ParallelCorpus:
    """Reads the pairs of English (source) and German (target) from the data root.

    Raises:
        FileNotFoundError: The data root does not hold them; the message names the command that brings them.
        ValueError: A file is missing, incomplete or altered, or two files do not pair up.
    """
    folder = archive_folder("multi30k")
    return ParallelCorpus(**{split: _read(folder, name) for split, name in _FILES.items()})


def _read(folder: Path, name: str) -> SentencePairs:
    source, target = (_lines(folder / f"{name}.{language}.gz") for language in ("en", "de"))
    if len(source) != len(target):
        raise ValueError(f"{folder / name}: {len(source)} English lines and {len(target)} German lines do not pair up")
    return SentencePairs(source, target)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as gzipped UTF-8 text ({error}); fetch it again") from error
    # Only line feeds end a line: some sentences hold other characters that `splitlines` would split at.
    return tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
