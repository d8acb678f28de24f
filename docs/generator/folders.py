"""Pages of folders that have a README of their own: labs and examples."""

from __future__ import annotations

import re

from docs.generator.text import ROOT

FOLDERS = ("labs", "examples")
# A link to a file of the repository that is no page of the site.
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def folder_pages() -> dict[str, str | bytes]:
    """Returns each folder's README under the path that it has in the repository; links to other folders are names."""
    names = [f"{folder}/README.md" for folder in FOLDERS]
    return {name: OUTSIDE.sub(r"`\1`", (ROOT / name).read_text(encoding="utf-8")) for name in names}
