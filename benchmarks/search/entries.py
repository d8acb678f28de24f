"""Entries of the leaderboard from the standard suite's runs: `python -m benchmarks.search.entries`.

Every method of the suite becomes an entry of each track that asks for one of the suite's problems. An entry that is
there already is written anew; where that changes it, it is to be verified again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from rich.progress import track as progress_over

from agents.tune import SPACES
from benchmarks.search.jobs import Job, is_finished, jobs_of
from benchmarks.search.suites import LEARNERS, SUITES, BenchmarkProblem
from compress_gym.support.commands import run_command
from compress_gym.support.errors import unknown_name
from leaderboard.__main__ import SUBMISSIONS
from leaderboard.schema import Submission
from leaderboard.submit import submission_of, write_submission
from leaderboard.tracks import Track, load_tracks

AUTHORS = ("the compress_gym authors",)
# Where the code of methods that are not ours comes from.
LINKS = {
    **dict.fromkeys(LEARNERS, "https://github.com/DLR-RM/stable-baselines3"),
    "maskable-ppo": "https://github.com/Stable-Baselines-Team/stable-baselines3-contrib",
    **dict.fromkeys(("tpe", "gaussian-process"), "https://github.com/optuna/optuna"),
    "cma-es": "https://github.com/CyberAgentAILab/cmaes",
}
# What `agents.tune` has looked for better settings of.
TUNED = ("ddpg", "td3", "ppo")
# The seed has no influence on these.
DETERMINISTIC = ("uniform", "shallow-heavy", "deep-heavy", "netadapt", "integer-program")


def track_of(problem: BenchmarkProblem, tracks: Mapping[str, Track]) -> Track | None:
    """Returns the track that asks for a problem and may be searched on; `None`: there is none."""
    for track in tracks.values():
        asked = (track.env_name.removeprefix("compress_gym/"), track.tasks, track.cost, track.budget)
        env = problem.env.rpartition("-v")[0]
        if asked == (env, (problem.task,), problem.cost, problem.budget) and not track.zero_shot:
            return track
    return None


def entries(jobs: Sequence[Job], runs: Path, tracks: Mapping[str, Track]) -> Iterator[Submission]:
    """Yields an entry of each method on each problem that has a track.

    Raises:
        ValueError: A run is missing or outdated; the message names the command that makes it.
    """
    groups: dict[tuple[BenchmarkProblem, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.problem, job.method), []).append(job)
    for (problem, method), group in groups.items():
        track = track_of(problem, tracks)
        if track is None:
            continue
        missing = [job.name for job in group if not is_finished(job, runs)]
        if missing:
            raise ValueError(
                f"{runs / missing[0]} is missing or outdated; run: python -m benchmarks.search --suite standard"
            )
        yield submission_of(
            [runs / job.name for job in group],
            {track.name: track},
            method,
            authors=AUTHORS,
            link=LINKS.get(method),
            modified_source=False,
            deterministic=method in DETERMINISTIC,
            trained_on=(),
            ranges_tried={name: where.words for name, where in SPACES[method].items()} if method in TUNED else {},
        )


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/benchmark"), show_default=True)
@click.option("--method", "methods", multiple=True, help="Only this one; may be repeated.")
@click.option("--submissions", type=click.Path(path_type=Path), default=SUBMISSIONS, help="[leaderboard/submissions]")
def main(runs: Path, methods: tuple[str, ...], submissions: Path) -> None:
    """Writes entries of the standard suite's runs, and says which of them are new or changed."""
    for method in methods:
        if method not in SUITES["standard"].methods:
            raise unknown_name("method", method, SUITES["standard"].methods)
    jobs = [job for job in jobs_of(SUITES["standard"]) if not methods or job.method in methods]
    for entry in progress_over(entries(jobs, runs, load_tracks()), "entries"):
        path = submissions / entry.track / f"{entry.name}.json"
        before = path.read_bytes() if path.exists() else None
        write_submission(entry, submissions, replace=True)
        if path.read_bytes() != before:
            word = "new" if before is None else "changed"
            click.echo(f"{word}; verify it: python -m leaderboard verify --live --record {shlex.quote(str(path))}")


if __name__ == "__main__":
    run_command(main, "benchmarks.search.entries")
