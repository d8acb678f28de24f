"""Errors that name the argument, what was given, what is legal, and the closest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class AssetError(ValueError):
    """A shipped or user-given file (weights, table, card) is damaged or does not fit."""


def unknown_name(argument: str, given: object, legal: Iterable[str]) -> KeyError:
    """Builds the error for a name that is not in a registry; `str(error.args[0])` is the message."""
    names = sorted(legal)
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return KeyError(f"{argument}={given!r} is not known; legal: {', '.join(map(repr, names))}.{hint}")


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    """Builds the error for an optional dependency that is not installed."""
    return ImportError(f"{purpose} needs {package}; install it with: pip install 'compress_gym[{extra}]'")


@contextmanager
def needing(package: str, extra: str, purpose: str) -> Iterator[None]:
    """Imports an optional dependency: one that is not installed is told by `missing_extra`."""
    try:
        yield
    except ImportError as error:
        raise missing_extra(package, extra, purpose) from error
