"""The leaderboard: its own site as it is, and a page with the tables of that site."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.generator.text import table
from leaderboard.__main__ import RECORDS, SUBMISSIONS
from leaderboard.site import build_site
from leaderboard.tracks import Track, load_tracks

PAGE, SITE = "results/leaderboard.md", "results/leaderboard"


def leaderboard_pages() -> dict[str, str | bytes]:
    """Returns the page and the files of the leaderboard's own site, by their paths."""
    tracks = load_tracks()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "site"
        build_site(SUBMISSIONS, RECORDS, tracks, out)
        paths = [path for path in sorted(out.rglob("*.*")) if not path.name.startswith(".")]
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}
    standings = {name: json.loads(files[f"{name}.json"]) for name in tracks}
    return {PAGE: leaderboard_page(tracks, standings), **{f"{SITE}/{name}": data for name, data in files.items()}}


def leaderboard_page(tracks: Mapping[str, Track], standings: Mapping[str, list[dict[str, Any]]]) -> str:
    """Writes the tables of all tracks.

    Args:
        tracks: Track name to track.
        standings: Track name to its entries, as the leaderboard's site tells them to programs.
    """
    parts = [
        "# Leaderboard",
        "Every entry is a file of strategies that is replayed: costs and budget are computed again, and what is ranked "
        "was scored again on real images. Test accuracy is in percent, with the 95 % interval over seeds. "
        "[The leaderboard's own pages](leaderboard/index.html) have plots, strategies and every seed.",
    ]
    for name, entries in standings.items():
        track = tracks[name]
        words = (
            f"`{track.env}`, {', '.join(track.tasks)}, {track.budget:g} of `{track.cost}` on `{track.device}`, "
            f"{track.evaluations} evaluations, {track.seeds} seeds."
        )
        heads = ("rank", "entry", f"test {track.metric}", f"validation {track.metric}", "checked")
        parts += [f"## {track.title}", words, table(heads, (_row(name, entry) for entry in entries))]
    return "\n\n".join(parts) + "\n"


def _row(track: str, entry: Mapping[str, Any]) -> tuple[object, ...]:
    test, validation = None, entry["validation_accuracy"]
    if entry["test_accuracy"] is not None:
        test = f"{entry['test_accuracy']:.2f} [{entry['test_low']:.2f}, {entry['test_high']:.2f}]"
    # A name is letters, digits and dashes; what else a stranger wrote stays on the pages that escape it.
    link = f"[{entry['name']}](leaderboard/{track}/{entry['name']}.html)"
    return entry["rank"], link, test, None if validation is None else f"{validation:.2f}", entry["verdict"]
