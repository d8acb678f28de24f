"""What is kept of a run: when its best accuracy improved. One line of CSV a run, small enough to be committed."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.errors import AssetError

COLUMNS = (
    "problem",
    "method",
    "seed",
    "version",
    "made_with",
    "allowance",
    "evaluations",
    "processor_seconds",
    "final_policy",
    "improved_at",
    "best",
)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        problem: Name of the benchmark problem.
        method: Name of the learner or search.
        seed: Its seed.
        version: Of everything that it depends on, see `benchmarks.search.versions`.
        made_with: The version that made it, where `benchmarks.search.confirm` found that another gives the same; else
            "".
        allowance: Evaluations that it might make.
        evaluations: Evaluations that it made; fewer where the method ended by itself.
        processor_seconds: Its processor time.
        final_policy: Accuracy of a learner's deterministic policy after training, fraction of 1.
        improved_at: Numbers of the evaluations, from 1, that were the best within the budget so far.
        best: Their accuracies, fractions of 1.
    """

    problem: str
    method: str
    seed: int
    version: str
    made_with: str
    allowance: int
    evaluations: int
    processor_seconds: float
    final_policy: float | None
    improved_at: tuple[int, ...]
    best: tuple[float, ...]

    def best_at(self, evaluations: int) -> float | None:
        """Returns the best accuracy within the budget after so many evaluations.

        Returns:
            `None` where nothing within the budget was scored by then, or the run was not allowed so many.
        """
        if evaluations > self.allowance and self.evaluations == self.allowance:
            return None
        place = bisect_right(self.improved_at, evaluations)
        return self.best[place - 1] if place else None


def read_run(folder: Path) -> RunRecord:
    """Reads a finished run folder.

    Raises:
        AssetError: A file is missing or damaged.
    """
    mark = read_json(folder / "job.json")
    final = folder / "final_policy.json"
    path = folder / "evaluations.csv"
    improved_at, best = list[int](), list[float]()
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                accuracy = round(float(row["accuracy"]), 6)
                if row["feasible"] == "1" and (not best or accuracy > best[-1]):
                    improved_at.append(int(row["evaluation"]))
                    best.append(accuracy)
        return RunRecord(
            mark["problem"],
            mark["method"],
            mark["seed"],
            mark["version"],
            mark.get("made_with", {}).get("version", ""),
            mark["allowance"],
            mark["evaluations"],
            mark["processor_seconds"],
            round(read_json(final)["accuracy"], 6) if final.exists() else None,
            tuple(improved_at),
            tuple(best),
        )
    except (OSError, KeyError, ValueError) as error:
        raise AssetError(
            f"{folder}: the run folder is damaged ({error!r}); remove it and run its suite again"
        ) from error


def write_records(path: Path, records: Iterable[RunRecord]) -> None:
    """Writes runs as CSV, sorted; numbers within a cell are separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in sorted(records, key=lambda r: (r.problem, r.method, r.seed)):
        cells = {name: getattr(record, name) for name in COLUMNS}
        cells["final_policy"] = "" if record.final_policy is None else record.final_policy
        cells["improved_at"] = " ".join(map(str, record.improved_at))
        cells["best"] = " ".join(map(str, record.best))
        writer.writerow(cells.values())
    write_atomically(path, lambda p: p.write_text(text.getvalue()))


def read_records(path: Path) -> list[RunRecord]:
    """Reads what `write_records` wrote.

    Raises:
        AssetError: The file is missing, or a line of it is damaged; the message names it.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise AssetError(f"{path}: the file is missing; run the suite first") from error
    return [_record(path, number, row) for number, row in enumerate(rows, start=2)]


def _record(path: Path, line: int, row: dict[str, str]) -> RunRecord:
    try:
        improved_at = tuple(map(int, row["improved_at"].split()))
        best = tuple(map(float, row["best"].split()))
        if len(improved_at) != len(best):
            raise ValueError(f"{len(improved_at)} evaluations and {len(best)} accuracies")
        return RunRecord(
            row["problem"],
            row["method"],
            int(row["seed"]),
            row["version"],
            row["made_with"],
            int(row["allowance"]),
            int(row["evaluations"]),
            float(row["processor_seconds"]),
            float(row["final_policy"]) if row["final_policy"] else None,
            improved_at,
            best,
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise AssetError(f"{path}: line {line} is not that of a run ({error!r})") from error
