from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.making.additive import fit_additive
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import write_card

SPACE = DecisionSpace(
    (
        Decision("depth", "other", (1, 2, 3)),
        Decision("width", "other", (4, 8, 12, 16)),
        Decision("second", "other", (4, 8), requires=("depth", 2)),
        Decision("third", "other", (4, 8), requires=("depth", 3)),
    )
)


def additive(seed, rows):
    """Accuracies whose logits are sums of what each choice adds."""
    rng = np.random.default_rng(seed)
    weights = [np.concatenate([[0.0], rng.normal(0, 0.5, size - 1)]) for size in SPACE.sizes]
    strategies = SPACE.check(rng.integers(SPACE.sizes, size=(rows, len(SPACE))))
    logits = rng.normal() + sum(w[strategies[:, t]] for t, w in enumerate(weights))
    return strategies, 1 / (1 + np.exp(-logits))


@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_additive_is_recovered(seed):
    strategies, accuracies = additive(seed, 400)
    surrogate = fit_additive(SPACE, strategies[:300], accuracies[:300], baseline=0.5, ridge=1e-6)
    assert np.abs(surrogate(strategies[300:]) - accuracies[300:]).max() < 1e-4
    assert surrogate.uncertainty(strategies[300:]).max() < 1e-4


def test_uncertainty_grows_with_noise():
    strategies, accuracies = additive(0, 300)
    noisy = np.clip(accuracies + np.random.default_rng(1).normal(0, 0.05, 300), 0.01, 0.99)
    exact, unsure = (fit_additive(SPACE, strategies, a, baseline=0.5) for a in (accuracies, noisy))
    assert unsure.uncertainty(strategies).mean() > 5 * exact.uncertainty(strategies).mean()


def test_it_is_stored_as_every_surrogate(tmp_path):
    strategies, accuracies = additive(2, 100)
    surrogate = fit_additive(SPACE, strategies, accuracies, baseline=0.7)
    surrogate.save(tmp_path / "surrogate.npz")
    write_card(tmp_path / "surrogate.npz", {})
    loaded = SurrogateAccuracy.load(tmp_path / "surrogate.npz", SPACE)
    assert np.array_equal(loaded(strategies), surrogate(strategies)) and loaded.baseline == 0.7


def test_ridge_pulls_towards_the_mean():
    strategies, accuracies = additive(3, 60)
    spread = [fit_additive(SPACE, strategies, accuracies, 0.5, ridge=r)(strategies).std() for r in (1e-6, 10.0, 1e6)]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0, abs=1e-3)
