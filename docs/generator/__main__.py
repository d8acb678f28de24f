"""`python -m docs.generator`: builds the documentation site; a warning is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from compress_gym.support.commands import run_command
from compress_gym.support.errors import missing_extra

ROOT = Path(__file__).parents[2]
# Module to the package that brings it.
NEEDED = {"mkdocs": "mkdocs", "material": "mkdocs-material", "mkdocstrings": "mkdocstrings", "matplotlib": "matplotlib"}


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "site", help="[default: site]")
def main(out: Path) -> None:
    """Builds the documentation site, which needs no network: open index.html."""
    for module, package in NEEDED.items():
        if find_spec(module) is None:
            raise missing_extra(package, "docs", "the documentation")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--site-dir", str(out.resolve())]
    # Material's banner is about MkDocs' future, not about these pages.
    if subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode:
        raise ValueError("the documentation was not built; what is wrong is said above")
    click.echo(f"written to {out}; open {out / 'index.html'}")


if __name__ == "__main__":
    run_command(main, "docs.generator")
