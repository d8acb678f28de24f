"""Score columns: what was measured or is predicted of a compressed network beside its accuracy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress_gym.making.additive import fit_additive
from compress_gym.problem.decisions import from_lists
from compress_gym.problem.scores import MeasuredAccuracy, measured
from compress_gym.problem.scores.model import columns_of, scores_of
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.support.cards import write_arrays, write_card
from compress_gym.support.errors import AssetError

SPACE = from_lists({"a": (4, 8, 12), "b": (8, 16)})
FEW = from_lists({"a": (4, 12), "b": (8, 16)})
ROWS = SPACE.enumerate()
ACCURACIES, LOSSES = np.linspace(0.1, 0.9, 6), np.linspace(2.5, 0.2, 6)
BOTH = ("accuracy", "valid_loss")


def stored(path, write, *arguments):
    """Writes a file and a card that goes with it."""
    write(path, *arguments)
    write_card(path, {"what": "test"})
    return path


def changed(path, **arrays):
    """Writes a file anew with other arrays; `None` leaves one out."""
    with np.load(path) as file:
        whole = {**file, **arrays}
    return stored(path, lambda p: write_arrays(p, **{k: v for k, v in whole.items() if v is not None}))


@pytest.mark.parametrize("counted", [True, False])
def test_a_measured_table_has_its_columns(counted, tmp_path):
    path = tmp_path / "measured.npz"
    if counted:
        correct = (10 * ACCURACIES).round().astype(np.int64)
        stored(path, measured.save, SPACE, correct, 10, 9, {"valid_loss": LOSSES})
        accuracies = correct / 10
    else:
        stored(path, measured.save_columns, SPACE, {"accuracy": ACCURACIES, "valid_loss": LOSSES}, 0.9)
        accuracies = ACCURACIES
    table = MeasuredAccuracy.load(path, SPACE)
    assert table.columns == columns_of(table) == BOTH and table.baseline == 0.9
    found = scores_of(table, ROWS[::-1], BOTH)
    assert np.array_equal(found["accuracy"], accuracies[::-1]) and np.array_equal(found["valid_loss"], LOSSES[::-1])
    assert np.array_equal(table(ROWS), accuracies) and list(table.scores(ROWS, ("valid_loss",))) == ["valid_loss"]
    part, kept = table.restricted(FEW), [0, 1, 4, 5]
    assert part.columns == BOTH and np.array_equal(part(FEW.enumerate()), accuracies[kept])
    assert np.array_equal(part.scores(FEW.enumerate(), BOTH)["valid_loss"], LOSSES[kept])


def test_a_table_of_accuracies_alone_has_one_column(tmp_path):
    path = stored(tmp_path / "measured.npz", measured.save_columns, SPACE, {"accuracy": ACCURACIES}, 0.9)
    table = MeasuredAccuracy.load(path, SPACE)
    assert table.columns == ("accuracy",) and list(scores_of(table, ROWS, ("accuracy",))) == ["accuracy"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"accuracy": None}, "not readable as a measured table"),
        ({"baseline": None}, "not readable as a measured table"),
        ({"accuracy": ACCURACIES + 1}, "accuracies that are not within 0 and 1"),
        ({"accuracy": np.full(6, np.nan)}, "accuracies that are not within 0 and 1"),
        ({"accuracy": ACCURACIES[:5]}, r"table has shape \(5,\); expected \[6\]"),
        ({"valid_loss": LOSSES[:4]}, r"column 'valid_loss' has shape \(4,\); expected \[6\]"),
        ({"valid_loss": np.array(["low"] * 6)}, "not readable as a measured table"),
    ],
)
def test_damaged_tables_are_told(arrays, words, tmp_path):
    columns = {"accuracy": ACCURACIES, "valid_loss": LOSSES}
    path = changed(stored(tmp_path / "measured.npz", measured.save_columns, SPACE, columns, 0.9), **arrays)
    with pytest.raises(AssetError, match=f"measured.npz: .*{words}"):
        MeasuredAccuracy.load(path, SPACE)


@pytest.mark.parametrize("rounds", [[0] * 6, [0, 0, 0, 0, 1, 2]])
def test_measured_strategies_have_columns_where_nothing_is_counted(rounds, tmp_path):
    """Some were not scored in a column that is costly."""
    accuracies = np.where(np.arange(6) < 4, ACCURACIES, np.nan)
    made = MeasuredStrategies(ROWS, np.array(rounds), {"accuracy": accuracies, "valid_loss": LOSSES})
    loaded = MeasuredStrategies.load(stored(tmp_path / "strategies.npz", made.save, SPACE), SPACE)
    for read in (made, loaded):
        assert np.array_equal(read.accuracy, accuracies, equal_nan=True) and read.rounds.tolist() == rounds
        assert read.scored().tolist() == [True] * 4 + [False] * 2 and read.scored("valid_loss").all()
        assert np.array_equal(read.column("valid_loss"), LOSSES)
        assert np.array_equal(read.column("accuracy"), read.accuracy, equal_nan=True)
        assert read.halves is None and read.correct is None and read.probes == () and not len(read.probe_rows)


def test_measured_strategies_have_columns_beside_counts(tmp_path):
    correct = np.stack([np.arange(6), np.arange(6) + 1], axis=1)
    made = MeasuredStrategies(ROWS, np.zeros(6, dtype=np.int64), {"valid_loss": LOSSES}, correct, 15, 14)
    probed = replace(made, probes=("none",), probe_rows=np.array([2, 4]), probe_correct=np.ones((2, 1, 2), np.int64))
    for read in (made, probed):
        loaded = MeasuredStrategies.load(stored(tmp_path / "strategies.npz", read.save, SPACE), SPACE)
        assert np.array_equal(loaded.accuracy, correct.sum(1) / 15) and np.array_equal(loaded.halves, correct / [8, 7])
        assert np.array_equal(loaded.column("valid_loss"), LOSSES) and loaded.scored().all()
        assert (loaded.images, loaded.baseline_correct, loaded.probes) == (15, 14, read.probes)
        assert np.array_equal(loaded.probe_correct, read.probe_correct)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"accuracy": None}, "holds no accuracies"),
        ({"valid_loss": LOSSES[:4]}, r"6 strategies with columns of shapes .*\(4,\)"),
        ({"strategies": None}, "not readable as measured strategies"),
        ({"strategies": ROWS[:4].astype(np.uint8)}, "4 strategies with columns of shapes"),
        ({"sizes": np.array([3, 3])}, "measured for decisions"),
        ({"correct": np.zeros((6, 2))}, "not readable as measured strategies"),
    ],
)
def test_damaged_strategies_are_told(arrays, words, tmp_path):
    made = MeasuredStrategies(ROWS, np.zeros(6, dtype=np.int64), {"accuracy": ACCURACIES, "valid_loss": LOSSES})
    path = changed(stored(tmp_path / "strategies.npz", made.save, SPACE), **arrays)
    with pytest.raises(AssetError, match=f"strategies.npz: .*{words}"):
        MeasuredStrategies.load(path, SPACE)
    path.write_bytes(path.read_bytes()[:40])
    write_card(path, {})
    with pytest.raises(AssetError, match="strategies.npz: not readable as measured strategies"):
        MeasuredStrategies.load(path, SPACE)


def test_a_surrogate_predicts_further_columns_through_their_links(tmp_path):
    accuracy, of_loss = (fit_additive(SPACE, ROWS, targets, 0.9) for targets in (ACCURACIES, np.exp(-LOSSES)))
    others = {"valid_loss": ("exp(-x)", of_loss), "worst": ("x", accuracy)}
    path = stored(tmp_path / "surrogate.npz", accuracy.save)
    for both in (replace(accuracy, others=others), SurrogateAccuracy.load(path, SPACE, others)):
        assert both.columns == (*BOTH, "worst")
        found = scores_of(both, ROWS, both.columns)
        assert np.array_equal(found["accuracy"], accuracy(ROWS)) and np.array_equal(found["worst"], accuracy(ROWS))
        assert np.array_equal(found["valid_loss"], -np.log(of_loss(ROWS)))
        assert np.corrcoef(found["valid_loss"], LOSSES)[0, 1] > 0.9
        part, kept = both.restricted(FEW), [0, 1, 4, 5]
        restricted = part.scores(FEW.enumerate(), part.columns)
        assert all(np.allclose(restricted[name], column[kept], rtol=1e-6) for name, column in found.items())
    assert accuracy.columns == ("accuracy",)
