"""The site: one page of tables and plots, a page for each entry, an archive; no network, the same bytes every time."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from agents.plots import front
from compress_gym.kinds import get_case
from compress_gym.support.cards import write_atomically
from leaderboard.fields import shown
from leaderboard.plots import Point, front_plot, strategy_plot
from leaderboard.records import VerifiedRecord
from leaderboard.replay import Replay
from leaderboard.schema import json_schema
from leaderboard.standings import Entry, Standings, read_standings
from leaderboard.tracks import FOLDER, TRACKS, Track

TEMPLATES = FOLDER / "templates"
# Lists the files of a site; no track can be called like it.
MANIFEST = ".leaderboard.json"
# Of the CSV files, also of those without an entry.
COLUMNS = (
    *("rank", "name", "method", "test_accuracy", "test_low", "test_high", "validation_accuracy", "validation_source"),
    *("regret_points", "cost_ratio", "evaluations", "training_seconds", "evaluation_run_seconds", "deterministic"),
    *("trained_on_track", "verdict"),
)


def build_site(
    submissions: Path,
    records: Path,
    tracks: Mapping[str, Track],
    out: Path,
    tracks_file: Path = TRACKS,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> int:
    """Writes the site.

    Args:
        submissions: Folder of `<track>/<name>.json`.
        records: Folder of the records of live verification.
        tracks: Track name to track.
        out: Where the site goes; a site that is there already is renewed.
        tracks_file: Where the tracks were read from, for the commands that replay entries.
        watch: Hands on the submissions one by one, and shows how far it is.

    Returns:
        How many pages it has.

    Raises:
        ValueError: `out` holds files that are no site of this command.
    """
    standings = read_standings(submissions, records, tracks, watch)
    files: dict[str, str | bytes] = {
        "index.html": _index(standings, tracks),
        "archive.html": _render("archive.html", "", retired=[_retired(r, record) for r, record in standings.retired]),
        "submission.schema.json": json_schema(),
    }
    for name, entries in standings.tracks.items():
        files[f"{name}.csv"] = _csv(COLUMNS, [_row(e) for e in entries])
        files[f"{name}.json"] = json.dumps([_details(e) for e in entries], indent=1) + "\n"
        for entry in entries:
            command = replay_command(entry.replay.path, tracks_file)
            files[f"{name}/{entry.submission.name}.html"] = _entry_page(entry, command)
            files[f"{name}/{entry.submission.name}.json"] = entry.replay.data
    for replayed, _ in standings.retired:
        files[_archived(replayed)] = replayed.data
    _write(files, out)
    return sum(path.endswith(".html") for path in files)


def _write(files: Mapping[str, str | bytes], out: Path) -> None:
    manifest = out / MANIFEST
    if not manifest.exists() and out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out} holds files that are no leaderboard; choose another folder or empty it")
    before = json.loads(manifest.read_text()) if manifest.exists() else []
    for name in sorted(set(before) - set(files)):
        path = out / name
        if path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)
    # The list first: a build that was killed is then known as one.
    for name, text in {MANIFEST: json.dumps(sorted(files), indent=1) + "\n", **files}.items():
        write_atomically(out / name, partial(_write_one, text))


def _write_one(content: str | bytes, path: Path) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _archived(replayed: Replay) -> str:
    """Returns where the strategies of a retired entry are kept."""
    assert replayed.submission is not None
    return f"archive/{replayed.submission.track}/{replayed.submission.name}.json"


def _index(standings: Standings, tracks: Mapping[str, Track]) -> str:
    shown_tracks = [
        {
            "track": track,
            "rows": [_row(entry) for entry in standings.tracks[name]],
            "plots": [_front(track, task, standings.tracks[name]) for task in track.tasks if standings.tracks[name]],
            "regret": any(entry.regret is not None for entry in standings.tracks[name]),
        }
        for name, track in tracks.items()
    ]
    refused = [
        {
            "file": shown(f"{r.path.parent.name}/{r.path.name}")[1:-1],
            "verdict": r.verdict.value,
            "reasons": r.reasons,
        }
        for r in standings.refused
    ]
    return _render("index.html", "", tracks=shown_tracks, refused=refused, retired=len(standings.retired))


def _row(entry: Entry) -> dict[str, Any]:
    """Returns what the table and the CSV say of an entry; accuracies and regret in percent and points."""
    interval = entry.interval or (None, None)
    return {
        "rank": entry.rank,
        "name": entry.submission.name,
        "method": entry.submission.method,
        "test_accuracy": _percent(entry.test),
        "test_low": _percent(interval[0]),
        "test_high": _percent(interval[1]),
        "validation_accuracy": _percent(entry.validation),
        "validation_source": entry.validation_source,
        "regret_points": _percent(entry.regret),
        "cost_ratio": round(float(entry.cost_ratio.mean()), 6),
        "evaluations": entry.evaluations,
        "training_seconds": round(entry.training_seconds, 3),
        "evaluation_run_seconds": round(entry.evaluation_seconds, 3),
        "deterministic": entry.submission.deterministic,
        "trained_on_track": entry.trained_here,
        "verdict": entry.verdict.value,
    }


def _details(entry: Entry) -> dict[str, Any]:
    """Returns an entry for programs: the row, and every seed."""
    live = entry.record.results if entry.record is not None else [None] * len(entry.replay.results)
    seeds = [
        {
            "task": r.stated.task,
            "seed": r.stated.seed,
            "cost": r.cost,
            "cost_ratio": r.cost_ratio,
            "validation_accuracy": scored.validation_accuracy if scored else r.validation,
            "test_accuracy": scored.test_accuracy if scored else None,
            "strategy": r.stated.strategy,
        }
        for r, scored in zip(entry.replay.results, live, strict=True)
    ]
    return {**_row(entry), "seeds": seeds}


def replay_command(submission: Path, tracks_file: Path) -> str:
    """Returns the command that replays a submission, for somebody in the repository or the folder of submissions."""
    words = ["python", "-m", "leaderboard", "verify", "--live", _below(submission)]
    if tracks_file != TRACKS:
        words += ["--tracks", _below(tracks_file)]
    return shlex.join(words)


def _below(path: Path) -> str:
    """Returns a path relative to the repository where it lies below it, else its last two parts."""
    absolute, root = path.absolute(), FOLDER.parent
    below = absolute.is_relative_to(root)
    return (absolute.relative_to(root) if below else Path(*absolute.parts[-2:])).as_posix()


def _entry_page(entry: Entry, replay_command: str) -> str:
    submission, track = entry.submission, entry.track
    tasks = []
    for n, task in enumerate(track.tasks):
        replayed = [r for r in entry.replay.results if r.stated.task == task]
        strategies = np.array([r.choices for r in replayed])
        # By validation: test images choose nothing, not even what is drawn.
        best = 0 if entry.validation is None else int(entry.validation[:, n].argmax())
        decisions = track.problem(task).decisions
        tasks.append(
            {
                "name": task,
                "seed": best,
                "plot": Markup(
                    strategy_plot(
                        decisions,
                        strategies[best],
                        strategies,
                        f"Strategy of seed {best} for {task}, decision by decision",
                    )
                ),
                "decisions": [
                    (d.name, [d.values[c] for c in strategies[:, t]]) for t, d in enumerate(decisions.decisions)
                ],
                "seeds": [
                    {
                        "seed": r.stated.seed,
                        "test": None if entry.test is None else 100 * float(entry.test[i, n]),
                        "validation": None if entry.validation is None else 100 * float(entry.validation[i, n]),
                        "declared_test": _percent(r.stated.test_accuracy),
                        "cost": r.cost,
                        "ratio": r.cost_ratio,
                        "evaluations": r.stated.evaluations,
                        "training_seconds": r.stated.training_seconds,
                        "wall_seconds": r.stated.wall_seconds,
                    }
                    for i, r in enumerate(replayed)
                ],
            }
        )
    return _render(
        "entry.html",
        "../",
        entry=entry,
        submission=submission,
        track=track,
        row=_row(entry),
        unit=_unit(track),
        tasks=tasks,
        replay_command=replay_command,
    )


def _retired(replayed: Replay, record: VerifiedRecord) -> dict[str, Any]:
    submission, track = replayed.submission, replayed.track
    assert submission is not None
    return {
        "track": submission.track,
        "name": submission.name,
        "method": submission.method,
        "env": submission.env,
        "reasons": replayed.reasons,
        "test_accuracy": _percent(np.array([r.test_accuracy for r in record.results])),
        "date": record.date,
        "metric": track.metric if track else "accuracy",
        "file": _archived(replayed),
    }


def _front(track: Track, task: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Draws a task's entries beside the best that is known: of all strategies, or of those scored live."""
    column = track.tasks.index(task)
    points = [
        Point(
            str(entry.rank or ""),
            entry.submission.name,
            f"{track.name}/{entry.submission.name}.html",
            entry.cost_ratio[:, column],
            entry.validation[:, column],
        )
        for entry in entries
        if entry.validation is not None
    ]
    ratio, accuracy, known = _known(track, task, entries)
    title = f"{task}: validation {track.metric} over {track.cost}, {len(points)} entries; the table has the numbers"
    svg = front_plot(
        points,
        front(ratio, accuracy) if len(ratio) else (ratio, accuracy),
        track.budget,
        f"{track.cost} as a fraction of the uncompressed network's",
        f"validation {_unit(track)}",
        title,
        f"{track.name}-{task}",
    )
    return {"svg": Markup(svg), "known": known, "task": task}


def _known(track: Track, task: str, entries: Sequence[Entry]) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Returns cost ratios and live validation accuracies of the strategies that are known, and what they are."""
    problem = track.problem(task)
    if problem.accuracy_model.source == "measured":
        strategies, accuracy = problem.enumerate()
        known = f"all {len(strategies):,} strategies, each scored live"
    else:
        recorded = [r for entry in entries if entry.record is not None for r in entry.record.results if r.task == task]
        strategies = np.array([r.choices for r in recorded], dtype=np.int64).reshape(-1, len(problem.decisions))
        accuracy = np.array([r.validation_accuracy for r in recorded], dtype=np.float64)
        sample = _sample(track, task)
        strategies, accuracy = (np.concatenate(pair) for pair in zip((strategies, accuracy), sample, strict=True))
        known = f"{len(np.unique(strategies, axis=0)):,} strategies that were scored live; the optimum is not known"
    ratio = (
        problem.costs(strategies)[problem.cost] / problem.baseline_costs[problem.cost] if len(strategies) else accuracy
    )
    return ratio, accuracy, known


def _sample(track: Track, task: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the strategies that were scored live to fit a task's surrogate, and their accuracies."""
    decisions, case = track.problem(task).decisions, get_case(track.env, task)
    # A track may offer fewer values than were measured.
    if not case.asset("strategies").exists() or case.decisions() != decisions:
        return np.zeros((0, len(decisions)), dtype=np.int64), np.zeros(0)
    measured = case.strategies()
    scored = measured.scored()
    return measured.strategies[scored], measured.accuracy[scored]


def _unit(track: Track) -> str:
    """Returns what heads a column of accuracies; other metrics are numbers up to 100, but no share of anything."""
    return f"{track.metric}, %" if track.metric == "accuracy" else track.metric


def _percent(value: Any) -> float | None:
    return None if value is None else round(100 * float(np.mean(value)), 4)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Keeps spreadsheets from reading a stranger's text as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _render(template: str, root: str, **values: Any) -> str:
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "table.js"))
    return (
        _environment()
        .get_template(template)
        .render(
            root=root,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            **values,
        )
    )


def _hash(text: str) -> str:
    """Returns what the page's Content-Security-Policy knows a style or script by; anything else will not run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
