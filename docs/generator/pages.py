"""All generated pages and pictures, by their paths in the site."""

from __future__ import annotations

from docs.generator import cards, environments, fidelity, pictures, provenance, reference, reports, standings


def generated_pages() -> dict[str, str | bytes]:
    """Returns path to content: Markdown as text, everything else as bytes."""
    return {
        "pictures/episode.png": pictures.episode_picture(),
        **environments.environment_pages(),
        "tasks.md": cards.tasks_page(),
        "shipped-devices.md": cards.devices_page(),
        "results/fidelity.md": fidelity.fidelity_page(),
        "results/speed.md": reports.reports_page("Speed", SPEED_WORDS, reports.SPEED),
        "results/zoo.md": reports.reports_page("Results of the zoo", ZOO_WORDS, reports.ZOO),
        "results/papers.md": reports.reports_page("Papers beside measurements", PAPERS_WORDS, reports.PAPERS),
        "results/provenance.md": provenance.provenance_page(),
        **reports.stored_reports(),
        "leaderboard/index.md": standings.leaderboard_page(),
        **standings.leaderboard_site(),
        **reference.reference_pages(),
    }


SPEED_WORDS = (
    "How many steps a second an agent can be fed with. Measured alone on the machine that each table names; compare "
    "the rows of one table, not those of two."
)
ZOO_WORDS = (
    "Every learner and every search at equal numbers of evaluations, over ten seeds. "
    "An evaluation is every scored episode or asked strategy, duplicates included."
)
PAPERS_WORDS = "What papers report, beside what is measured here with the same method. Each table says what differs."
