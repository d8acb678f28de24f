"""Replays a submission: completeness, costs, budget, allowance and accuracies are computed again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem import Problem
from leaderboard.fields import shown
from leaderboard.schema import Refused, Result, Submission, read_submission
from leaderboard.tracks import Track
from leaderboard.verdicts import Verdict

# Accuracies scored live may differ by less than this between machines (0.1 point); tables and costs do not differ.
LIVE_TOLERANCE = 0.001
EXACT = 1e-6
_REASONS = 5

# From a track, a task and strategies [N, T] to their live accuracies on validation and test images, float64 [N, 2].
LiveScores: TypeAlias = Callable[[Track, str, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Replayed:
    """One strategy, computed again.

    Attributes:
        stated: What its submitter states.
        choices: The strategy, int64 `[T]`.
        cost: The bounded cost, in its unit.
        cost_ratio: As a fraction of the uncompressed network's.
        validation: From the track's table or surrogate, fraction of 1; `None` where it has neither.
        live: Validation and test accuracy, if they were scored.
    """

    stated: Result
    choices: NDArray[np.int64]
    cost: float
    cost_ratio: float
    validation: float | None
    live: tuple[float, float] | None = None


@dataclass(frozen=True)
class Replay:
    """What became of a file.

    Attributes:
        path: The file.
        verdict: The verdict.
        reasons: Why, a sentence each; all of harmless characters.
        submission: `None` where it is malformed beyond reading.
        data: The file, as it was read.
        track: Its track, if that exists.
        results: By task (in the track's order) and seed; empty for malformed and retired submissions.
    """

    path: Path
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    submission: Submission | None = None
    data: bytes = b""
    track: Track | None = None
    results: tuple[Replayed, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file, as it was read."""
        return hashlib.sha256(self.data).hexdigest()


class _Stop(Exception):
    """Ends a replay with a verdict."""

    def __init__(self, verdict: Verdict, reasons: Sequence[str]) -> None:
        super().__init__(verdict.value)
        more = len(reasons) - _REASONS
        self.verdict = verdict
        self.reasons = (*reasons[:_REASONS], *([f"and {more} more"] if more > 0 else []))


def replay(path: Path, tracks: Mapping[str, Track], live: LiveScores | None = None) -> Replay:
    """Replays a stranger's file; whatever it holds, the answer is a verdict.

    Args:
        path: The file, `<track>/<name>.json` in some folder: an entry can then be taken for no other one.
        tracks: Track name to track.
        live: Scores strategies live, on validation and test images; `None` leaves that out.
    """
    try:
        submission, data = read_submission(path)
    except Refused as error:
        return Replay(path, Verdict.MALFORMED, (str(error),))
    track = tracks.get(submission.track)
    results: tuple[Replayed, ...] = ()
    try:
        if track is None:
            raise _Stop(Verdict.MALFORMED, [f"track {submission.track!r} is not known; known: {', '.join(tracks)}"])
        if submission.track != path.absolute().parent.name:
            reason = f"lies in a folder of another name than its track, {submission.track!r}"
            raise _Stop(Verdict.MALFORMED, [reason])
        _check_versions(submission, track)
        _check_complete(submission, track)
        results = _replay_costs(submission, track)
        _check_budget(results, track)
        _check_allowance(submission, track)
        _check_stated(submission, results, track)
        if live is None:
            return Replay(path, _without_live(track), _unchecked(submission, track), submission, data, track, results)
        results = _scored(results, track, live)
        differences = live_differences(submission, results, track)
        if differences:
            raise _Stop(Verdict.DIFFERS, differences)
    except _Stop as stop:
        return Replay(path, stop.verdict, stop.reasons, submission, data, track, results)
    return Replay(path, Verdict.LIVE, (), submission, data, track, results)


def _check_versions(submission: Submission, track: Track) -> None:
    """What was found under another version of environment, task or device is not mixed in."""
    if submission.env.rpartition("-v")[0] != track.env_name:
        raise _Stop(Verdict.MALFORMED, [f"env is {submission.env!r}, the track's is {track.env!r}"])
    if _version(submission.env) > _version(track.env):
        raise _Stop(Verdict.MALFORMED, [f"env is {submission.env!r}, which is later than the track's {track.env!r}"])
    if submission.env != track.env:
        raise _Stop(Verdict.RETIRED, [f"made for {submission.env}; the track is {track.env} now"])
    foreign = sorted(set(submission.origins) - set(track.tasks))
    absent = [task for task in track.tasks if task not in submission.origins]
    if foreign:
        raise _Stop(Verdict.MALFORMED, [f"origins has {task!r}, which is no task of the track" for task in foreign])
    if absent:
        raise _Stop(Verdict.INCOMPLETE, [f"origins lacks task {task!r}" for task in absent])
    retired, wrong = [], []
    for task in track.tasks:
        stated, now = submission.origins[task], track.problem(task).origin
        if stated.device != now["device"]:
            wrong.append(f"{task}: device is {stated.device!r}, the track's is {now['device']!r}")
        if stated.task_version > now["task_version"]:
            wrong.append(f"{task}: task_version is {stated.task_version}, which is later than {now['task_version']}")
        elif stated.task_version != now["task_version"]:
            retired.append(f"{task}: made for version {stated.task_version}, which is {now['task_version']} now")
        elif stated.device == now["device"] and stated.device_hash != now.get("device_hash"):
            retired.append(f"{task}: made with another table of device {stated.device!r}")
    if wrong:
        raise _Stop(Verdict.MALFORMED, wrong)
    if retired:
        raise _Stop(Verdict.RETIRED, retired)


def _version(env: str) -> int:
    return int(env.rpartition("-v")[2])


def _check_complete(submission: Submission, track: Track) -> None:
    """All tasks and seeds, each once, or none."""
    wrong, missing = seed_complaints(submission, track)
    if wrong:
        raise _Stop(Verdict.MALFORMED, wrong)
    if missing:
        raise _Stop(Verdict.INCOMPLETE, missing)


def seed_complaints(submission: Submission, track: Track) -> tuple[list[str], list[str]]:
    """Returns which tasks and seeds are foreign to the track or doubled, and which are missing, a sentence each."""
    given = Counter((result.task, result.seed) for result in submission.results)
    wanted = [(task, seed) for task in track.tasks for seed in range(track.seeds)]
    foreign = sorted(set(given) - set(wanted))
    doubled = sorted(pair for pair, times in given.items() if times > 1)
    wrong = [f"task {task!r} seed {seed} is not part of the track" for task, seed in foreign]
    wrong += [f"task {task!r} seed {seed} is given twice" for task, seed in doubled]
    return wrong, [f"task {task!r} seed {seed} is missing" for task, seed in wanted if (task, seed) not in given]


def _replay_costs(submission: Submission, track: Track) -> tuple[Replayed, ...]:
    by_task: dict[str, list[Result]] = {task: [] for task in track.tasks}
    for result in sorted(submission.results, key=lambda r: r.seed):
        by_task[result.task].append(result)
    replayed: list[Replayed] = []
    for task, results in by_task.items():
        problem = track.problem(task)
        rows = np.array([_choices(problem, result) for result in results])
        costs = problem.costs(rows)[problem.cost]
        # A surrogate or table takes microseconds; scoring live is asked for with `live`.
        known = problem.accuracy_model.source != "live"
        accuracies = problem.accuracy(rows).tolist() if known else [None] * len(rows)
        for result, row, cost, accuracy in zip(results, rows, costs.tolist(), accuracies, strict=True):
            ratio = cost / problem.baseline_costs[problem.cost]
            replayed.append(Replayed(result, row, cost, ratio, accuracy))
    return tuple(replayed)


def _choices(problem: Problem, result: Result) -> NDArray[np.int64]:
    try:
        return problem.decisions.check_one(problem.decisions.encode(result.strategy))
    except ValueError as error:
        reason = f"{result.task} seed {result.seed}: {shown(str(error))[1:-1]}"
        raise _Stop(Verdict.MALFORMED, [reason]) from error


def _check_budget(results: Sequence[Replayed], track: Track) -> None:
    reasons = [
        f"{_where(r)}: costs {r.cost_ratio:.6f} of the uncompressed {track.cost}; the budget is {track.budget}"
        for r in results
        if r.cost > track.problem(r.stated.task).cost_limit
    ]
    if reasons:
        raise _Stop(Verdict.OVER_BUDGET, reasons)


def _check_allowance(submission: Submission, track: Track) -> None:
    reasons = [
        f"{r.task} seed {r.seed}: {r.evaluations} evaluations were used; the allowance is {track.evaluations}"
        for r in submission.results
        if r.evaluations > track.evaluations
    ]
    if track.zero_shot:
        seen = sorted(set(submission.trained_on) & set(track.tasks))
        reasons += [f"trained on {task!r}, which this track holds out" for task in seen]
    if reasons:
        raise _Stop(Verdict.OVER_ALLOWANCE, reasons)


def _check_stated(submission: Submission, results: Sequence[Replayed], track: Track) -> None:
    """Compares what can be compared without scoring: costs, and accuracies of the track's table or surrogate."""
    reasons = []
    for r in results:
        if abs(r.stated.cost - r.cost) > EXACT * r.cost:
            reasons.append(f"{_where(r)}: {track.cost} is stated as {r.stated.cost!r} and replayed as {r.cost!r}")
    for task in track.tasks:
        stated, source = submission.origins[task].accuracy_source, track.problem(task).accuracy_model.source
        if stated not in (source, "live"):
            reasons.append(f"{task}: accuracy_source is {stated!r}; the task has {source!r}")
    for r in results:
        if r.validation is None:
            continue
        stated_live = submission.origins[r.stated.task].accuracy_source == "live"
        if stated_live and track.problem(r.stated.task).accuracy_model.source == "measured":
            # The table was scored live, too, perhaps on another machine.
            differs = _apart(r.stated.validation_accuracy, r.validation)
        else:
            differs = not stated_live and abs(r.stated.validation_accuracy - r.validation) > EXACT
        if differs:
            reasons.append(_accuracy_differs(r, "validation", r.stated.validation_accuracy, r.validation))
            reasons += _changed_assets(submission, track, r.stated.task)
    if submission.deterministic:
        for task in track.tasks:
            if len({tuple(r.choices.tolist()) for r in results if r.stated.task == task}) > 1:
                reasons.append(f"{task}: stated to be deterministic, but seeds have different strategies")
    if reasons:
        raise _Stop(Verdict.DIFFERS, list(dict.fromkeys(reasons)))


def _changed_assets(submission: Submission, track: Track, task: str) -> list[str]:
    now = track.problem(task).origin["asset_hash"]
    if submission.origins[task].asset_hash == now:
        return []
    return [f"{task}: its assets have changed since ({submission.origins[task].asset_hash}, now {now})"]


def _scored(results: Sequence[Replayed], track: Track, live: LiveScores) -> tuple[Replayed, ...]:
    scored: list[Replayed] = []
    for task in track.tasks:
        own = [r for r in results if r.stated.task == task]
        accuracies = live(track, task, np.array([r.choices for r in own]))
        for r, (validation, test) in zip(own, accuracies.tolist(), strict=True):
            scored.append(replace(r, live=(validation, test)))
    return tuple(scored)


def _unchecked(submission: Submission, track: Track) -> tuple[str, ...]:
    """Names the stated numbers that nothing but scoring live can check."""
    reasons = []
    if any(r.test_accuracy is not None for r in submission.results):
        reasons.append("states test accuracies, which are checked with --live alone")
    for task in track.tasks:
        source = track.problem(task).accuracy_model.source
        if submission.origins[task].accuracy_source == "live" and source != "measured":
            reasons.append(f"{task}: live validation accuracies are checked with --live alone")
    return tuple(reasons)


def live_differences(submission: Submission, results: Sequence[Replayed], track: Track) -> list[str]:
    """Compares live scores with what is stated: test accuracies, and validation accuracies from live or from a table.

    Args:
        submission: What is stated.
        results: Its strategies, scored live.
        track: Its track.

    Returns:
        A sentence for each number that is another one.
    """
    reasons = []
    for r in results:
        assert r.live is not None
        stated = {"test": r.stated.test_accuracy}
        # A surrogate's prediction is no score, and may well be another number.
        measured = track.problem(r.stated.task).accuracy_model.source == "measured"
        if measured or submission.origins[r.stated.task].accuracy_source == "live":
            stated["validation"] = r.stated.validation_accuracy
        for split, found in zip(("validation", "test"), r.live, strict=True):
            said = stated.get(split)
            if said is not None and _apart(said, found):
                reasons.append(_accuracy_differs(r, split, said, found))
    return reasons


def _apart(stated: float, found: float) -> bool:
    """Says whether two live scores differ by more than machines do."""
    # Rounded, since 0.7015 - 0.7005 is a little more than 0.001.
    return round(abs(stated - found), 9) >= LIVE_TOLERANCE


def _accuracy_differs(r: Replayed, split: str, stated: float, found: float) -> str:
    return f"{_where(r)}: {split} accuracy is stated as {stated!r} and replayed as {found!r}"


def _without_live(track: Track) -> Verdict:
    sources = {track.problem(task).accuracy_model.source for task in track.tasks}
    return Verdict.BY_TABLE if sources == {"measured"} else Verdict.COSTS_ONLY


def _where(r: Replayed) -> str:
    return f"{r.stated.task} seed {r.stated.seed}"
