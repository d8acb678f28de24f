"""Runs the same jobs on a Ray cluster: `--engine ray --address HOST:PORT`.

Every node needs this checkout at the same path and the same packages; a node with other code is told by the version of
what it returns. Run folders travel back as bytes and are put in their place by one process, so that a job which Ray
starts again, because its node died, is still kept once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.search.jobs import Job, finished_version
from benchmarks.search.scheduler import ONE_THREAD, JobOutcome
from compress_gym.support.errors import missing_extra

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 5.0
# How often a job whose node or process died is begun again: one that kills its process would go on for ever.
RETRIES = 3


def run_on_ray(jobs: Sequence[Job], unfinished: Path, address: str) -> Iterator[JobOutcome]:
    """Runs jobs on a cluster, a core each.

    Args:
        jobs: What to run.
        unfinished: Folder where run folders are unpacked.
        address: `HOST:PORT` of the cluster, or `auto`: the one that was started on this machine.

    Yields:
        Outcomes as jobs end.

    Raises:
        ImportError: Ray is not installed.
        ValueError: Nothing answers at the address.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise missing_extra("ray", "ray", "--engine ray") from error
    _connect(ray, address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_remote_function())
        numbers = {remote.remote(str(ROOT), asdict(job)): n for n, job in enumerate(jobs)}
        while numbers:
            (ready, *_), _ = ray.wait(list(numbers), num_returns=1)
            number = numbers.pop(ready)
            try:
                files, failure = ray.get(ready)
            except ray.exceptions.RayError as error:
                files, failure = {}, f"{type(error).__name__}: {error}\n"
            yield _unpacked(jobs[number], files, failure, unfinished / str(number))
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not host or not port.isdigit():
            raise ValueError(f"--address {address!r} must be 'auto' or HOST:PORT, for instance 10.0.0.1:6379")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"--address {address}: no Ray cluster answers there ({error}); start one with: ray start --head"
            ) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"--address {address}: no Ray cluster answers there ({error}); start one with: ray start --head"
        ) from error


def _remote_function() -> Any:
    """Returns the function that runs on a node; it is sent by value, since a node cannot import this module yet."""
    threads = ONE_THREAD

    def perform_packed(root: str, described: dict[str, Any]) -> tuple[dict[str, bytes], str]:
        import os
        import sys
        import tempfile
        import traceback
        from pathlib import Path

        os.environ.update(dict.fromkeys(threads, "1"))
        if root not in sys.path:
            sys.path.insert(0, root)
        try:
            from benchmarks.search.jobs import Job, perform
            from benchmarks.search.suites import BenchmarkProblem

            job = Job(**{**described, "problem": BenchmarkProblem(**described["problem"])})
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / "run"
                perform(job, made)
                return {str(p.relative_to(made)): p.read_bytes() for p in made.rglob("*") if p.is_file()}, ""
        except Exception:
            return {}, traceback.format_exc()

    return perform_packed


def _unpacked(job: Job, files: dict[str, bytes], failure: str, made: Path) -> JobOutcome:
    if failure:
        return JobOutcome(job, None, failure)
    for name, content in files.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    version = finished_version(made)
    if version != job.version:
        return JobOutcome(job, None, f"a node of the cluster runs other code: version {version}, here {job.version}\n")
    return JobOutcome(job, made)
