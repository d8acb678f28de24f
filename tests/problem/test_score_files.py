"""Files of scores: those of numbers stay as they were, those of labels are for these labels alone."""

from __future__ import annotations

import numpy as np
import pytest

from compress_gym.kinds import get_case
from compress_gym.problem.decisions import from_lists
from compress_gym.problem.scores import MeasuredAccuracy, measured
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError

LABELS = from_lists({"a": ("dense", "2:4"), "b": (4, 8, 16)}, {"a": "dense"})
OTHERS = [("2:4", "dense"), ("dense", "block"), (1, 2), ("1", "2")]


def of(values):
    return from_lists({"a": values, "b": (4, 8, 16)})


def test_shipped_files_are_written_again_byte_for_byte(tmp_path):
    for name, file in (("digits-cnn", "measured.npz"), ("cifar10-plain20", "strategies.npz")):
        case = get_case("ChannelPrune", name)
        decisions, path = case.decisions(), case.task.folder / file
        if file == "measured.npz":
            with np.load(path) as stored:
                columns = stored["correct"], int(stored["images"]), int(stored["baseline_correct"])
            measured.save(tmp_path / file, decisions, *columns)
        else:
            MeasuredStrategies.load(path, decisions).save(tmp_path / file, decisions)
        assert (tmp_path / file).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("others", OTHERS)
def test_a_measured_table_is_of_its_labels_alone(others, tmp_path):
    path = tmp_path / "measured.npz"
    measured.save(path, LABELS, np.arange(6), images=10, baseline_correct=9)
    write_card(path, {"what": "test"})
    loaded = MeasuredAccuracy.load(path, LABELS)
    assert loaded(LABELS.enumerate()).tolist() == [n / 10 for n in range(6)] and loaded.baseline == 0.9
    with pytest.raises(AssetError, match="measured for decisions|stored for labels"):
        MeasuredAccuracy.load(path, of(others))
    few = from_lists({"a": ("2:4",), "b": (8, 16)})
    assert loaded.restricted(few)(few.enumerate()).tolist() == [0.4, 0.5]
    with pytest.raises(ValueError, match=r"a can be \['block'\]"):
        loaded.restricted(of(("dense", "block")))


@pytest.mark.parametrize("others", OTHERS)
def test_measured_strategies_are_of_their_labels_alone(others, tmp_path):
    path, rows = tmp_path / "strategies.npz", LABELS.enumerate()
    made = MeasuredStrategies(rows, np.zeros(6, dtype=np.int64), {}, np.ones((6, 2), dtype=np.int64), 10, 9)
    made.save(path, LABELS)
    write_card(path, {})
    assert np.array_equal(MeasuredStrategies.load(path, LABELS).strategies, rows)
    with pytest.raises(AssetError, match=r"stored for labels \['dense', '2:4'\] of 'a', not for"):
        MeasuredStrategies.load(path, of(others))
    made.save(path, of((1, 2)))
    write_card(path, {})
    with pytest.raises(AssetError, match=r"stored for labels \[\] of 'a', not for \['dense', '2:4'\]"):
        MeasuredStrategies.load(path, LABELS)
