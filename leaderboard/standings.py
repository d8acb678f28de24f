"""Standings: every submission of a folder replayed, joined with its record, and ranked by test accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.statistics import bootstrap_interval
from leaderboard.records import VerifiedRecord, counts, read_record
from leaderboard.replay import Replay, replay
from leaderboard.schema import Submission
from leaderboard.tracks import Track
from leaderboard.verdicts import Verdict


@dataclass(frozen=True)
class Entry:
    """A listed submission.

    Attributes:
        replay: Its replay.
        record: Its live scores, where a maintainer's machine has recorded them.
        rank: By test accuracy, equals sharing one; `None` without live scores.
        regret: How far the validation accuracy of each strategy is below the known optimum, `[seeds, tasks]`; `None`
            where no optimum is known.
    """

    replay: Replay
    record: VerifiedRecord | None
    rank: int | None
    regret: NDArray[np.float64] | None

    @property
    def submission(self) -> Submission:
        """What was submitted."""
        assert self.replay.submission is not None
        return self.replay.submission

    @property
    def track(self) -> Track:
        """Its track."""
        assert self.replay.track is not None
        return self.replay.track

    @property
    def verdict(self) -> Verdict:
        """The verdict, the record counted in."""
        return Verdict.LIVE if self.record is not None else self.replay.verdict

    @cached_property
    def test(self) -> NDArray[np.float64] | None:
        """Test accuracies, `[seeds, tasks]`, fractions of 1."""
        return None if self.record is None else self._matrix([r.test_accuracy for r in self.record.results])

    @cached_property
    def validation(self) -> NDArray[np.float64] | None:
        """Validation accuracies, `[seeds, tasks]`: live where recorded, else by the track's table or surrogate."""
        if self.record is not None:
            return self._matrix([r.validation_accuracy for r in self.record.results])
        known = [r.validation for r in self.replay.results]
        return None if None in known else self._matrix([v for v in known if v is not None])

    @cached_property
    def cost_ratio(self) -> NDArray[np.float64]:
        """The bounded cost, a fraction of the uncompressed network's, `[seeds, tasks]`."""
        return self._matrix([r.cost_ratio for r in self.replay.results])

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % bootstrap interval over seeds of the mean test accuracy."""
        if self.test is None:
            return None
        return bootstrap_interval(self.test, statistic=lambda scores: float(scores.mean()))

    @property
    def validation_source(self) -> str:
        """Where the validation accuracies shown come from."""
        if self.record is not None:
            return "live"
        return ", ".join(sorted({self.track.problem(task).accuracy_model.source for task in self.track.tasks}))

    @property
    def trained_here(self) -> bool:
        """Whether its authors declare that it was trained on tasks of the track, beyond the allowance."""
        return bool(set(self.submission.trained_on) & set(self.track.tasks))

    @property
    def evaluations(self) -> int:
        """Most evaluations of a task and seed (declared)."""
        return max(r.evaluations for r in self.submission.results)

    @property
    def training_seconds(self) -> float:
        """Mean over tasks and seeds (declared)."""
        return float(np.mean([r.training_seconds for r in self.submission.results]))

    @property
    def evaluation_seconds(self) -> float:
        """Mean over tasks and seeds of the run that the evaluations are of, training within it included (declared)."""
        return float(np.mean([r.wall_seconds for r in self.submission.results]))

    def _matrix(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array(values, dtype=np.float64).reshape(len(self.track.tasks), self.track.seeds).T


@dataclass(frozen=True)
class Standings:
    """All submissions of a folder.

    Attributes:
        tracks: Track name to its listed entries, the ranked ones first.
        retired: Of earlier versions, with the records that say that they were verified at their time.
        refused: What is not listed, and why.
    """

    tracks: dict[str, tuple[Entry, ...]]
    retired: tuple[tuple[Replay, VerifiedRecord], ...]
    refused: tuple[Replay, ...]


def read_standings(
    submissions: Path,
    records: Path,
    tracks: Mapping[str, Track],
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Standings:
    """Replays `submissions/<track>/<name>.json` and ranks what is listed.

    Args:
        submissions: The folder.
        records: Folder of the records of live verification.
        tracks: Track name to track.
        watch: Hands on the files one by one, and shows how far it is.
    """
    listed: dict[str, list[tuple[Replay, VerifiedRecord | None]]] = {name: [] for name in tracks}
    retired: list[tuple[Replay, VerifiedRecord]] = []
    refused: list[Replay] = []
    for path in watch(sorted(submissions.glob("*/*.json"))):
        replayed = replay(path, tracks)
        record = read_record(records, replayed) if replayed.verdict is Verdict.RETIRED else None
        if record is not None:
            retired.append((replayed, record))
        elif replayed.verdict is Verdict.RETIRED:
            # Its own version cannot be replayed any more, and nobody has done so before.
            refused.append(replace(replayed, reasons=(*replayed.reasons, "and was never verified")))
        elif replayed.verdict.listed and replayed.track is not None:
            record = read_record(records, replayed)
            listed[replayed.track.name].append((replayed, record if record and counts(record, replayed) else None))
        else:
            refused.append(replayed)
    ranked = {name: _ranked(tracks[name], found) for name, found in listed.items()}
    return Standings(ranked, tuple(retired), tuple(refused))


def _ranked(track: Track, found: Sequence[tuple[Replay, VerifiedRecord | None]]) -> tuple[Entry, ...]:
    """Sorts by mean test accuracy, then what has none by name."""
    entries = [Entry(replayed, record, None, _regret(track, replayed)) for replayed, record in found]
    scores = {id(e): round(float(e.test.mean()), 9) for e in entries if e.test is not None}
    # Equal scores share a rank: one more than the number of better ones.
    ranks = {key: 1 + sum(other > score for other in scores.values()) for key, score in scores.items()}
    entries = [Entry(e.replay, e.record, ranks.get(id(e)), e.regret) for e in entries]
    return tuple(sorted(entries, key=lambda e: (e.rank is None, e.rank or 0, e.submission.name)))


def _regret(track: Track, replayed: Replay) -> NDArray[np.float64] | None:
    if any(track.problem(task).accuracy_model.source != "measured" for task in track.tasks):
        return None
    columns = []
    for task in track.tasks:
        problem = track.problem(task)
        best = float(problem.accuracy(problem.optimum())[0])
        columns.append(
            best - np.array([r.validation for r in replayed.results if r.stated.task == task], dtype=np.float64)
        )
    return np.array(columns).T
