"""A published table as columns with units, and the checks that the readers of the formats share."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.support.errors import AssetError, unknown_name

# Up to here a float64 holds every whole number, and sums over a network cannot overflow. The largest published number
# is 5e6, so one beyond this is damage.
LARGEST = 1e15

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_LONGEST_NUMBER = 40


@dataclass(frozen=True, eq=False)
class PublishedTable:
    """Rows of a published table, one NumPy array a column.

    Attributes:
        path: The file that was read.
        format: `haq`, `apq`, `proxylessnas`, `once-for-all` or `hat`.
        description: What the rows are, in a sentence or two.
        columns: Column name to a read-only array of int64, float64 or str; all of one length.
        units: Column name to its unit; "" for names.
    """

    path: Path
    format: str
    description: str
    columns: dict[str, NDArray[Any]]
    units: dict[str, str]

    def __post_init__(self) -> None:
        """Makes the columns read-only."""
        for array in self.columns.values():
            array.setflags(write=False)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> NDArray[Any]:
        """Returns a column by its name.

        Raises:
            KeyError: The table has no such column.
        """
        if name not in self.columns:
            raise unknown_name("name", name, self.columns)
        return self.columns[name]

    def row_of(self, argument: str, key: str) -> int:
        """Returns the row of a key, of a table that has a column of keys.

        Raises:
            KeyError: The table does not have it; it may have thousands, so only the closest is named.
        """
        if key not in self._index:
            close = difflib.get_close_matches(key, self._index, n=1)
            hint = f" The closest that it has is {close[0]!r}." if close else ""
            raise KeyError(f"{argument}={shown(key)} is not in {self.path}.{hint}")
        return self._index[key]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.columns["key"].tolist())}


def shown(text: object) -> str:
    """Returns a value as a message shows it: on one line and not longer than a line."""
    quoted = repr(text)
    return quoted if len(quoted) <= 100 else f"{quoted[:96]}...{quoted[-1]}"


def number(name: str, text: str) -> float:
    """Reads a decimal number.

    `float` also takes `nan`, `infinity`, `1_000` and the digits of other scripts, which no published table has.

    Raises:
        ValueError: The text is something else.
    """
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError(f"{name}={shown(text)} is not a decimal number")
    return float(text)


def in_range(name: str, value: float, *, zero: bool = False) -> float:
    """Returns a time, an energy or a count after checking it.

    Args:
        name: What it is, with its unit.
        value: The number.
        zero: Whether 0 is legal, as it is for a standard deviation.

    Raises:
        ValueError: It is not finite, not positive, or too large to be true.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name}={value!r} must be finite and {'not negative' if zero else 'positive'}")
    if value > LARGEST:
        raise ValueError(f"{name}={value!r} is above {LARGEST:g}, so the file must be damaged")
    return value


def whole(name: str, value: float, lowest: int = 1) -> int:
    """Returns a count as an int.

    Raises:
        ValueError: It is not a whole number, or below `lowest`.
    """
    if not math.isfinite(value) or value != int(value) or not lowest <= value <= LARGEST:
        raise ValueError(f"{name}={value!r} must be a whole number of {lowest} or more")
    return int(value)


def column_places(path: Path, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, NDArray[Any]]:
    """Turns rows into columns; the type of a column's first value is the column's.

    Raises:
        AssetError: There are no rows.
    """
    if not rows:
        raise AssetError(f"{path}: holds no rows")
    types = {int: np.int64, float: np.float64, str: np.str_}
    transposed = zip(*rows, strict=True)
    return {
        name: np.array(values, dtype=types[type(values[0])]) for name, values in zip(names, transposed, strict=True)
    }
