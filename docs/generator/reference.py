"""The API reference: a page for each part of the package, written by mkdocstrings from the docstrings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import compress_gym


def reference_pages() -> dict[str, str | bytes]:
    """Returns the pages of the public names and of every module or package of `compress_gym`."""
    pages: dict[str, str | bytes] = {"reference/compress_gym.md": _public_page()}
    for part in iter_modules(compress_gym.__path__, "compress_gym."):
        sections = [_documented(part.name, 1), *(_documented(name, 2) for name in _modules_of(part.name))]
        path = f"reference/{part.name.removeprefix('compress_gym.')}.md"
        pages[path] = f"---\ntitle: {part.name}\n---\n\n" + "\n\n".join(sections) + "\n"
    return pages


def _documented(module: str, level: int) -> str:
    """Returns what mkdocstrings turns into the documentation of a module."""
    return f"::: {module}\n    options:\n      show_root_heading: true\n      heading_level: {level}"


def _public_page() -> str:
    sections = "\n\n".join(
        f"## {name}\n\n{_explained(getattr(compress_gym, name), name)}" for name in compress_gym.__all__
    )
    return (
        f"# compress_gym\n\nThe public names. The other pages have everything else, module by module.\n\n{sections}\n"
    )


def _explained(value: object, name: str) -> str:
    """Returns where a public name is explained; it is documented where it is defined."""
    path = value.__name__ if isinstance(value, ModuleType) else f"{value.__module__}.{name}"
    return f"[`{path}`][{path}]"


def _modules_of(package: str) -> Iterator[str]:
    """Yields the names of the modules inside a package, none of a module; nothing is imported."""
    folder = Path(compress_gym.__path__[0]).parent.joinpath(*package.split("."))
    for module in iter_modules([str(folder)], f"{package}."):
        yield module.name
        yield from _modules_of(module.name)
