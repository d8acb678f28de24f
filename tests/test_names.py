"""No two public things of one name: a name says which thing is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("compress_gym", "agents", "benchmarks", "leaderboard", "docs")
# Endings of constants that list the things of a sort.
LISTS = ("KINDS", "SPLITS", "TASKS")


def places(source: str) -> list[tuple[str, bool]]:
    """Names that a module defines at its top level, and whether each is a class."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.append((node.name, True))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [(target.id, False) for target in targets if isinstance(target, ast.Name)]
    return [(name, is_class) for name, is_class in found if not name.startswith("_")]


def doubled(packages: tuple[str, ...], of_classes: bool) -> dict[str, list[str]]:
    """What several modules define, classes or else constants that end in one of `LISTS`: name to files."""
    files = defaultdict(list)
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name, is_class in places(path.read_text()):
                if is_class == of_classes and (of_classes or (name.isupper() and name.endswith(LISTS))):
                    files[name].append(str(path.relative_to(ROOT)))
    return {name: where for name, where in files.items() if len(where) > 1}


def test_no_two_public_classes_have_one_name():
    assert doubled(PACKAGES, of_classes=True) == {}


def test_no_two_lists_of_kinds_splits_or_tasks_have_one_name():
    assert doubled(("compress_gym",), of_classes=False) == {}
