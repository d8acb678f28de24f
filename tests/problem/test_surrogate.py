from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.making.fit import FitSettings, fit_surrogate, input_features
from compress_gym.problem.decisions import Decision, DecisionSpace, from_lists
from compress_gym.problem.scores.batched import LANES, predict_batch
from compress_gym.problem.scores.surrogate import SurrogateAccuracy, predict_rows
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError

SPACE = from_lists({"a": (4, 8, 12, 16), "b": (8, 16), "c": (4, 8, 16)})
QUICK = FitSettings(members=3, hidden=8, epochs=300, batch_size=16)


def accuracies(rows):
    return 0.2 + 0.6 * (rows / (SPACE.sizes - 1)).mean(axis=1)


@pytest.fixture(scope="module")
def surrogate():
    rows = SPACE.enumerate()
    return fit_surrogate(SPACE, rows, accuracies(rows), baseline=0.8, settings=QUICK)


def test_it_learns(surrogate):
    rows = SPACE.enumerate()
    assert np.abs(surrogate(rows) - accuracies(rows)).max() < 0.05
    assert surrogate.source == "surrogate" and surrogate.baseline == 0.8


def test_the_kernel_computes_what_torch_does(surrogate):
    rows = SPACE.enumerate()
    first, second, last = (torch.from_numpy(v).double() for v in (surrogate.first, surrogate.second, surrogate.last))
    members = []
    for m in range(len(last)):
        h = torch.relu(sum(first[m, t, rows[:, t]] for t in range(3)))
        h = torch.relu(h @ second[m, :-1] + second[m, -1])
        members.append(torch.sigmoid(h @ last[m, :-1] + last[m, -1]).numpy())
    assert np.allclose(surrogate(rows), np.mean(members, axis=0), atol=1e-6)
    assert np.allclose(surrogate.uncertainty(rows), np.std(members, axis=0), atol=1e-6)


def test_rows_do_not_depend_on_each_other(surrogate):
    rows = SPACE.enumerate()
    assert np.array_equal(np.concatenate([surrogate(row) for row in rows]), surrogate(rows))


def test_the_same_seed_gives_the_same_surrogate(surrogate):
    rows = SPACE.enumerate()
    again = fit_surrogate(SPACE, rows, accuracies(rows), baseline=0.8, settings=QUICK)
    assert np.array_equal(again.first, surrogate.first) and np.array_equal(again.last, surrogate.last)


def test_it_reloads_to_equal_predictions(surrogate, tmp_path):
    path = tmp_path / "surrogate.npz"
    surrogate.save(path)
    write_card(path, {})
    loaded = SurrogateAccuracy.load(path, SPACE)
    rows = SPACE.enumerate()
    assert np.array_equal(loaded(rows), surrogate(rows))
    assert np.array_equal(loaded.uncertainty(rows), surrogate.uncertainty(rows))


@given(
    members=st.integers(1, 3),
    hidden=st.sampled_from([4, 8, 20, 32]),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=7),
    count=st.integers(1, 2 * LANES + 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_many_strategies_at_once_are_predicted_as_one_by_one(members, hidden, sizes, count, seed):
    rng, values = np.random.default_rng(seed), max(sizes)
    layers = [(len(sizes) * values, hidden), (hidden + 1, hidden), (hidden + 1,)]
    weights = np.concatenate([rng.normal(size=shape).ravel() for _ in range(members) for shape in layers])
    weights, strategies = weights.astype(np.float32), rng.integers(sizes, size=(count, len(sizes)))
    batch = np.full(count, np.nan)
    predict_batch(weights, members, values, hidden, strategies, batch)
    assert np.array_equal(batch, predict_rows(weights, members, values, hidden, strategies))


def test_damaged_or_foreign_files_are_told(surrogate, tmp_path):
    path = tmp_path / "surrogate.npz"
    surrogate.save(path)
    write_card(path, {})
    with pytest.raises(AssetError, match="fitted for decisions"):
        SurrogateAccuracy.load(path, from_lists({"a": (1, 2)}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AssetError, match="checksum differs"):
        SurrogateAccuracy.load(path, SPACE)
    write_card(path, {})
    with pytest.raises(AssetError, match="not readable as a surrogate"):
        SurrogateAccuracy.load(path, SPACE)


def test_layers_that_do_not_fit_are_told(surrogate):
    with pytest.raises(ValueError, match="layers have shapes"):
        SurrogateAccuracy(SPACE, surrogate.first[:, 1:], surrogate.second, surrogate.last, 1.0, 0.8)
    broken = surrogate.first.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        SurrogateAccuracy(SPACE, broken, surrogate.second, surrogate.last, 1.0, 0.8)


def test_biases_are_part_of_the_first_decision(surrogate):
    """Added once: a network that never saw the other decisions' values still predicts what it was fitted to."""
    flat = fit_surrogate(SPACE, SPACE.enumerate(), np.full(SPACE.count, 0.3), baseline=0.8, settings=QUICK)
    assert flat(SPACE.enumerate()) == pytest.approx(0.3, abs=0.01)


def test_a_number_of_units_that_is_no_multiple_of_four_is_told():
    with pytest.raises(ValueError, match="6 hidden units; a multiple of 4"):
        fit_surrogate(SPACE, SPACE.enumerate(), np.full(SPACE.count, 0.3), 0.8, settings=FitSettings(2, 6, epochs=1))


def test_what_a_fit_sees_of_channels_and_of_bits():
    channels, bits = Decision("a.channels", "channels", (4, 16)), Decision("a.weight_bits", "weight_bits", (2, 4, 8))
    seen = input_features(DecisionSpace((channels, bits)))
    assert seen.shape == (2, 3, 3) and seen.dtype == np.float32
    assert seen[0].tolist() == [[-0.5, -0.5, 0.5], [1, 0.5, -0.25], [0, 0, 0]]
    assert seen[1].tolist() == [[0.75, 1, 1], [0.5, 1 / 4, 1 / 16], [0, 1 / 64, 1 / 4096]]


def test_what_a_fit_sees_of_labels():
    """A column each; the numbers beside them are seen as they are without labels."""
    numbers = Decision("a.channels", "channels", (4, 16))
    labels = Decision("a.pattern", "other", ("dense", "2:4", "block", "none"))
    seen = input_features(DecisionSpace((numbers, labels)))
    assert seen.shape == (2, 4, 4)
    assert np.array_equal(seen[1], np.eye(4))
    assert np.array_equal(seen[0, :2, :3], input_features(DecisionSpace((numbers,)))[0]) and not seen[0, :, 3].any()
    few = Decision("a.pattern", "other", ("dense", "2:4"))
    assert input_features(DecisionSpace((few,)))[0].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_surrogate_of_labels_is_fitted_and_reloads_for_the_same_ones(tmp_path):
    space = from_lists({"a": ("dense", "2:4", "block"), "b": (4, 8)}, {"a": "dense"})
    rows = space.enumerate()
    wanted = np.array([0.9, 0.2, 0.5])[rows[:, 0]] - 0.1 * (rows[:, 1] == 0)
    fitted = fit_surrogate(space, rows, wanted, 0.9, settings=FitSettings(members=2, hidden=8, epochs=300))
    assert np.abs(fitted(rows) - wanted).max() < 0.05
    fitted.save(tmp_path / "s.npz")
    write_card(tmp_path / "s.npz", {})
    assert np.array_equal(SurrogateAccuracy.load(tmp_path / "s.npz", space)(rows), fitted(rows))
    for values in (("2:4", "dense", "block"), (1, 2, 3)):
        with pytest.raises(AssetError, match=r"stored for labels \['dense', '2:4', 'block'\] of 'a', not for"):
            SurrogateAccuracy.load(tmp_path / "s.npz", from_lists({"a": values, "b": (4, 8)}))


def test_a_surrogate_of_fewer_decisions_to_start_from(surrogate):
    """Before it learns, the new one predicts what the old one does, whatever else is decided."""
    larger = from_lists({"a": (4, 8, 12, 16), "w": (2, 4), "b": (8, 16), "x": (2, 3, 5, 8), "c": (4, 8, 16)})
    still = FitSettings(members=3, hidden=8, epochs=1, batch_size=16, lr=1e-12, weight_decay=0.0)
    rows = larger.enumerate()
    old = surrogate(rows[:, [0, 2, 4]])
    begun = fit_surrogate(larger, rows, np.full(len(rows), 0.5), 0.8, settings=still, start=surrogate)
    assert np.abs(begun(rows) - old).max() < 1e-4
    learned = fit_surrogate(larger, rows, (old + rows[:, 1]) / 2, 0.8, settings=QUICK, start=surrogate)
    assert np.abs(learned(rows) - (old + rows[:, 1]) / 2).mean() < 0.05


@pytest.mark.parametrize(
    ("space", "settings", "words"),
    [
        ({"a": (4, 8, 12, 16), "b": (8, 16)}, QUICK, r"start decides c of \[4, 8, 16\]"),
        ({"a": (4, 8, 12, 16), "b": (8, 12), "c": (4, 8, 16)}, QUICK, r"start decides b of \[8, 16\]"),
        ({"a": (4, 8, 12, 16), "b": (8, 16), "c": (4, 8, 16)}, FitSettings(), "3 networks of 8 units, the settings 2"),
    ],
)
def test_a_start_that_does_not_fit_is_named(surrogate, space, settings, words):
    decisions = from_lists(space)
    with pytest.raises(ValueError, match=words):
        fit_surrogate(decisions, decisions.enumerate(), np.full(decisions.count, 0.5), 0.8, 0, settings, surrogate)
