from __future__ import annotations

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.devices import (
    Device,
    Measurement,
    Operation,
    SimulatedDevice,
    TransformerDevice,
    list_devices,
    load_device,
)
from compress_gym.devices import device as device_module
from compress_gym.devices.correction import MixedCorrection, errors_by_task
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.devices.device import TABLES
from compress_gym.devices.operations import COLUMNS, read_operations, write_operations
from compress_gym.kinds import get_case
from compress_gym.problem.network_decisions import BitValues
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import get_task

NAME = "xeon-ort-fp32"
HEADER = ",".join(COLUMNS)
GOOD = "conv,4,8,3,1,1,16,16,32,32,1,10.0,9.0,30"
CALL_ROW = "call,1,1,1,1,1,1,1,32,32,1,2.0,1.9,30"


MIXED = dict.fromkeys((field.name for field in fields(MixedCorrection)), 1.0)


def copy(tmp_path):
    for ending in ("csv", "json"):
        shutil.copy(TABLES / f"{NAME}.{ending}", tmp_path / f"mine.{ending}")
    return tmp_path / "mine.csv"


def own_table(tmp_path, rows, **card):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "own.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    content = {"kind": "cpu", "correction": {"scale": 1.0, "network_us": 3.0}, **card}
    (tmp_path / "own.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", list_devices(Device, shipped=True))
def test_shipped_devices_state_their_error(name):
    card = load_device(name).card
    error = card["stated_error"]
    assert error["median_absolute_error"] <= 0.10
    assert {"hardware", "versions", "command", "date", "statistic", "threads"} <= set(card)
    assert all(m.repetitions >= 30 for m in load_device(name).table.values())


@pytest.mark.parametrize(
    ("name", "median", "most", "tau"),
    [
        ("epyc-milan-ort-fp32", 0.04, 0.10, 0.97),
        # Their order is not known better than that: the halves of the visits have 0.92 (ResNet-56) and 0.76 (torch).
        ("epyc-milan-ort-int8", 0.07, 0.10, 0.95),
        ("epyc-milan-ort-mixed", 0.07, 0.10, 0.90),
        ("epyc-milan-torch-fp32", 0.04, 0.10, 0.88),
    ],
)
def test_sums_of_operations_are_whole_networks(name, median, most, tau):
    for task, error in errors_by_task(load_device(name).card).items():
        assert error["median_absolute_error"] <= median and error["p95_absolute_error"] <= most, task
        assert error["kendall_tau"] >= tau and error["checked_on"].startswith("50 whole networks"), task


def test_a_table_of_ones_own_in_an_environment(tmp_path):
    import gymnasium as gym

    import compress_gym  # noqa: F401

    env = gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", device=str(copy(tmp_path)))
    assert env.reset()[1]["device"] == "mine"


def test_latency_is_corrected(tmp_path):
    device = load_device(own_table(tmp_path, [CALL_ROW, GOOD], correction={"scale": 0.5, "network_us": 3.0}))
    assert device.latency_us(Operation("conv", 4, 8, 3, 1, 1, 16, 16)) == 0.5 * (10.0 - 2.0)
    with pytest.raises(ValueError, match="no measurement of conv 4->9.*compress-gym profile"):
        device.latency_us(Operation("conv", 4, 9, 3, 1, 1, 16, 16))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([CALL_ROW, GOOD, GOOD], "line 4: conv 4->8.*given twice"),
        ([CALL_ROW, GOOD.replace("10.0", "-1")], "line 3: median_us='-1' must be a positive"),
        ([CALL_ROW, GOOD.replace("10.0", "nan")], "line 3: median_us='nan' must be"),
        ([CALL_ROW, GOOD.replace("10.0", "ten")], "line 3: median_us='ten' is not a number"),
        ([CALL_ROW, GOOD.replace("conv,4", "conv,4.5")], "line 3: shapes.*whole numbers"),
        ([CALL_ROW, GOOD.replace("conv", "conf")], "line 3: kind='conf'"),
        ([CALL_ROW, GOOD.replace("9.0", "11.0")], "line 3: p10_us=11.0 is above"),
        ([CALL_ROW, GOOD + ",1"], "line 3: expected 14 values, found 15"),
        ([GOOD], "the empty call .* is missing"),
        ([], "holds no operations"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path, rows, words):
    with pytest.raises(AssetError, match=f"own.csv.*{words}"):
        load_device(own_table(tmp_path, rows))


def test_the_fastest_call_is_what_an_operation_takes(tmp_path):
    path = own_table(tmp_path, [CALL_ROW + ",1.5", GOOD + ",8.5"], correction={"scale": 1.0, "network_us": 0.0})
    median = load_device(own_table(tmp_path / "other", [CALL_ROW, GOOD]))
    path.write_text(path.read_text().replace("repetitions", "repetitions,fastest_us"))
    fastest, operation = load_device(path), Operation("conv", 4, 8, 3, 1, 1, 16, 16)
    assert fastest.latency_us(operation) == 8.5 - 1.5 and median.latency_us(operation) == 10.0 - 2.0
    path.write_text(path.read_text().replace("8.5", "9.5"))
    with pytest.raises(AssetError, match="line 3: fastest_us=9.5 is above p10_us=9.0"):
        load_device(path)


def test_weights_cost_more_inside_a_network(tmp_path):
    own = {"weighted": 1.0, "other": 1.0, "network_us": 0.0}
    paths = [own_table(tmp_path / str(us), [CALL_ROW, GOOD], correction={**own, "weight_kib": us}) for us in (0.0, 0.5)]
    without, with_weights = (load_device(path) for path in paths)
    operation = Operation("conv", 4, 8, 3, 1, 1, 16, 16)
    assert operation.weight_kib == 4 * 8 * 9 * 4 / 1024
    added = with_weights.latency_us(operation) - without.latency_us(operation)
    assert added == pytest.approx(0.5 * operation.weight_kib) and with_weights.digest != without.digest


@pytest.mark.parametrize("task", ["digits-cnn", "cifar10-resnet20"])
def test_on_the_mixed_device_each_layer_has_one_of_two_precisions(task):
    """All layers in 8 bits are faster than all in 32; every change between the two costs something."""
    chosen, device = get_task(task), load_device("epyc-milan-ort-mixed")
    decisions = get_case("JointPQ", chosen).decisions(bits=BitValues((8, 32), paired=True))
    assert device.bit_values == BitValues((8, 32), paired=True)
    terms = network_cost_terms(chosen.network(), decisions, device)
    full = decisions.sizes - 1
    free = np.flatnonzero([d.kind == "precision" and len(d.values) == 2 for d in decisions.decisions])
    quantised, alternating = full.copy(), full.copy()
    quantised[free], alternating[free[::2]] = 0, 0
    in_bytes, in_turns, in_floats = terms.evaluate(np.stack([quantised, alternating, full]))[
        :, terms.column("latency_ms")
    ]
    assert in_bytes < in_floats < in_turns


def test_bad_columns_are_named(tmp_path):
    path = own_table(tmp_path, [GOOD])
    path.write_text(path.read_text().replace("median_us", "median_ms"))
    with pytest.raises(AssetError, match="line 1: expected the columns kind,in_channels"):
        load_device(path)


@pytest.mark.parametrize(
    "card",
    [{"correction": {}}, {"correction": {"scale": "x", "network_us": 1}}, {"kind": "toaster"}]
    + [{"correction": {**MIXED, "weighted8": 0.0}, "precision": "mixed"}, {"correction": MIXED, "precision": "fp32"}]
    + [{"correction": {"scale": 1, "network_us": 1}, "precision": "mixed"}, {"precision": []}, {"batch": 1e999}]
    + [{"correction": {"scale": s, "network_us": n}} for s, n in [(0, 1), (-1, 1), (float("nan"), 1), (1, -1)]],
)
def test_bad_cards_are_named(tmp_path, card):
    with pytest.raises(AssetError, match="own.json"):
        load_device(own_table(tmp_path, [CALL_ROW, GOOD], **card))


def test_a_missing_or_broken_card_is_named(tmp_path):
    path = own_table(tmp_path, [CALL_ROW])
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(AssetError, match="own.json: not readable as JSON"):
        load_device(path)
    (tmp_path / "own.json").unlink()
    with pytest.raises(AssetError, match="own.json: the file is missing.*travels"):
        load_device(path)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b.replace(b"0", b"1", 1), lambda b: b""])
def test_a_changed_table_is_refused(tmp_path, damage):
    path = copy(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(AssetError, match="mine.csv: the checksum differs"):
        load_device(path)


def test_a_shipped_table_needs_its_checksum(tmp_path, monkeypatch):
    path = copy(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    del card["sha256"]
    path.with_suffix(".json").write_text(json.dumps(card))
    assert load_device(path).name == "mine"
    monkeypatch.setattr(device_module, "TABLES", tmp_path)
    with pytest.raises(AssetError, match="the checksum differs"):
        load_device("mine")


def test_devices_are_listed_by_class_and_origin(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPRESS_GYM_DEVICES", raising=False)
    monkeypatch.setenv("COMPRESS_GYM_HOME", str(tmp_path))
    before = list_devices()
    assert before == list_devices(shipped=True)
    assert before == sorted(n for c in (Device, SimulatedDevice, TransformerDevice) for n in list_devices(c))
    (tmp_path / "devices").mkdir()
    copy(tmp_path / "devices")
    assert set(list_devices()) - set(before) == {"mine"} <= set(list_devices(Device))
    assert "mine" not in list_devices(shipped=True) and load_device("mine").table == load_device(NAME).table
    monkeypatch.setenv("COMPRESS_GYM_DEVICES", str(tmp_path))
    assert list_devices() == before


def test_a_table_for_another_network_is_refused(tmp_path):
    import gymnasium as gym

    with pytest.raises(ValueError, match="device='own' has no measurement of conv 1->4"):
        gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", device=str(own_table(tmp_path, [CALL_ROW, GOOD])))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_malformed_tables_never_crash(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "table.csv"
    path.write_bytes(content)
    with pytest.raises(AssetError):
        read_operations(path)


@given(st.data())
def test_damaged_tables_are_refused_or_read_as_numbers(tmp_path_factory, data):
    """One place of a good table is changed: either it is refused, or every time is still a positive number."""
    text = "\n".join([HEADER, CALL_ROW, GOOD]) + "\n"
    place = data.draw(st.integers(0, len(text) - 1))
    path = tmp_path_factory.mktemp("fuzz") / "table.csv"
    path.write_text(text[:place] + data.draw(st.text('0123456789.,-eE+naif_\n"x', max_size=3)) + text[place + 1 :])
    try:
        table = read_operations(path)
    except AssetError as error:
        assert "table.csv" in str(error)
        return
    assert all(0 < m.p10_us <= m.median_us < float("inf") and m.repetitions > 0 for m in table.values())


operations = st.builds(
    Operation,
    st.sampled_from(["conv", "depthwise", "linear", "pool"]),
    *[st.integers(1, 4096)] * 10,
)
times = st.floats(0.01, 1e6).map(lambda t: round(t, 3))


@given(st.dictionaries(operations, st.tuples(times, st.integers(1, 1000)), min_size=1, max_size=8), st.booleans())
def test_tables_survive_a_round_trip(tmp_path_factory, rows, with_fastest):
    table = {o: Measurement(t, t, n, t if with_fastest else None) for o, (t, n) in rows.items()}
    path = tmp_path_factory.mktemp("trip") / "table.csv"
    write_operations(path, table)
    assert read_operations(path) == table


def test_write_card_adds_the_checksum(tmp_path):
    path = own_table(tmp_path, [CALL_ROW, GOOD])
    write_card(path, json.loads((tmp_path / "own.json").read_text()))
    assert len(load_device(path).digest) == 16


def test_a_fallback_is_explicit_and_named(tmp_path):
    import gymnasium as gym

    rows = [CALL_ROW, "pool,8,8,1,1,1,4,4,32,32,1,3.0,2.9,30"]
    outside = Operation("conv", 4, 8, 3, 1, 1, 16, 16)
    with pytest.raises(ValueError, match="no measurement of conv 4->8"):
        load_device(own_table(tmp_path, rows)).latency_us(outside)
    path = own_table(tmp_path, rows, fallback={"macs_per_us": 1000.0, "us": 2.0})
    device = load_device(path)
    assert outside.macs == 8 * 4 * 9 * 256 and device.latency_us(outside) == 2.0 + outside.macs / 1000
    assert (
        device.source(outside) == "analytic"
        and device.source(Operation("pool", 8, 8, in_height=4, in_width=4)) == "measured"
    )
    info = gym.make("compress_gym/ChannelPrune-v0", task="digits-cnn", device=str(path)).reset()[1]
    assert info["analytic_operations"] > 200 and info["device"] == "own"


@pytest.mark.parametrize("fallback", [5, {}, {"macs_per_us": 0}, {"macs_per_us": "fast"}, {"macs_per_us": 1, "us": -1}])
def test_a_damaged_fallback_is_told(tmp_path, fallback):
    with pytest.raises(AssetError, match="own.json: fallback=.* does not fit"):
        load_device(own_table(tmp_path, [CALL_ROW], fallback=fallback))


def test_a_digest_changes_with_every_latency(tmp_path):
    same = [load_device(own_table(tmp_path / name, [CALL_ROW, GOOD])) for name in ("a", "b")]
    corrected = load_device(own_table(tmp_path / "c", [CALL_ROW, GOOD], correction={"scale": 0.9, "network_us": 3.0}))
    measured = load_device(own_table(tmp_path / "d", [CALL_ROW, GOOD.replace("10.0", "10.5")]))
    assert same[0] == same[1] and hash(same[0]) == hash(same[1])
    assert len({same[0].digest, corrected.digest, measured.digest}) == 3
    assert len({same[0], corrected, measured}) == 3
