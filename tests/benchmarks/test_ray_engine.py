from __future__ import annotations

from functools import partial

import pytest

from benchmarks.search.jobs import Job, finished_version, keep
from benchmarks.search.ray_engine import run_on_ray
from benchmarks.search.suites import DIGITS


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "no Ray cluster answers there"), ("nowhere", "must be 'auto' or HOST:PORT")],
)
def test_an_address_that_does_not_answer_is_told(address, words, tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.raises(ValueError, match=words):
        list(run_on_ray([Job(DIGITS, "random", 0, 5)], tmp_path, address))


def test_a_dying_node_loses_no_job_and_doubles_none(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    jobs = [Job(DIGITS, "random", seed, 100) for seed in range(6)]
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        killed, waiting = [], partial(run_on_ray, unfinished=tmp_path / "unfinished", address=cluster.address)
        kept = []
        for outcome in waiting(jobs):
            assert outcome.failure == ""
            keep(outcome.made, outcome.job, tmp_path)
            kept.append(outcome.job)
            if not killed:
                cluster.remove_node(second, allow_graceful=False)
                killed.append(second)
    finally:
        cluster.shutdown()
    assert killed and sorted(job.seed for job in kept) == [job.seed for job in jobs]
    assert all(finished_version(tmp_path / job.name) == job.version for job in jobs)
