"""All generated pages and pictures, by their paths in the site."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from rich.progress import track

from docs.generator import cards, environments, fidelity, folders, pictures, provenance, reference, reports, standings

SPEED_WORDS = (
    "How many steps a second an agent can be fed with. Measured alone on the machine that each table names; compare "
    "the rows of one table, not those of two."
)
ZOO_WORDS = (
    "Every learner and every search at equal numbers of evaluations, over ten seeds. "
    "An evaluation is every scored episode or asked strategy, duplicates included. What was submitted stands on the "
    "[leaderboard](leaderboard.md)."
)
PAPERS_WORDS = "What papers report, beside what is measured here with the same method. Each table says what differs."

ONE_PAGE: dict[str, Callable[[], str | bytes]] = {
    "pictures/episode.png": pictures.episode_picture,
    "tasks.md": cards.tasks_page,
    "shipped-devices.md": cards.devices_page,
    "results/fidelity.md": fidelity.fidelity_page,
    "results/speed.md": lambda: reports.reports_page("Speed", SPEED_WORDS, reports.SPEED),
    "results/zoo.md": lambda: reports.reports_page("Results of the zoo", ZOO_WORDS, reports.ZOO),
    "results/papers.md": lambda: reports.reports_page("Papers beside measurements", PAPERS_WORDS, reports.PAPERS),
    "results/provenance.md": provenance.provenance_page,
}
MANY_PAGES: tuple[Callable[[], dict[str, str | bytes]], ...] = (
    environments.environment_pages,
    folders.folder_pages,
    reports.stored_reports,
    standings.leaderboard_pages,
    reference.reference_pages,
)


@cache
def generated_pages() -> dict[str, str | bytes]:
    """Returns path to content: Markdown as text, everything else as bytes."""
    makers = [*ONE_PAGE.items(), *(("", make) for make in MANY_PAGES)]
    pages: dict[str, str | bytes] = {}
    for path, make in track(makers, description="generating pages"):
        made = make()
        pages |= made if isinstance(made, dict) else {path: made}
    return pages
