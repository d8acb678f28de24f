"""Labels of decisions in files of scores: choices are stored as indices, which mean nothing without them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.support.errors import AssetError


def stored_labels(decisions: DecisionSpace) -> dict[str, NDArray[np.str_]]:
    """Returns what is written beside the names of decisions: `labels` `[T, most values]`, "" where there is none.

    Nothing where all values are numbers, so that files without labels stay as they are.
    """
    if not any(d.has_labels for d in decisions.decisions):
        return {}
    rows = [list(d.values) if d.has_labels else [] for d in decisions.decisions]
    most = int(decisions.sizes.max())
    return {"labels": np.array([[*map(str, row), *[""] * (most - len(row))] for row in rows])}


def check_stored(path: Path, file: Mapping[str, NDArray], decisions: DecisionSpace, made: str) -> None:
    """Checks that a file was made for these decisions: their names and numbers of values, and their labels.

    Raises:
        AssetError: It was made for others.
    """
    names = tuple(file["decisions"].tolist())
    if names != decisions.names or not np.array_equal(file["sizes"], decisions.sizes):
        raise AssetError(f"{path}: {made} for decisions {list(names)}, not for {list(decisions.names)}")
    check_stored_labels(path, file, decisions)


def check_stored_labels(path: Path, file: Mapping[str, NDArray], decisions: DecisionSpace) -> None:
    """Checks that a file was written for the labels of these decisions.

    Raises:
        AssetError: It has others; the message names the first decision whose labels differ.
    """
    stored = file["labels"].tolist() if "labels" in file else []
    for t, decision in enumerate(decisions.decisions):
        found = [label for label in (stored[t] if t < len(stored) else []) if label]
        wanted = list(decision.values) if decision.has_labels else []
        if found != wanted:
            raise AssetError(f"{path}: stored for labels {found} of {decision.name!r}, not for {wanted}")
