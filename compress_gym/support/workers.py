"""Jobs in processes of their own, or in this one where one worker is enough."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch

from compress_gym.support.resume import end_with_parent


def results_of(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    begin: Callable[..., None] | None = None,
    settings: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Any]]:
    """Yields each job's number and result, as they are finished.

    Args:
        function: What is called with each job; a function of a module, as `begin` is.
        jobs: Arguments, a tuple each.
        workers: Processes, one thread each; 1: this one.
        begin: Called with the settings once in each process, before its first job.
        settings: Arguments of `begin`.
    """
    if not jobs:
        return
    if workers == 1:
        if begin is not None:
            begin(*settings)
        yield from ((number, function(*job)) for number, job in enumerate(jobs))
        return
    # Spawned, not forked: torch's thread pools do not survive a fork.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (begin, settings)) as pool:
        running = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
        try:
            yield from ((running[done], done.result()) for done in as_completed(running))
        finally:  # after an error, what has not begun would be computed for nothing
            pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., None] | None, settings: tuple[Any, ...]) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    if begin is not None:
        begin(*settings)
