"""Records of runs that tests need."""

from __future__ import annotations

from benchmarks.search.records import RunRecord
from benchmarks.search.suites import DIGITS, EVALUATIONS


def record(method, seed, improved, allowance=EVALUATIONS, problem=DIGITS.name, **changes):
    fields = {
        "version": "v",
        "made_with": "",
        "evaluations": allowance,
        "processor_seconds": 1.5,
        "final_policy": None,
        "improved_at": tuple(improved),
        "best": tuple(improved.values()),
        **changes,
    }
    return RunRecord(problem, method, seed, allowance=allowance, **fields)
