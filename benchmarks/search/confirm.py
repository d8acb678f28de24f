"""Keeps runs over a change of code that changes no result: `python -m benchmarks.search.confirm --suite standard`.

A faster kernel or a function that moved makes every run outdated that depends on its file. This repeats the first seeds
of each method on each problem. Where every repeated run equals the one before in all but its times, the others that
were made with it are taken to be of the present version, too; where one differs, all stay outdated, and
`benchmarks.search` runs them again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import track

from agents.runs import read_config
from benchmarks.search.jobs import Job, finished_version, is_finished, jobs_of
from benchmarks.search.scheduler import run_local
from benchmarks.search.suites import EVALUATIONS, SUITES, get_suite
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.commands import run_command

REPEATED = ".repeated"
# What a run is about besides these is its configuration and the times it took.
RESULTS = ("evaluations.csv", "best_strategy.json", "final_policy.json", "policy.safetensors")


def outdated_groups(jobs: Sequence[Job], runs: Path) -> Iterator[list[Job]]:
    """Yields, for each method on each problem, the jobs whose runs are there and of one other version."""
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        version = finished_version(runs / job.name)
        if version is not None and not is_finished(job, runs):
            groups.setdefault((job.problem.name, job.method, version), []).append(job)
    yield from groups.values()


def difference(one: Path, other: Path) -> str:
    """Returns which file of two run folders differs in more than times and versions of packages; "": none."""
    configs = [{k: v for k, v in read_config(folder).items() if k != "versions"} for folder in (one, other)]
    if configs[0] != configs[1]:
        return "config.yml"
    for name in RESULTS:
        if _content(one / name) != _content(other / name):
            return name
    return ""


def _content(path: Path) -> bytes | None:
    if not path.exists():
        return None
    data = path.read_bytes()
    return re.sub(rb"(?m)^(\d+),[\d.]+,", rb"\1,", data) if path.name == "evaluations.csv" else data


def confirm(job: Job, runs: Path, repeated: Sequence[int]) -> None:
    """Marks a run as one of the present version, and says by which repeated seeds."""
    path = runs / job.name / "job.json"
    mark = read_json(path)
    made_with = {"version": mark["version"], "repeated_seeds": list(repeated)}
    made_with = mark.get("made_with", made_with)  # the version that made it, not one that confirmed it
    text = json.dumps({**mark, "version": job.version, "made_with": made_with}, indent=1) + "\n"
    write_atomically(path, lambda p: p.write_text(text))


@click.command()
@click.option("--suite", "name", default="standard", show_default=True, help=", ".join(SUITES))
@click.option("--runs", type=click.Path(exists=True, path_type=Path), default=Path("runs/benchmark"), show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many of each are repeated.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Jobs at a time, a core each.")
def main(name: str, runs: Path, seeds: int, workers: int) -> int:
    """Repeats the first seeds of outdated runs, and keeps the others where the results are the same."""
    try:
        with FileLock(runs / ".lock", timeout=0):
            return _main(jobs_of(get_suite(name), EVALUATIONS), runs, seeds, workers)
    except Timeout as error:
        raise ValueError(f"--runs {runs} is used by another runner; wait for it") from error


def _main(jobs: Sequence[Job], runs: Path, seeds: int, workers: int) -> int:
    groups, console = list(outdated_groups(jobs, runs)), Console(stderr=True)
    again = {job: group for group in groups for job in group[:seeds]}
    different: set[tuple[str, str]] = set()
    shutil.rmtree(runs / REPEATED, ignore_errors=True)  # of a call that was killed
    outcomes = run_local(list(again), runs / REPEATED, workers)
    for outcome in track(outcomes, "repeating", total=len(again), console=console, disable=not again):
        job = outcome.job
        if outcome.made is None:
            words = outcome.failure
        elif finished_version(outcome.made) != job.version:
            words = "the code or data that it depends on changed while it was repeated"
        else:
            words = difference(outcome.made, runs / job.name)
        if words:
            different.add((job.problem.name, job.method))
            console.print(f"{job.name} differs: {words}", markup=False, highlight=False)
    kept = 0
    for group in groups:
        if (group[0].problem.name, group[0].method) not in different:
            for job in group:
                confirm(job, runs, [repeated.seed for repeated in group[:seeds]])
            kept += len(group)
    shutil.rmtree(runs / REPEATED, ignore_errors=True)
    click.echo(f"{kept} runs are kept, {sum(map(len, groups)) - kept} stay outdated")
    return 1 if different else 0


if __name__ == "__main__":
    run_command(main, "benchmarks.search.confirm")
