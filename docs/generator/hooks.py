"""What MkDocs calls while it builds: the generated pages join the hand-written ones."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# MkDocs reads this file by its path and knows nothing of the repository around it.
sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.generator.pages import generated_pages  # noqa: E402

LINK = re.compile(r"\]\(([^)#:]+\.md)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and lists them where the navigation names their folder (`environments/`)."""
    for path, content in generated_pages().items():
        files.append(File.generated(config, path, content=content))
    config.nav = [_listed(entry, files) for entry in config.nav or []]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links that leave `docs/` for a file of the repository to the page that this file becomes in the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        if target.startswith("docs/") or files.get_file_from_path(target) is None:
            return link[0]
        return f"]({posixpath.relpath(target, folder or '.')}"

    return LINK.sub(inside, markdown) if page.file.generated_by is None else markdown


def _listed(entry: object, files: Files) -> object:
    if isinstance(entry, dict):
        return {title: _listed(value, files) for title, value in entry.items()}
    if isinstance(entry, list):
        return [_listed(value, files) for value in entry]
    if isinstance(entry, str) and entry.endswith("/"):
        return [file.src_uri for file in files.documentation_pages() if file.src_uri.startswith(entry)]
    return entry
