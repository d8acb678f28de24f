"""Runs jobs on this machine: a process a job, so many at a time; a job that dies takes no other with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.search.jobs import Job, perform

# Imported once, in the server that every job's process is forked from; Stable-Baselines3 takes seconds.
PRELOADED = ["benchmarks.search.scheduler", "agents.plots", "optuna", "cmaes"]
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        job: The job.
        made: Its finished run folder, not yet in its place; `None` if it failed.
        failure: What went wrong, with its traceback; "" if nothing did.
    """

    job: Job
    made: Path | None
    failure: str = ""


def run_local(jobs: Sequence[Job], unfinished: Path, workers: int) -> Iterator[JobOutcome]:
    """Runs jobs in their order, `workers` at a time, each on one thread.

    Args:
        jobs: What to run.
        unfinished: Folder for run folders in progress.
        workers: Processes.

    Yields:
        Outcomes as jobs end. When the caller stops early, what still runs is ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with _environment(dict.fromkeys(ONE_THREAD, "1")):
        forkserver.ensure_running()  # the jobs inherit the server's environment
    waiting, running = deque(enumerate(jobs)), dict[Any, tuple[Any, Connection, Job, Path]]()
    lifeline, held = context.Pipe(duplex=False)  # `held` is closed when this process ends, however it ends
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, job = waiting.popleft()
                made = unfinished / str(number)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, made, sender, lifeline), daemon=True)
                process.start()
                sender.close()
                running[process.sentinel] = (process, receiver, job, made)
            for sentinel in wait(list(running)):
                process, receiver, job, made = running.pop(sentinel)
                process.join()
                failure = _failure(receiver, process.exitcode)
                yield JobOutcome(job, None if failure else made, failure)
    finally:
        for process, *_ in running.values():
            process.terminate()
        for process, *_ in running.values():
            process.join()
        lifeline.close()
        held.close()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(job: Job, made: Path, sender: Connection, lifeline: Connection) -> None:
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its jobs
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            perform(job, made)
            sender.send("")
        except BaseException:
            sender.send(traceback.format_exc())


def _end_with(lifeline: Connection) -> None:
    """Ends this process when the runner is gone: killed, it cannot tell its jobs, and their server outlives it."""
    try:
        lifeline.recv()
    except EOFError:
        os._exit(1)


def _failure(receiver: Connection, exit_code: int | None) -> str:
    with receiver, contextlib.suppress(EOFError):
        return str(receiver.recv())
    ended = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    return f"the job's process ended with {ended} before the job did\n"
