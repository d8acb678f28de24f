from __future__ import annotations

import numpy as np
import pytest

from compress_gym.accuracy.sampling import broad_sample
from compress_gym.costs.build import network_cost_terms
from compress_gym.decisions import channel_decisions
from compress_gym.networks.cifar_resnet import resnet20
from compress_gym.networks.trace import trace

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
