"""Damaged tables: a table of finite numbers, or a clear refusal; never another exception, never a silent NaN."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress_gym.devices.published import (
    OfaOperation,
    read_published,
)
from compress_gym.devices.published.ofa import parse_key
from compress_gym.support.errors import AssetError
from tests.devices.published_examples import GOOD, npy


def survives(path, content):
    path.write_bytes(content)
    try:
        table = read_published(path)
    except AssetError as error:
        assert str(path) in str(error) and len(str(error)) < 1500
        return
    assert len(table) > 0 and set(table.columns) == set(table.units)
    for name, array in table.columns.items():
        assert len(array) == len(table) and array.dtype.kind in "ifU", name
        if array.dtype.kind != "U":
            assert np.isfinite(array).all() and (array >= 0).all(), name
    times = [name for name in table.columns if name.endswith(("_ms", "_mj", "_cycles")) and "_std_" not in name]
    assert times and all((table.columns[name] > 0).all() for name in times)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "table"


edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=0, max_size=6)), min_size=1, max_size=4
)


@settings(max_examples=400)
@given(name=st.sampled_from(sorted(GOOD)), edits=edits)
def test_mutated_bytes(fuzzed, name, edits):
    content = GOOD[name]
    for where, removed, inserted in edits:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + removed :]
    survives(fuzzed, content)


@settings(max_examples=200)
@given(name=st.sampled_from(sorted(GOOD)), edits=edits)
def test_mutated_first_bytes(fuzzed, name, edits):
    """Headers: where a few bytes decide about types, shapes and memory."""
    content = GOOD[name]
    for where, removed, inserted in edits:
        at = int(where * 128)
        content = content[:at] + inserted + content[at + removed :]
    survives(fuzzed, content)


@settings(max_examples=100)
@given(
    content=st.binary(max_size=200), start=st.sampled_from([b"", b"\x93NUMPY\x01\x00v\x00", b'{"latency"', b"-input:1"])
)
def test_arbitrary_bytes(fuzzed, content, start):
    survives(fuzzed, start + content)


odd = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.text(max_size=8),
    st.sampled_from(
        ["nan", "-0", "1e400", "0x10", "1_0", "null", "~", "true", "!!int 3", "&a", "*a", "[", "{}", "<<", ""]
    ),
)


@settings(max_examples=400)
@given(name=st.sampled_from(["table.dict", "table.yaml", "table.csv"]), data=st.data())
def test_mutated_rows(fuzzed, name, data):
    """Cells replaced, rows dropped, doubled and swapped."""
    parts = re.split(r"([,:\n])", GOOD[name].decode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts) - 1))
        parts[at : at + 1] = data.draw(st.sampled_from([[], [parts[at]] * 2, [data.draw(odd)]]))
    lines = "".join(parts).split("\n")
    if data.draw(st.booleans()):
        lines = data.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=len(lines) + 2))
    survives(fuzzed, "\n".join(lines).encode("utf-8", "surrogatepass"))


@settings(max_examples=100)
@given(
    shape=st.lists(st.integers(0, 9), max_size=4),
    dtype=st.sampled_from(["<f8", "<f4", "<f2", "<i8", "<u8", ">i2", "?", "<c8", "S3", "<M8[D]"]),
    seed=st.integers(0, 99),
)
def test_arrays_of_any_bytes(fuzzed, shape, dtype, seed):
    """Every bit pattern a float may have, among them NaNs, infinities and subnormals."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    array = np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)
    survives(fuzzed, npy(array))


sides = st.tuples(*[st.integers(1, 999_999)] * 3)


@given(
    kind=st.sampled_from(["Conv", "AvgPool2D", "Logits"]),
    input=sides,
    output=sides,
    block=st.none() | st.tuples(*[st.integers(1, 9999)] * 3, st.booleans()),
    flags=st.none() | st.tuples(st.booleans(), st.booleans()),
)
def test_operation_keys_round_trip(kind, input, output, block, flags):
    if block:
        operation = OfaOperation("expanded_conv", input, output, *block, *(flags or ()))
    else:
        operation = OfaOperation(kind, input, (1, 1, output[2]) if kind == "Logits" else output)
    assert parse_key(str(operation)) == operation
