"""The types of what strangers write: bounded, printable, and never a path."""

from __future__ import annotations

import unicodedata
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

# How much of a refused value, and how many of the complaints, are shown.
_SHOWN, _COMPLAINTS = 120, 5


def _printable(text: str) -> str:
    """Refuses characters that are not seen, or that turn the direction of what is read."""
    for character in text:
        category = unicodedata.category(character)
        if category.startswith("C") or category in ("Zl", "Zp"):
            raise ValueError(f"holds the character U+{ord(character):04X}, which does not print")
    if text != unicodedata.normalize("NFC", text):
        raise ValueError("is not in Unicode's normal form C")
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    return text


def _https(link: str) -> str:
    parts = urlsplit(link)  # raises ValueError on damaged addresses
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be https://, a host, and no user name")
    return link


# ASCII alone: letters that merely look alike cannot make a second name of the same appearance.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Title = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,298}[!-~])?$")]
Command = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,1000}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_printable)]
Link = Annotated[str, StringConstraints(pattern=r"^https://[!-~]{1,300}$"), AfterValidator(_https)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


def shown(value: object) -> str:
    """Returns a stranger's value as harmless ASCII, cut to a readable length."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def complaints(error: ValidationError) -> list[str]:
    """Returns what pydantic complains about: where, and what is wrong, a line each."""
    lines = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:_COMPLAINTS]:
        where = ".".join(str(part) for part in detail["loc"])
        lines.append(f"{shown(where)[1:-1] or 'the file'}: {detail['msg']}")
    more = error.error_count() - len(lines)
    return [*lines, f"and {more} more"] if more > 0 else lines
