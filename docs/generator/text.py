"""Markdown that generated pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Writes a table; `None` is an empty cell."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def percent(fraction: float) -> str:
    """Writes a fraction of 1 as an accuracy in percent."""
    return f"{100 * fraction:.2f} %"


def below(text: str, levels: int = 1) -> str:
    """Lowers the headings of a Markdown text, so that it can stand under a heading of another page."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [re.sub(r"^(#+ )", "#" * levels + r"\1", part, flags=re.MULTILINE) for part in parts[::2]]
    return "".join(parts)


def with_fenced_doctests(text: str) -> str:
    """Puts the examples of a docstring (`>>> ...`) into code blocks; Markdown would read them as quotations."""
    example = re.compile(r"^>>> .*?(?=^\s*$|\Z)", flags=re.DOTALL | re.MULTILINE)
    return example.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


def _cell(cell: object) -> str:
    return "" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ")
