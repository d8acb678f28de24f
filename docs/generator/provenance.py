"""How everything was trained and measured: every card's command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress_gym.devices.device import TABLES
from compress_gym.support.cards import read_json
from compress_gym.tasks import ASSETS
from docs.generator.text import RESULTS, ROOT, table

GROUPS = {
    "Weights and accuracies": ASSETS,
    "Latency tables": TABLES,
    "Results": RESULTS,
}

# Cards keep the command that made their file; these parts of commands are called otherwise now.
RENAMED = {
    "python -m compress_gym.translation.train ": "compress-gym train ",
    "python -m compress_gym.translation.collect ": "compress-gym collect ",
    "python -m compress_gym.translation.profile ": "compress-gym profile ",
    "python -m compress_gym.train ": "compress-gym train ",
    " --translated ": " --costly ",
    "python -m benchmarks.fidelity.translation ": "python -m benchmarks.fidelity --env TransformerNAS --no-fit ",
}


def present_command(command: str) -> str:
    """Returns a card's command as it is called now."""
    for old, new in RENAMED.items():
        command = command.replace(old, new)
    return command


def made(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields every file below a folder that names a command, with what it says of how it was made."""
    for path in sorted(folder.rglob("*.json")):
        facts = read_json(path)
        facts = facts.get("provenance", facts)
        if isinstance(facts, dict) and "command" in facts:
            yield path, facts


def every_command(contributing: Path = ROOT / "CONTRIBUTING.md") -> str:
    """Returns the table of what is made by which command, as contributors read it.

    Raises:
        ValueError: It is not there.
    """
    found = re.search(
        r"^\| file \| command \|.*?(?=^\s*$|\Z)", contributing.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise ValueError(f"{contributing} has no table of files and commands")
    return found[0].rstrip()


def provenance_page() -> str:
    """Writes the page."""
    parts = [
        "# How it was trained and measured",
        "Each shipped file has a card beside it, a JSON file with its checksum, the command that makes it again, the "
        "machine, the versions and its error. These are all of them, as the cards tell it. Trained agents "
        "lie in `agents/trained`, with their settings in a `config.yml` beside each.",
        "Some commands had other names when they were run:",
        table(("on a card", "now"), ((f"`{old.strip()}`", f"`{new.strip()}`") for old, new in RENAMED.items())),
        "## Every command",
        every_command(),
    ]
    for title, folder in GROUPS.items():
        parts += [f"## {title}", table(("file", "command", "when", "where"), (_row(*card) for card in made(folder)))]
    return "\n\n".join(parts) + "\n"


def _row(path: Path, facts: dict[str, Any]) -> tuple[object, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    name = path.relative_to(ROOT).as_posix()
    return f"`{name}`", f"`{facts['command']}`", facts["date"], f"{facts['hardware']}; {versions}"
