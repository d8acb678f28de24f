"""The leaderboard: its tables as a page, and its own site as it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from docs.generator.text import table
from leaderboard.__main__ import RECORDS, SUBMISSIONS
from leaderboard.site import build_site
from leaderboard.standings import Entry, read_standings
from leaderboard.tracks import load_tracks

SITE = "results/leaderboard"


def leaderboard_page() -> str:
    """Writes the tables of all tracks."""
    tracks = load_tracks()
    standings = read_standings(SUBMISSIONS, RECORDS, tracks)
    parts = [
        "# Leaderboard",
        "Every entry is a file of strategies that is replayed: costs and budget are computed again, and what is ranked "
        "was scored again on real images. Test accuracy is in percent, with the 95 % interval over seeds. "
        "[The leaderboard's own pages](leaderboard/index.html) have plots, strategies and every seed.",
    ]
    for name, entries in standings.tracks.items():
        track = tracks[name]
        words = (
            f"`{track.env}`, {', '.join(track.tasks)}, {track.budget:g} of `{track.cost}` on `{track.device}`, "
            f"{track.evaluations} evaluations, {track.seeds} seeds."
        )
        heads = ("rank", "entry", f"test {track.metric}", f"validation {track.metric}", "checked")
        parts += [f"## {track.title}", words, table(heads, (_row(entry) for entry in entries))]
    return "\n\n".join(parts) + "\n"


def leaderboard_site() -> dict[str, str | bytes]:
    """Builds the leaderboard's own site and returns its files."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "site"
        build_site(SUBMISSIONS, RECORDS, load_tracks(), out)
        files = (path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {f"{SITE}/{path.relative_to(out).as_posix()}": path.read_bytes() for path in files}


def _row(entry: Entry) -> tuple[object, ...]:
    test = None
    if entry.test is not None and entry.interval is not None:
        low, high = entry.interval
        test = f"{100 * entry.test.mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    validation = None if entry.validation is None else f"{100 * entry.validation.mean():.2f}"
    name = entry.submission.name
    # A name is letters, digits and dashes; what else a stranger wrote stays on the pages that escape it.
    link = f"[{name}](leaderboard/{entry.track.name}/{name}.html)"
    return entry.rank, link, test, validation, entry.verdict.value
