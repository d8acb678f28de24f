"""The types of what strangers write: bounded, printable, and never a path."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

# How much of a refused value, and how many of the complaints, are shown.
_SHOWN, _COMPLAINTS = 120, 5


# Letters and marks by their category, but nothing is seen of them: fillers, joiners, variation selectors.
_UNSEEN = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    *range(0x180B, 0x1810),
    0x2800,
    0x3164,
    *range(0xFE00, 0xFE10),
    0xFFA0,
}
_UNSEEN |= set(range(0xE0100, 0xE01F0))
# Scripts whose letters look like those of each other.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK")
# The vowel am of Thai and Lao: Unicode splits it in normal form KC, but people write names with it.
_PROPER = "\u0e33\u0eb3"
_MOST_MARKS = 2
# A domain name: labels with dots between, the last one not a number (which browsers would read as an address).
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def _printable(text: str) -> str:
    """Refuses characters that are not seen, that pile up, or that turn the direction of what is read."""
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category.startswith("C") or category in ("Zl", "Zp") or ord(character) in _UNSEEN:
            raise ValueError(f"holds the character U+{ord(character):04X}, which does not print")
        marks = marks + 1 if category.startswith("M") else 0
        if marks > _MOST_MARKS:
            raise ValueError(f"has more than {_MOST_MARKS} combining marks in a row")
    if text != unicodedata.normalize("NFC", text):
        raise ValueError("is not in Unicode's normal form C")
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    return text


def _unmistakable(text: str) -> str:
    """Refuses names that look like another: compatibility forms, and words of letters from several alphabets."""
    if any(unicodedata.normalize("NFKC", letter) != letter for letter in text if letter not in _PROPER):
        raise ValueError("holds characters that stand for others (Unicode's normal form KC)")
    for word in re.findall(r"\w+", text):
        scripts = {unicodedata.name(character, "").partition(" ")[0] for character in word}
        mixed = [script.title() for script in _ALIKE if script in scripts]
        if len(mixed) > 1:
            raise ValueError(f"has a word that mixes {' and '.join(mixed)} letters")
    return text


def _https(link: str) -> str:
    parts = urlsplit(link)  # raises ValueError on damaged addresses, as `port` does on numbers that are none
    if parts.scheme != "https" or "@" in parts.netloc or "\\" in link:
        raise ValueError("must be https://, a host, no user name and no backslash")
    if not _HOST.fullmatch(parts.hostname or "") or parts.port == 0:
        raise ValueError("must have a domain name as its host, and a port from 1 to 65535 if any")
    return link


# ASCII alone: letters that merely look alike cannot make a second name of the same appearance.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Title = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,298}[!-~])?$")]
Command = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,1000}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_printable)]
Person = Annotated[Text, AfterValidator(_unmistakable)]
Link = Annotated[str, StringConstraints(pattern=r"^https://[!-~]{1,300}$"), AfterValidator(_https)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]
Integer = Annotated[int, Field(ge=-(10**18), le=10**18)]
Number = Annotated[float, Field(ge=-1e18, le=1e18)]
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
