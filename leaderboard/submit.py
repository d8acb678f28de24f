"""Builds a submission from run folders, one for each task and seed."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agents.hyperparams import list_hyperparameters
from agents.runs import read_config
from agents.search import METHODS
from compress_gym.support.cards import read_json, write_atomically
from leaderboard.fields import complaints
from leaderboard.schema import Submission
from leaderboard.tracks import Track

# Arguments of an environment that a run's configuration may leave out.
_DEFAULTS: dict[str, Any] = {"budget": 0.5, "reward": "mnasnet"}
# Defaults of an environment and of the zoo's commands alike: commands leave them out, too.
_USUAL: dict[str, Any] = {"cost": "latency_ms", "budget_rule": "clip", "accuracy": "auto"}


def submission_of(runs: Sequence[Path], tracks: Mapping[str, Track], name: str, **about: Any) -> Submission:
    """Collects run folders of one method into a submission.

    Args:
        runs: Finished run folders (`agents/runs.py`).
        tracks: Track name to track; the one whose settings are those of the runs is taken.
        name: Of the submission.
        **about: `version` (of the method; else compress_gym's), `authors`, `link`, `modified_source`, `deterministic`,
            `trained_on`, `ranges_tried`.

    Raises:
        ValueError: The runs differ in method or settings, are not finished, or fit no track or several.
    """
    configs = [_read(run) for run in runs]
    first = configs[0]
    for run, config in zip(runs, configs, strict=True):
        for key in ("method", "kind", "env", "hyperparameters"):
            if config.get(key) != first.get(key):
                raise ValueError(f"{run}: {key} is {config.get(key)!r}, in {runs[0]} it is {first.get(key)!r}")
    track = _track_of(configs[0], tracks)
    for run, config in zip(runs, configs, strict=True):
        if config["environment"]["task"] not in track.tasks or _track_of(config, tracks) != track:
            raise ValueError(f"{run}: was run under other settings than those of track {track.name!r}")
    origins = {config["origin"]["task"]: _origin(config, track) for config in configs}
    results = [_result(run, config, track) for run, config in zip(runs, configs, strict=True)]
    values = {
        "schema_version": 1,
        "track": track.name,
        "name": name,
        "method": first["method"],
        "version": f"compress_gym {first['versions']['compress_gym']}",
        "parameters": {key: _plain(value) for key, value in first.get("hyperparameters", {}).items()},
        "command": _command(first, track),
        "env": _full_id(first["env"]),
        "origins": origins,
        "results": sorted(results, key=lambda r: (track.tasks.index(r["task"]), r["seed"])),
        **about,
    }
    try:
        return Submission.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ValueError("; ".join(complaints(error))) from error


def described_submissions(file: Path, tracks: Mapping[str, Track]) -> Iterator[Submission]:
    """Yields the submissions that a file describes, of runs that a track asks for; the other runs are left out.

    Args:
        file: JSON with a list `entries`: of each its `name`, its `runs` (paths from the file's folder) and what else
            `submission_of` takes.
        tracks: Track name to track. Tracks whose tasks nobody may have searched on are left out.

    Raises:
        ValueError: An entry lacks its name or its runs, or `submission_of` refuses them.
    """
    searched = {name: track for name, track in tracks.items() if not track.zero_shot}
    for number, entry in enumerate(read_json(file).get("entries", [])):
        if not (isinstance(entry, dict) and entry.get("name") and entry.get("runs")):
            raise ValueError(f"{file}: entry {number} must have a name and runs")
        about = {key: value for key, value in entry.items() if key not in ("name", "runs")}
        runs = [file.parent / run for run in entry["runs"]]
        if _fitting(_read(runs[0]), searched):
            yield submission_of(runs, searched, entry["name"], **about)


def write_submission(submission: Submission, folder: Path, replace: bool = False) -> Path:
    """Writes a submission to `folder/<track>/<name>.json`, whole or not at all.

    Args:
        submission: What is written.
        folder: Of all submissions.
        replace: Whether one of that name is overwritten; it stays as it is until the new one is whole.

    Raises:
        ValueError: There is one of that name already.
    """
    path = folder / submission.track / f"{submission.name}.json"
    if path.exists() and not replace:
        raise ValueError(f"{path} exists already; remove it or choose another --name")
    text = json.dumps(submission.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
    return path


def _read(run: Path) -> dict[str, Any]:
    config = read_config(run)
    return {**config, "environment": {**_DEFAULTS, **_USUAL, **config["environment"]}}


def _fitting(config: Mapping[str, Any], tracks: Mapping[str, Track]) -> list[Track]:
    settings, device = config["environment"], config["origin"].get("device")
    return [
        track
        for track in tracks.values()
        if _full_id(config["env"]) == track.env
        and settings["task"] in track.tasks
        and device == track.problem(settings["task"]).origin["device"]
        and (settings["cost"], settings["budget"]) == (track.cost, track.budget)
    ]


def _track_of(config: Mapping[str, Any], tracks: Mapping[str, Track]) -> Track:
    settings, fitting = config["environment"], _fitting(config, tracks)
    if len(fitting) != 1:
        found = f"several tracks: {', '.join(t.name for t in fitting)}" if fitting else "no track"
        raise ValueError(
            f"a run of {config['env']} on {settings['task']}, device "
            f"{config['origin'].get('device')}, {settings['budget']} of "
            f"{settings['cost']} fits {found}; give --track (tracks: {', '.join(tracks)})"
        )
    return fitting[0]


def _origin(config: Mapping[str, Any], track: Track) -> dict[str, Any]:
    kept = {key: config["origin"].get(key) for key in ("task_version", "asset_hash", "device", "device_hash")}
    return {"accuracy_source": _source(track, config["environment"]), **kept}


def _result(run: Path, config: Mapping[str, Any], track: Track) -> dict[str, Any]:
    path = run / "best_strategy.json"
    if not path.exists():
        raise ValueError(f"{run}: best_strategy.json is missing; no strategy within the budget was found")
    best = read_json(path)
    if not best["finished"]:
        raise ValueError(f"{run}: the run was interrupted; run it again")
    with (run / "evaluations.csv").open(newline="") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    return {
        "task": config["origin"]["task"],
        "seed": config["seed"],
        "strategy": best["strategy"],
        "evaluations": best["evaluations"],
        "wall_seconds": seconds,
        # A learner trains while its episodes are scored; the run folder does not tell the two apart.
        "training_seconds": config.get("training_seconds", seconds if config["kind"] == "learner" else 0.0),
        "cost": best["costs"][track.cost],
        "validation_accuracy": best["accuracy"],
    }


def _source(track: Track, settings: Mapping[str, Any]) -> str:
    asked: str = settings["accuracy"]
    return track.problem(settings["task"]).accuracy_model.source if asked == "auto" else asked


def _command(config: Mapping[str, Any], track: Track) -> str | None:
    """Returns the command line that makes the first seed again: what is not said is the default.

    `None` for a method that is not the zoo's: nobody else has its code.
    """
    if "command" in config:  # an agent that was trained elsewhere
        return str(config["command"])
    settings = config["environment"]
    learner = config["kind"] == "learner"
    if config["method"] not in (list_hyperparameters() if learner else METHODS):
        return None
    words = ["python", "-m", "agents.train" if learner else "agents.search"]
    words += ["--algo" if learner else "--method", config["method"], "--env", config["env"]]
    words += ["--task", settings["task"]]
    if device := track.problem(settings["task"]).origin["device"]:
        words += ["--device", device]
    words += ["--budget", str(settings["budget"]), "--reward", settings["reward"], "--seed", "0"]
    words += ["--episodes" if learner else "--evaluations", str(config["evaluations"])]
    for key, usual in _USUAL.items():
        if settings[key] != usual:
            words += [f"--{key.replace('_', '-')}", str(settings[key])]
    if learner:
        # All of them: defaults change.
        given = config["hyperparameters"].items()
        words += [word for key, value in given for word in ("-p", f"{key}={json.dumps(value)}")]
    return shlex.join(words)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float)) else json.dumps(value).strip('"')


def _full_id(env: str) -> str:
    return env if "/" in env else f"compress_gym/{env}"
