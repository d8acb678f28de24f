from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.problem.decisions import Decision, DecisionSpace, from_lists
from compress_gym.problem.network_decisions import channel_values
from tests.helpers import random_problem, seeds


@given(seeds)
def test_strategies_are_numbered_in_the_order_of_enumerate(seed):
    space = random_problem(seed).decisions
    rows = space.enumerate()
    assert (space.index(rows) == np.arange(space.count)).all()
    assert len(np.unique(rows, axis=0)) == space.count


@given(seeds, st.booleans())
def test_describe_and_encode_are_inverse(seed, labels):
    space = random_problem(seed, labels=labels).decisions
    strategy = np.random.default_rng(seed).integers(space.sizes)
    assert (space.encode(space.describe(strategy)) == strategy).all()


@given(st.integers(1, 512), st.integers(1, 16))
def test_channel_values_are_ascending_and_end_whole(channels, levels):
    values = channel_values(channels, levels)
    assert values[-1] == channels and 1 <= len(values) <= levels
    assert list(values) == sorted(set(values))
    assert all(v % 4 == 0 or v == channels for v in values)


@given(seeds, st.booleans())
def test_inactive_decisions_have_choice_0(seed, labels):
    space = random_problem(seed, conditional=True, labels=labels).decisions
    rows = np.random.default_rng(seed).integers(space.sizes, size=(20, len(space)))
    kept, active = space.check(rows), space.active(rows)
    assert (kept[~active] == 0).all() and (kept[active] == rows[active]).all()
    assert (space.check(kept) == kept).all() and (space.active(kept) == active).all()
    drawn = space.spread(np.random.default_rng(seed), 5)
    assert (space.check(drawn) == drawn).all()


@pytest.mark.parametrize(
    ("requires", "words"),
    [(("c", 2), "requires 'c', which is no earlier"), (("a", 3), "at least 3"), (("a", 1), r"at least 1; .*\[2\]")],
)
def test_requirements_that_say_nothing_are_refused(requires, words):
    with pytest.raises(ValueError, match=words):
        DecisionSpace((Decision("a", "other", (1, 2)), Decision("b", "other", (1, 2), requires=requires)))


SPACE = from_lists({"a": (1, 2), "b": (4, 8, 16)})


@pytest.mark.parametrize(
    ("strategies", "words"),
    [
        ([[0, 0, 0]], r"shape \(1, 3\).*\[N, 2\]"),
        ([[0.0, 1.0]], "dtype float64"),
        ([[0, 3]], r"strategies\[0, 1\]=3.*'b'.*3 values"),
        ([[-1, 0]], r"strategies\[0, 0\]=-1"),
    ],
)
def test_illegal_strategies_are_named(strategies, words):
    with pytest.raises(ValueError, match=words):
        SPACE.check(strategies)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"a": 1}, "missing decisions.*'b'"), ({"a": 1, "b": 4, "c": 1}, "unknown.*'c'"), ({"a": 3, "b": 4}, "a=3")],
)
def test_illegal_descriptions_are_named(values, words):
    with pytest.raises(ValueError, match=words):
        SPACE.encode(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((), "1 to 16 ascending"),
        ((2, 1), "ascending"),
        ((1, 1), "ascending"),
        (tuple(range(17)), "1 to 16 ascending"),
        ((1, 2.5), "ascending whole numbers, or labels"),
        ((False, True), "ascending whole numbers, or labels"),
        ((1, "dense"), "all whole numbers or all labels, not both"),
        (("dense", "2:4", "dense"), "each of them once"),
        (("dense", ""), "not empty"),
    ],
)
def test_illegal_values_are_refused(values, words):
    with pytest.raises(ValueError, match=f"decision 'a': values=.* must be .*{words}"):
        Decision("a", "other", values)


def test_labels_where_numbers_are_needed_are_refused():
    with pytest.raises(ValueError, match=r"values=\('few', 'all'\) must be ascending numbers: .* 'channels' has no"):
        Decision("a", "channels", ("few", "all"))
    with pytest.raises(ValueError, match=r"'a' has the labels \['few', 'all'\] where numbers are needed"):
        Decision("a", "other", ("few", "all")).numbers  # noqa: B018
    assert Decision("a", "other", (1, 2)).numbers == (1, 2)


def test_the_reference_is_a_value_and_by_default_the_last():
    assert Decision("a", "other", ("few", "all", "more")).reference_choice == 2
    assert Decision("a", "other", ("few", "all", "more"), reference="all").reference_choice == 1
    with pytest.raises(ValueError, match=r"decision 'a': reference='al' is not one of its values, \['few', 'all'\]"):
        Decision("a", "other", ("few", "all"), reference="al")
    with pytest.raises(ValueError, match="reference='2' is not one of its values"):
        Decision("a", "other", (1, 2), reference="2")


def test_values_of_arrays_become_pythons_own():
    space = from_lists({"a": np.array([1, 2]), "b": np.array(["x", "y"])}, {"a": np.int64(1)})
    assert json.dumps(space.describe([1, 0])) == '{"a": 2, "b": "x"}'
    assert space.uncompressed.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"decisions\['a'\]='dense' must list values"):
        from_lists({"a": "dense"})


def test_a_label_is_required_with_those_listed_after_it():
    pattern = Decision("pattern", "other", ("dense", "2:4", "block"), reference="dense")
    space = DecisionSpace((pattern, Decision("size", "other", (4, 8), requires=("pattern", "2:4"))))
    assert space.check([[0, 1], [1, 1], [2, 1]]).tolist() == [[0, 0], [1, 1], [2, 1]]
    assert space.uncompressed.tolist() == [0, 0]
    space.uncompressed[:] = 1
    assert space.uncompressed.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"at least 'dense'; that must be one of its values but the first, \['2:4'"):
        DecisionSpace((pattern, Decision("size", "other", (4, 8), requires=("pattern", "dense"))))


def test_names_are_unique():
    with pytest.raises(ValueError, match="unique"):
        DecisionSpace((Decision("a", "other", (1,)), Decision("a", "other", (1,))))


@pytest.mark.parametrize("spoil", [np.asfortranarray, lambda rows: rows[:, ::-1], lambda rows: rows.astype(np.uint8)])
def test_kernels_see_arrays_of_one_kind(spoil):
    """Whatever is given: contiguous, writable int64; other kinds would be compiled for anew."""
    rows = spoil(np.array([[0, 1], [1, 0]]))
    rows.flags.writeable = False
    checked = from_lists({"a": (1, 2), "b": (1, 2)}).check(rows)
    assert checked.dtype == np.int64 and checked.flags.c_contiguous and checked.flags.writeable
    assert np.array_equal(checked, rows)
