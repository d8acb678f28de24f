"""Records of live verification: what a maintainer's machine scored, beside the submission that it scored.

A page needs test accuracies where no data set is at hand. A record holds them, together with the checksum of the
submission, the conditions and the machine; it counts only while both are the same.
"""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from compress_gym.support.cards import write_atomically
from compress_gym.support.processor import processor_name
from leaderboard.fields import Fraction, Name, Text, complaints
from leaderboard.live import conditions
from leaderboard.replay import Replay, Replayed, live_differences
from leaderboard.schema import Refused, Strict, parse_json, read_bytes
from leaderboard.verdicts import Verdict


class ScoredResult(Strict):
    """Live accuracies of one strategy, fractions of 1."""

    task: Name
    seed: int
    choices: tuple[int, ...]
    validation_accuracy: Fraction
    test_accuracy: Fraction


class VerifiedRecord(Strict):
    """One live verification of one submission."""

    submission_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    conditions: dict[Name, dict[str, str | int]]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    processor: Text
    versions: dict[str, Text]
    results: tuple[ScoredResult, ...]


def record_path(records: Path, replayed: Replay) -> Path:
    """Returns where the record of a submission lies."""
    assert replayed.submission is not None
    return records / replayed.submission.track / f"{replayed.submission.name}.json"


def write_record(records: Path, replayed: Replay) -> Path:
    """Writes what was scored live.

    Raises:
        ValueError: The submission was not verified live.
    """
    if replayed.verdict is not Verdict.LIVE or replayed.track is None:
        raise ValueError(f"{replayed.path}: {replayed.verdict.value}; only what is verified live is recorded")
    record = VerifiedRecord(
        submission_sha256=replayed.sha256,
        conditions={task: conditions(task) for task in replayed.track.tasks},
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        processor=processor_name(),
        versions={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("compress_gym", "numpy", "torch")},
        },
        results=tuple(_scored(r) for r in replayed.results),
    )
    path = record_path(records, replayed)
    text = json.dumps(record.model_dump(mode="json"), indent=1) + "\n"
    write_atomically(path, lambda p: p.write_text(text))
    return path


def read_record(records: Path, replayed: Replay) -> VerifiedRecord | None:
    """Reads the record of a submission; `None` where there is none, or the submission has changed since.

    Raises:
        ValueError: The record is damaged.
    """
    path = record_path(records, replayed)
    if not path.exists():
        return None
    try:
        record = VerifiedRecord.model_validate_json(json.dumps(parse_json(read_bytes(path))))
    except ValidationError as error:
        raise ValueError(f"{path}: {'; '.join(complaints(error))}") from error
    except Refused as error:
        raise ValueError(f"{path}: {error}") from error
    return record if record.submission_sha256 == replayed.sha256 else None


def counts(record: VerifiedRecord, replayed: Replay) -> bool:
    """Says whether a record still counts.

    It does with the same weights and recovery, a score for every strategy, and scores that are those of the track's
    table and those that the submission states, where it has such.
    """
    if replayed.track is None or replayed.submission is None:
        return False
    if record.conditions != {task: conditions(task) for task in replayed.track.tasks}:
        return False
    scored = [(r.task, r.seed, r.choices) for r in record.results]
    if scored != [(r.stated.task, r.stated.seed, tuple(r.choices.tolist())) for r in replayed.results]:
        return False
    live = [
        replace(r, live=(s.validation_accuracy, s.test_accuracy))
        for r, s in zip(replayed.results, record.results, strict=True)
    ]
    return not live_differences(replayed.submission, live, replayed.track)


def _scored(r: Replayed) -> ScoredResult:
    assert r.live is not None
    return ScoredResult(
        task=r.stated.task,
        seed=r.stated.seed,
        choices=tuple(r.choices.tolist()),
        validation_accuracy=r.live[0],
        test_accuracy=r.live[1],
    )
