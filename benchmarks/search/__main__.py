"""`python -m benchmarks.search --suite quick`: runs what a suite lacks, then writes its report."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.search.jobs import Job, finished_version, is_finished, jobs_of, keep
from benchmarks.search.records import read_records, read_run, write_records
from benchmarks.search.report import write_report
from benchmarks.search.scheduler import JobOutcome, run_local
from benchmarks.search.suites import EVALUATIONS, SUITES, Suite, get_suite
from compress_gym.support.commands import run_command
from compress_gym.support.errors import unknown_name

RESULTS = Path(__file__).parents[1] / "results" / "search"
UNFINISHED = ".unfinished"


@click.command()
@click.option("--suite", "name", default="quick", show_default=True, help=", ".join(SUITES))
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Jobs at a time, a core each.")
@click.option("--runs", type=click.Path(path_type=Path), help="Run folders [default: runs/benchmark, -N with fewer].")
@click.option("--method", "methods", multiple=True, help="Only this one; may be repeated.")
@click.option("--seeds", type=click.IntRange(2), help="Fewer or more seeds than the suite's.")
@click.option("--evaluations", type=click.IntRange(1), default=EVALUATIONS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Report [default: the repository's, for a whole suite].")
@click.option("--report", is_flag=True, help="Only write the report again, from the CSV under --out.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", default="auto", show_default=True, help="Of the Ray cluster.")
def main(
    name: str,
    workers: int,
    runs: Path | None,
    methods: tuple[str, ...],
    seeds: int | None,
    evaluations: int,
    out: Path | None,
    report: bool,
    engine: str,
    address: str,
) -> int:
    """Runs every job of a suite that is not finished, and writes the suite's report.

    Killed at any moment, the same command goes on. Finished jobs are not run again unless the code of their method
    or environment changed. A job that fails is told with its traceback and tried again the next time.
    """
    suite = _part(get_suite(name), methods, seeds)
    whole = suite == get_suite(name) and evaluations == EVALUATIONS
    runs = runs or default_runs(evaluations)
    out = out or (RESULTS if whole else runs / "report")
    if not report:
        jobs = jobs_of(suite, evaluations)
        failures = _run(jobs, runs, partial(_outcomes, runs=runs, workers=workers, engine=engine, address=address))
        if failures:
            click.echo(f"{failures} of {len(jobs)} jobs failed; the same command tries them again", err=True)
            return 1
        write_records(out / f"{name}.csv", [read_run(runs / job.name) for job in jobs])
    command = shlex.join(["python", "-m", "benchmarks.search", *sys.argv[1:]])
    text = write_report(name, suite, read_records(out / f"{name}.csv"), out, "" if report else command)
    click.echo(f"{text}\nwritten to {out}")
    return 0


def default_runs(evaluations: int) -> Path:
    """Returns where runs of an allowance lie: in the suites' folder they would take the place of finished ones."""
    return Path("runs", "benchmark" if evaluations == EVALUATIONS else f"benchmark-{evaluations}")


def _part(suite: Suite, methods: tuple[str, ...], seeds: int | None) -> Suite:
    for method in methods:
        if method not in suite.methods:
            raise unknown_name("method", method, suite.methods)
    chosen = tuple(method for method in suite.methods if not methods or method in methods)
    return Suite(suite.problems, chosen, seeds or suite.seeds)


def _outcomes(jobs: Sequence[Job], runs: Path, workers: int, engine: str, address: str) -> Iterator[JobOutcome]:
    if engine == "local":
        return run_local(jobs, runs / UNFINISHED, workers)
    from benchmarks.search.ray_engine import run_on_ray

    return run_on_ray(jobs, runs / UNFINISHED, address)


def _run(jobs: Sequence[Job], runs: Path, outcomes: partial[Iterator[JobOutcome]]) -> int:
    """Runs the jobs that are not finished and returns how many of them failed."""
    runs.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(runs / ".lock", timeout=0):
            return _run_locked(jobs, runs, outcomes)
    except Timeout as error:
        raise ValueError(f"--runs {runs} is used by another runner; wait for it, or choose another folder") from error


def _run_locked(jobs: Sequence[Job], runs: Path, outcomes: partial[Iterator[JobOutcome]]) -> int:
    shutil.rmtree(runs / UNFINISHED, ignore_errors=True)  # of a runner that was killed
    (runs / UNFINISHED).mkdir()
    waiting = [job for job in jobs if not is_finished(job, runs)]
    outdated = sum(finished_version(runs / job.name) is not None for job in waiting)
    console = Console(stderr=True)
    console.print(
        f"{len(jobs) - len(waiting)} of {len(jobs)} jobs are finished"
        + (f"; {outdated} are run again: the code or data that they depend on changed" if outdated else "")
    )
    failures = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("jobs", total=len(waiting))
        for outcome in outcomes(waiting):
            failure = outcome.failure
            if outcome.made is not None and finished_version(outcome.made) != outcome.job.version:
                failure = "the code or data that it depends on changed while it ran"
            if outcome.made is None or failure:
                failures += 1
                console.print(f"[red]failed:[/red] {outcome.job.name}")
                console.print(failure, markup=False, highlight=False)
                if os.strerror(errno.ENOSPC) in failure:
                    raise ValueError(f"no space is left for {runs}; what is finished is kept, the same command goes on")
            else:
                keep(outcome.made, outcome.job, runs)
            progress.update(bar, advance=1, description=f"jobs, {failures} failed" if failures else "jobs")
    shutil.rmtree(runs / UNFINISHED)
    return failures


if __name__ == "__main__":
    run_command(main, "benchmarks.search")
