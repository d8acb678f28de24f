"""What verifying can say, and the exit code that says it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Verdict(Enum):
    """One verdict; its value is the label people read. From the worst to the best."""

    MALFORMED = "malformed"
    INCOMPLETE = "incomplete"
    OVER_BUDGET = "over budget"
    OVER_ALLOWANCE = "over allowance"
    DIFFERS = "differs"
    RETIRED = "retired"
    COSTS_ONLY = "costs verified, accuracy by surrogate only"
    BY_TABLE = "verified by table"
    LIVE = "verified live"

    @property
    def exit_code(self) -> int:
        """The exit code of `verify`: 0 for the best, 10 and 11 for the other two that are listed; 2 is bad usage."""
        return _EXIT_CODES[self]

    @property
    def listed(self) -> bool:
        """Whether such an entry is in its track's table."""
        return self in (Verdict.COSTS_ONLY, Verdict.BY_TABLE, Verdict.LIVE)


_EXIT_CODES = {
    Verdict.LIVE: 0,
    Verdict.MALFORMED: 3,
    Verdict.INCOMPLETE: 4,
    Verdict.OVER_BUDGET: 5,
    Verdict.OVER_ALLOWANCE: 6,
    Verdict.DIFFERS: 7,
    Verdict.RETIRED: 8,
    Verdict.BY_TABLE: 10,
    Verdict.COSTS_ONLY: 11,
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Returns the worst of several."""
    order = list(Verdict)
    return min(verdicts, key=order.index)
