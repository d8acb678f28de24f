"""Every submission in the repository is replayed, and every record of live scores is bound to one and checked."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard.__main__ import RECORDS, SUBMISSIONS
from leaderboard.live import StoredScores
from leaderboard.records import counts, read_record
from leaderboard.replay import LIVE_TOLERANCE, replay
from leaderboard.standings import read_standings
from leaderboard.tracks import load_tracks
from leaderboard.verdicts import Verdict
from tests.helpers import needs_data

TRACKS = load_tracks()
FILES = sorted(SUBMISSIONS.glob("*/*.json"))
IDS = [f"{path.parent.name}-{path.stem}" for path in FILES]
HAND_MADE = ("uniform", "shallow-heavy", "deep-heavy")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_submission_is_verified(path):
    replayed = replay(path, TRACKS)
    assert replayed.verdict.listed or replayed.verdict is Verdict.RETIRED, replayed.reasons
    assert replayed.submission is not None and replayed.submission.track == path.parent.name
    record = read_record(RECORDS, replayed)
    if record is None:
        # A record without its submission, or of an earlier state of it, is one to renew.
        assert not (RECORDS / path.parent.name / path.name).exists()
    elif replayed.verdict.listed:
        assert counts(record, replayed)


def test_nothing_lies_where_it_is_not_looked_at():
    assert {path for path in SUBMISSIONS.rglob("*") if not path.is_dir()} == set(FILES)
    assert {path.parent.name for path in FILES} <= set(TRACKS)


def test_every_record_has_its_submission():
    recorded = {path.relative_to(RECORDS) for path in RECORDS.glob("*/*.json")}
    assert recorded <= {path.relative_to(SUBMISSIONS) for path in FILES}


def test_every_track_has_every_hand_made_baseline():
    for name in TRACKS:
        assert set(HAND_MADE) <= {path.stem for path in (SUBMISSIONS / name).glob("*.json")}


def test_records_of_the_digits_are_scored_again(tmp_path):
    """A quarter, for time (`leaderboard verify --live` does all); the data set is installed with scikit-learn."""
    scores, seen = StoredScores(tmp_path), 0
    for path in FILES[::4]:
        replayed = replay(path, TRACKS)
        record = read_record(RECORDS, replayed)
        if record is None or replayed.track is None or replayed.track.tasks != ("digits-cnn",):
            continue
        again = replay(path, TRACKS, scores)
        assert again.verdict is Verdict.LIVE, again.reasons
        stored = [(r.validation_accuracy, r.test_accuracy) for r in record.results]
        assert np.abs(np.array(stored) - np.array([r.live for r in again.results])).max() < LIVE_TOLERANCE
        seen += 1
    assert seen > 12


@pytest.mark.slow
def test_a_record_of_cifar10_is_scored_again(tmp_path):
    """One strategy: the best on validation images of all that are ranked; each takes seconds."""
    needs_data("cifar10-resnet20")
    entries = [e for found in read_standings(SUBMISSIONS, RECORDS, TRACKS).tracks.values() for e in found]
    recorded = [
        (r, e.track) for e in entries if e.record is not None for r in e.record.results if r.task == "cifar10-resnet20"
    ]
    best, track = max(recorded, key=lambda pair: pair[0].validation_accuracy)
    (found,) = StoredScores(tmp_path)(track, best.task, np.array([best.choices]))
    assert np.abs(found - [best.validation_accuracy, best.test_accuracy]).max() < LIVE_TOLERANCE
