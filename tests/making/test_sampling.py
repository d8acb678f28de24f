from __future__ import annotations

import numpy as np
import pytest

from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.kinds import get_case
from compress_gym.making.collect import wanted_sample
from compress_gym.making.sampling import broad_sample, mixed_sample
from compress_gym.networks.cifar_resnet import resnet20
from compress_gym.networks.trace import trace
from compress_gym.problem.network_decisions import channel_decisions

NETWORK = trace(resnet20(), (3, 32, 32), "resnet20")
DECISIONS = channel_decisions(NETWORK, 16)
TERMS = network_cost_terms(NETWORK, DECISIONS)


def test_the_sample_is_distinct_repeatable_and_covers_the_budgets():
    rows = broad_sample(DECISIONS, TERMS, "macs", 1000, seed=0)
    assert rows.shape == (1000, 12) and len(np.unique(rows, axis=0)) == 1000
    assert np.array_equal(rows, broad_sample(DECISIONS, TERMS, "macs", 1000, seed=0))
    assert not np.array_equal(rows, broad_sample(DECISIONS, TERMS, "macs", 1000, seed=1))
    macs = TERMS.evaluate(np.concatenate([rows, DECISIONS.sizes[None] - 1]))[:, TERMS.column("macs")]
    ratio = macs[:-1] / macs[-1]
    counts, _ = np.histogram(ratio, bins=10, range=(ratio.min(), 1.0))
    assert counts.min() >= 20, counts
    uncompressed, cheapest = DECISIONS.sizes - 1, np.zeros(12, dtype=np.int64)
    assert (rows == uncompressed).all(1).any() and (rows == cheapest).all(1).any()


def test_more_than_half_of_the_space_is_refused():
    with pytest.raises(ValueError, match="measure all of them"):
        broad_sample(DECISIONS, TERMS, "macs", DECISIONS.count, seed=0)


@pytest.mark.parametrize("name", ["digits-cnn", "cifar10-resnet20"])
def test_channels_and_bits_are_mixed_at_every_cost(name):
    case = get_case("JointPQ", name)
    decisions, (terms, metric) = case.decisions(), case.sampled_cost
    rows = mixed_sample(decisions, terms, metric, 400, seed=0)
    assert metric == "latency_ms" and len(np.unique(rows, axis=0)) == 400
    assert np.array_equal(rows, mixed_sample(decisions, terms, metric, 400, seed=0))
    assert not np.array_equal(rows, mixed_sample(decisions, terms, metric, 400, seed=1))
    costs = terms.evaluate(np.concatenate([rows, decisions.sizes[None] - 1]))
    latency, macs = (costs[:-1] / costs[-1])[:, [terms.column(metric), terms.column("macs")]].T
    counts, edges = np.histogram(latency, bins=10, range=(latency.min(), 1.0))
    assert counts.min() >= 10 and counts[:9].min() >= 35, counts
    for lower, upper in zip(edges[:5], edges[1:6], strict=True):  # of more than that, few channels are not enough
        within = macs[(latency >= lower) & (latency < upper)]
        assert within.min() < 0.3 and within.max() > 0.8, (lower, upper)
    uncompressed, fewest = decisions.sizes - 1, np.zeros(len(decisions), dtype=np.int64)
    assert (rows == uncompressed).all(1).any() and (rows == fewest).all(1).any()


def test_what_is_measured_of_channels_is_as_it_was():
    """Measurements that are under way go on with the sample that they began with."""
    case = get_case("ChannelPrune", "cifar10-resnet20")
    measured = case.strategies()
    assert np.array_equal(measured.strategies[measured.rounds == 0], wanted_sample(case, 4000, 0))


def test_rows_that_begin_alike_are_neighbours():
    rows = wanted_sample(get_case("JointPQ", "digits-cnn"), 200, 0)
    channels = rows[:, 2::3]
    assert np.array_equal(np.lexsort(channels.T[::-1]), np.arange(200))


def test_more_than_half_of_a_mixed_space_is_refused():
    case = get_case("JointPQ", "digits-cnn")
    decisions, (terms, metric) = case.decisions(), case.sampled_cost
    with pytest.raises(ValueError, match="measure all of them"):
        mixed_sample(decisions, terms, metric, decisions.count, seed=0)
