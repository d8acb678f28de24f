"""Readers of published tables, on small files in each format."""

import builtins
import json
import pickle
import re

import numpy as np
import pytest

from compress_gym.devices import published
from compress_gym.devices.published import (
    ApqLayer,
    ApqTable,
    HaqTable,
    HatTable,
    OfaOperation,
    OfaTable,
    read_published,
)
from compress_gym.devices.published.hat import HAT_FEATURES, HEADER
from compress_gym.support.errors import AssetError
from tests.devices.published_examples import (
    BLOCK,
    GOOD,
    HAT,
    HAT_ROWS,
    YAML,
    haq_array,
    npy,
    write,
    yaml_of,
)


def refused(tmp_path, content, *parts, name="table.txt"):
    path = write(tmp_path, content, name)
    with pytest.raises(AssetError) as caught:
        read_published(path)
    message = str(caught.value)
    for part in (str(path), *parts):
        assert part in message, message


# What fits.


def test_haq_is_indexed_by_layer_and_bits(tmp_path):
    table = read_published(write(tmp_path, GOOD["table.npy"]))
    assert isinstance(table, HaqTable) and table.format == "haq" and len(table) == 3 * 64
    np.testing.assert_array_equal(table.cycles, haq_array())
    row = (
        (table.column("layer") == 2) & (table.column("weight_bits") == 5) & (table.column("activation_bits") == 8)
    ).nonzero()[0]
    assert table.column("latency_cycles")[row] == table.cycles[2, 4, 7] == 1507
    assert table.units["latency_cycles"] == "clock cycles a batch"
    np.testing.assert_allclose(table.latency_ms(clock_mhz=200), haq_array() / 200e3)
    for clock in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="clock_mhz"):
            table.latency_ms(clock)


@pytest.mark.parametrize("dtype", ["<i4", ">i8", "<u2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_haq_of_any_number_type_and_order(tmp_path, dtype, order, version):
    array = np.asarray(haq_array(), dtype=dtype, order=order)
    np.testing.assert_array_equal(
        read_published(write(tmp_path, npy(array, version=version))).column("latency_cycles"), haq_array().ravel()
    )


def test_apq_is_looked_up_by_layer_and_bits(tmp_path):
    table = read_published(write(tmp_path, GOOD["table.dict"]))
    assert isinstance(table, ApqTable) and table.format == "apq"
    assert table.cost((96, 456, 14, 1, 1, 0, 1), 4, 8) == (0.125, 0.25)
    assert table.cost(ApqLayer(456, 456, 14, 3, 2, 1, 456), 4, 4) == (0.03125, 0.0625)
    assert table.end_cost("head") == (2.0, 1.0)
    assert table.layers == (ApqLayer(96, 456, 14, 1, 1, 0, 1), ApqLayer(456, 456, 14, 3, 2, 1, 456))
    assert (table.units["latency_ms"], table.units["energy_mj"]) == ("ms", "mJ")
    assert table.column("weight_bits").tolist() == [4, 8, 4, 0]
    assert {name: array.dtype.kind for name, array in table.columns.items()} == {
        **dict.fromkeys(table.columns, "i"),
        "key": "U",
        "latency_ms": "f",
        "energy_mj": "f",
    }
    with pytest.raises(KeyError, match=re.escape("closest that it has is '(96, 456, 14, 1, 1, 0, 1)-W")):
        table.cost((96, 456, 14, 1, 1, 0, 1), 6, 8)
    with pytest.raises(KeyError, match="tail"):
        table.end_cost("tail")


def test_proxylessnas_expands_by_a_ratio(tmp_path):
    keys = ["Conv-input:224x224x3-output:112x112x32", "Conv_1-input:7x7x320-output:7x7x1280", BLOCK]
    table = read_published(write(tmp_path, yaml_of(keys, count=9, mean=4.5, var=0.0625)))
    assert isinstance(table, OfaTable) and table.format == "proxylessnas"
    assert table.column("mid_channels").tolist() == [0, 0, 72]
    assert table.column("latency_std_ms").tolist() == [0.25] * 3
    assert table.operations[2] == OfaOperation("expanded_conv", (56, 56, 24), (28, 28, 40), 3, 5, 2, False)
    assert table.latency_ms(table.operations[2]) == table.latency_ms(BLOCK) == 4.5
    with pytest.raises(KeyError, match="kernel:5"):
        table.latency_ms(BLOCK.replace("kernel:5", "kernel:7"))


def test_once_for_all_expands_to_channels(tmp_path):
    table = read_published(write(tmp_path, YAML))
    assert table.format == "once-for-all"
    block = table.operations[2]
    assert (block.mid_channels, block.squeeze_excite, block.hard_swish) == (96, True, False)
    assert table.operations[1].output == (1, 1, 1000)
    assert [str(operation) for operation in table.operations] == table.column("key").tolist()
    assert table.column("latency_std_ms").tolist() == [0.25] * 3 and table.units["latency_ms"] == "ms"


def test_yaml_with_means_alone_has_no_columns_of_nothing(tmp_path):
    table = read_published(write(tmp_path, yaml_of([BLOCK], mean="1.5e0")))
    assert table.latency_ms(BLOCK) == 1.5
    assert "count" not in table.columns and set(table.columns) == set(table.units)


def test_hat_has_ten_features_and_times(tmp_path):
    table = read_published(write(tmp_path, GOOD["table.csv"]))
    assert isinstance(table, HatTable) and table.format == "hat"
    assert table.features.shape == (2, len(HAT_FEATURES)) == (2, 10)
    assert table.features[0].tolist() == [640, 6, 2048.5, 6, 512, 3, 1024, 4, 2.5, 1]
    assert table.encoder_ms.tolist() == [10.5, 9.0] and table.decoder_ms.tolist() == [200.25, 100.0]
    assert table.latency_ms.tolist() == [210.75, 109.0]
    assert table.column("decoder_layer_num").dtype == np.int64 and table.units["encoder_std_ms"] == "ms"


@pytest.mark.parametrize("name", GOOD)
def test_content_decides_and_not_the_ending(tmp_path, name):
    expected = read_published(write(tmp_path, GOOD[name], name))
    for other in (*GOOD, "table", "table.NPY"):
        table = read_published(write(tmp_path, GOOD[name], other))
        assert table.format == expected.format and set(table.columns) == set(table.units)
        for column in table.columns:
            np.testing.assert_array_equal(table.column(column), expected.column(column))


def test_the_ending_decides_where_the_content_fits_two(tmp_path):
    both = b'{"Conv-input:2x2x2-output:2x2x2": {"mean": 1.5}} # "latency"'
    assert read_published(write(tmp_path, both, "table.yaml")).format == "proxylessnas"
    refused(tmp_path, both, "line 1", "Extra data", name="table.dict")


def test_byte_order_mark_and_windows_lines(tmp_path):
    for name in ("table.csv", "table.yaml", "table.dict"):
        table = read_published(write(tmp_path, b"\xef\xbb\xbf" + GOOD[name].replace(b"\n", b"\r\n"), name))
        assert len(table) == len(read_published(write(tmp_path, GOOD[name], name)))


def test_columns_are_read_only_and_named(tmp_path):
    table = read_published(str(write(tmp_path, HAT)))
    with pytest.raises(ValueError, match="read-only"):
        table.column("encoder_ms")[0] = 1.0
    with pytest.raises(KeyError, match="encoder_ms"):
        table.column("encoder_mss")
    assert table.description.startswith("HAT")


# What does not.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"some,other,csv\n1,2,3\n", "line 1 names neither"),
        (b'{"a": 1}', "neither a key like"),
        (b"[1, 2]", "does not begin with the {"),
        (b"a: 1\n", "no key like Conv-input"),
        (b"ab\ncd\xff", "line 2, breaks it"),
        (pickle.dumps({"latency": [1.0]}), "nothing is unpickled"),
        (b"PK\x03\x04....", "zip"),
    ],
)
def test_unknown_formats_say_what_was_tried(tmp_path, content, reason):
    refused(tmp_path, content, "HAQ", "APQ", "ProxylessNAS", "once-for-all", "HAT", "magic bytes", reason)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    refused(tmp_path, b"", "empty")
    for path, reason in ((tmp_path / "none.npy", "no such file"), (tmp_path, "not a file"), ("a\0b", "not readable")):
        with pytest.raises(AssetError, match=reason):
            read_published(path)
    monkeypatch.setattr(published, "MAX_BYTES", 100)
    refused(tmp_path, HAT, "larger than 100 bytes")


def with_entry(value, dtype=np.float64):
    array = haq_array().astype(dtype)
    array[1, 2, 4] = value
    return npy(array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300])
def test_haq_numbers_that_are_no_times(tmp_path, value):
    refused(tmp_path, with_entry(value), "[layer 1, 3 weight bits, 5 activation bits]", repr(float(value)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(np.array([{"a": 1}], dtype=object)), "never unpickled"),
        (npy(np.zeros((3, 8, 8), dtype=[("a", object)])), "never unpickled"),
        (npy(np.ones((3, 8, 8), dtype=complex)), "type is complex128"),
        (npy(np.ones((3, 8, 8), dtype=bool)), "type is bool"),
        (npy(np.ones((3, 8, 8), dtype="U4")), "type is <U4"),
        (npy(np.ones((3, 8, 8), dtype="M8[s]")), "type is datetime64[s]"),
        (npy(np.ones((3, 8, 7))), "(3, 8, 7)"),
        (npy(np.ones((8, 8))), "(8, 8)"),
        (npy(np.ones((0, 8, 8))), "(0, 8, 8)"),
        (GOOD["table.npy"][:-1], "1535 bytes follow"),
        (GOOD["table.npy"] + b"x", "1537 bytes follow"),
        (GOOD["table.npy"].replace(b"(3, 8, 8)", b"(9**9,8,8)")[:-1], "header"),
        (GOOD["table.npy"].replace(b"(3, 8, 8), ", b"(999999,8,8"), "header"),
        (GOOD["table.npy"].replace(b"(3, 8, 8), }  ", b"(30000, 8, 8)}"), "1536 bytes follow"),
        (GOOD["table.npy"].replace(b"(3, 8, 8), }  ", b"(-3, 8, 8), } "), "(-3, 8, 8)"),
        (GOOD["table.npy"].replace(b"NUMPY\x01", b"NUMPY\x03"), "version"),
        (GOOD["table.npy"][:8], "header"),
        (b"\x93NUMPY", "header"),
    ],
)
def test_haq_arrays_that_are_no_table(tmp_path, content, reason):
    refused(tmp_path, content, reason)


KEY = "(96, 456, 14, 1, 1, 0, 1)-W4A8"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps({KEY: {"latency": 1.0}}), KEY),
        (json.dumps({KEY: {"latency": 1.0, "energy": 1.0, "x": 1}}), "nothing else"),
        (json.dumps({KEY: [1.0, "latency"]}), "nothing else"),
        (json.dumps({KEY: {"latency": "1.0", "energy": 1.0}}), "latency (ms)='1.0'"),
        (json.dumps({KEY: {"latency": True, "energy": 1.0}}), "latency (ms)=True"),
        (json.dumps({KEY: {"latency": None, "energy": 1.0}}), "latency (ms)=None"),
        (json.dumps({KEY: {"latency": 1.0, "energy": -0.5}}), "energy (mJ)=-0.5"),
        (json.dumps({KEY: {"latency": 0, "energy": 1.0}}), "latency (ms)=0.0"),
        (json.dumps({KEY: {"latency": float("nan"), "energy": 1.0}}), "NaN"),
        (json.dumps({KEY: {"latency": float("-inf"), "energy": 1.0}}), "-Infinity"),
        ('{"KEY": {"latency": 1e999, "energy": 1}}', "not a finite number"),
        ('{"KEY": {"latency": ' + "9" * 400 + ', "energy": 1}}', "not a finite number"),
        ('{"KEY": {"latency": ' + "9" * 5000 + ', "energy": 1}}', "not"),
        ('{"KEY": {"latency": 1, "latency": 2, "energy": 1}}', "each once"),
        ('{"KEY": {"latency": 1, "energy": 1},\n "KEY": {"latency": 1, "energy": 1}}', "given twice"),
        (json.dumps({KEY.replace("96", "096"): {"latency": 1, "energy": 1}}), "expected (in, out"),
        (json.dumps({KEY.replace("96", "-96"): {"latency": 1, "energy": 1}}), "expected (in, out"),
        (json.dumps({KEY.replace(" 14,", ""): {"latency": 1, "energy": 1}}), "expected (in, out"),
        (json.dumps({KEY.replace("14", "0"): {"latency": 1, "energy": 1}}), "only padding may be 0"),
        (json.dumps({KEY.replace("W4", "W0"): {"latency": 1, "energy": 1}}), "1 to 32"),
        (json.dumps({KEY.replace("A8", "A64"): {"latency": 1, "energy": 1}}), "1 to 32"),
        (json.dumps({"body": {"latency": 1, "energy": 1}}), "key 'body'"),
        ('{"KEY": \n {"latency": 1,, "energy": 1}}', "line 2, column 16"),
        ('{"latency": ' + "[" * 100_000, "not readable as JSON"),
        ("{" + '"latency":{' * 100_000, "not readable as JSON"),
    ],
)
def test_apq_tables_that_are_damaged(tmp_path, content, reason):
    refused(tmp_path, content.replace("KEY", KEY), reason)


def test_apq_without_rows(tmp_path):
    refused(tmp_path, '{} "latency"', "Extra data")


def damaged(old, new):
    assert YAML.count(old), old
    return YAML.replace(old, new, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (damaged("1.5", ".nan"), "line 3: mean='.nan'"),
        (damaged("1.5", "-.inf"), "line 3: mean='-.inf'"),
        (damaged("1.5", "-1.5"), "line 3: mean (ms)=-1.5"),
        (damaged("1.5", "0"), "line 3: mean (ms)=0.0"),
        (damaged("1.5", "1e300"), "line 3: mean (ms)=1e+300"),
        (damaged("1.5", "1e999"), "line 3: mean (ms)=inf"),
        (damaged("1.5", "'1.5'"), "line 3: mean="),
        (damaged("1.5", "fast"), "line 3: mean='fast'"),
        (damaged("1.5", "1_5"), "line 3: mean='1_5'"),
        (damaged("1.5", "١"), "line 3: mean='١'"),
        (damaged("1.5", ""), "line 3: mean=''"),
        (damaged("1.5", "[1.5]"), "line 3: expected operation keys"),
        (damaged("1.5", "{a: 1.5}"), "line 3: expected operation keys"),
        (damaged("500", "0"), "line 2: count=0.0"),
        (damaged("500", "1.5"), "line 2: count=1.5"),
        (damaged("0.25", "-1"), "line 4: std (ms)=-1.0"),
        (damaged("std", "mean"), "line 4: mean is given twice"),
        (damaged("std", "p50"), "line 4: 'p50' is not one of"),
        (damaged("std", "var"), "those before have"),
        (damaged("  std: 0.25\n", ""), "line 4: the entry has ['count', 'mean', 'std'], and those before"),
        (YAML.replace("  mean: 1.5\n", ""), "line 1: the entry has ['count', 'std']"),
        (YAML + YAML, "line 13: the key 'Conv-input:224x224x3-output:112x112x24' is given twice, first on line 1"),
        (YAML + yaml_of([BLOCK]), "line 13: some keys have se and hs"),
        (YAML + "---\n" + YAML, "line 14: expected operation keys"),
        (damaged("Conv-", "Convv-"), "Did you mean 'Conv'?"),
        (damaged("112x112x24", "112x112"), "line 1: the key"),
        (damaged("112x112x24", "112"), "the output of Logits is a number"),
        (damaged("output:1000", "output:1x1x1000"), "the output of Logits is a number"),
        (damaged("input:224", "input:0224"), "line 1: the key"),
        (damaged("input:224", "input:-224"), "line 1: the key"),
        (damaged("-kernel:5", ""), "line 9: the key"),
        (damaged("idskip:0", "idskip:2"), "line 9: the key"),
        (damaged("-expand:96-kernel:5-stride:2-idskip:0-se:1-hs:0", ""), "expanded_conv has expand"),
        (damaged("112x112x24", "112x112x24-expand:1-kernel:1-stride:1-idskip:0"), "nothing else has"),
        (damaged("1.5", "!!float 1.5"), "line 3: the tag 'tag:yaml.org,2002:float' is refused"),
        (damaged("1.5", "!!python/object/apply:os.system [ls]"), "line 3: the tag"),
        ("!!python/object/new:os.system [ls]\n", "line 1: the tag"),
        ("!<tag:yaml.org,2002:python/name:os.system> {}\n", "line 1: the tag"),
        (damaged("1.5", "&a 1.5"), "line 3: anchors and aliases"),
        (damaged("1.5", "*a"), "line 3: anchors and aliases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n" + YAML, "line 1: anchors and aliases"),
        (damaged("  count", "\tcount"), "line 2: not readable as YAML"),
        (damaged("1.5", '"\\U99999999"'), "not readable as YAML"),
        (damaged("1.5", "\x07"), "not readable as YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\n" + YAML, "not readable as YAML"),
        ("# Conv-input:1\n", "holds no rows"),
        ("# Conv-input:1\n{}\n", "holds no rows"),
        ('# Conv-input:1\n"": {mean: 1}\n', "line 2: the key is empty"),
        ("- Conv-input:1\n", "line 1: expected operation keys"),
        ("Conv-input:1\n", "line 1: expected operation keys"),
        ("[" * 50_000 + "-input:1", "line 1: expected operation keys"),
        ("{" * 50_000 + "-input:1", "line 1: expected operation keys"),
    ],
)
def test_yaml_tables_that_are_damaged(tmp_path, content, reason):
    refused(tmp_path, content, reason)


def test_yaml_is_bounded_and_needs_pyyaml(tmp_path, monkeypatch):
    path = write(tmp_path, YAML)
    monkeypatch.setattr(published.ofa, "MAX_BYTES", 100)
    refused(tmp_path, YAML, "may have 100")
    monkeypatch.undo()
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "yaml":
            raise ImportError("no module named yaml")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=re.escape("compress_gym[devices]")):
        read_published(path)
    # The other formats do without.
    assert read_published(write(tmp_path, HAT)).format == "hat"


def hat_with(column, value):
    cells = HAT_ROWS[1].split(",")
    cells[HEADER.index(column)] = value
    return "\n".join([",".join(HEADER), HAT_ROWS[0], ",".join(cells)]) + "\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (hat_with("latency_mean_encoder", "nan"), "line 3: latency_mean_encoder='nan'"),
        (hat_with("latency_mean_decoder", "-1"), "line 3: latency_mean_decoder (ms)=-1.0"),
        (hat_with("latency_mean_decoder", "0"), "line 3: latency_mean_decoder (ms)=0.0"),
        (hat_with("latency_mean_decoder", "1e999"), "line 3: latency_mean_decoder (ms)=inf"),
        (hat_with("latency_std_decoder", "-0.5"), "line 3: latency_std_decoder (ms)=-0.5"),
        (hat_with("latency_mean_encoder", ""), "line 3: latency_mean_encoder=''"),
        (hat_with("latency_mean_encoder", '"9"'), "line 3: latency_mean_encoder="),
        (hat_with("latency_mean_encoder", "9" * 50), "line 3: latency_mean_encoder="),
        (hat_with("decoder_layer_num", "1.5"), "line 3: decoder_layer_num=1.5 must be a whole number"),
        (hat_with("encoder_embed_dim", "-512"), "line 3: encoder_embed_dim=-512.0"),
        (hat_with("decoder_ffn_embed_dim_avg", "0"), "line 3: decoder_ffn_embed_dim_avg=0.0"),
        (HAT.replace("latency_mean_encoder", "latency_mean_encoder_us"), "line 1: expected the columns"),
        (HAT.replace("encoder_layer_num,", "", 1), "line 1: expected the columns"),
        (HAT + "1,2\n", "line 4: expected 14 values, found 2"),
        (HAT + "\n", "line 4: expected 14 values, found 1"),
        (HAT + HAT_ROWS[0] + "\n", "line 4: the row is the same as that of line 2"),
        (",".join(HEADER) + "\n", "holds no rows"),
    ],
)
def test_hat_tables_that_are_damaged(tmp_path, content, reason):
    refused(tmp_path, content, reason)


def test_hat_networks_may_share_their_features(tmp_path):
    assert len(read_published(write(tmp_path, hat_with("latency_mean_encoder", "9.5") + HAT_ROWS[1] + "\n"))) == 3
