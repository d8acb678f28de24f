"""Look-up tables of ProxylessNAS and once-for-all: YAML, an operation key to its time.

    expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0:
      count: 156
      mean: 5.5
      var: 0.1

Shapes are height x width x channels. `mean` is in ms (the latencies published for networks are sums of these), `count`
the measurements. ProxylessNAS (`search/utils/latency_estimator.py`) has `var` in ms^2, and `expand` is the ratio by
which a block widens. Once-for-all (`ofa/tutorial/latency_table.py`, one file a resolution) has `std` in ms, keys that
go on with `-se:0-hs:0` (squeeze-and-excitation, hard swish), and `expand` is the number of channels within the block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compress_gym.devices.published.table import PublishedTable, column_places, in_range, number, shown, whole
from compress_gym.support.errors import AssetError, needing, unknown_name

BLOCK = "expanded_conv"
ROW_KINDS = ("Conv", "Conv_1", "Conv_2", "AvgPool2D", "Logits", BLOCK)
# PyYAML reads about half a megabyte a second; a published file has 15 kB.
MAX_BYTES = 2 * 2**20
UNITS = {
    "key": "",
    "kind": "",
    "in_height": "pixels",
    "in_width": "pixels",
    "in_channels": "channels",
    "out_height": "pixels",
    "out_width": "pixels",
    "out_channels": "channels",
    "mid_channels": "channels",
    "kernel": "pixels",
    "stride": "pixels",
    "skip": "0 or 1",
    "squeeze_excite": "0 or 1",
    "hard_swish": "0 or 1",
    "latency_ms": "ms",
    "count": "measurements",
    "latency_std_ms": "ms",
}

_SIDE = "([1-9][0-9]{0,5})"
_SHAPE = f"{_SIDE}x{_SIDE}x{_SIDE}"
_KEY = re.compile(
    rf"([A-Za-z0-9_]{{1,32}})-input:{_SHAPE}-output:(?:{_SHAPE}|{_SIDE})"
    rf"(?:-expand:{_SIDE}-kernel:{_SIDE}-stride:{_SIDE}-idskip:([01])(?:-se:([01])-hs:([01]))?)?"
)
_HINT = re.compile(r"-input:[0-9]|!!?python|tag:yaml\.org")
_EXAMPLE = "Conv-input:224x224x3-output:112x112x32"
_FIELDS = ({"mean"}, {"mean", "count"}, {"mean", "std", "count"}, {"mean", "var", "count"})


@dataclass(frozen=True)
class OfaOperation:
    """An operation as the keys name it; `str` gives the key again.

    Attributes:
        kind: One of `ROW_KINDS`: `expanded_conv` is a mobile inverted residual block, `Logits` the classifier.
        input: Height and width in pixels, and channels, of the input.
        output: The same of the output; the classifier's height and width are 1.
        expand: A block's `expand` as published: a ratio (ProxylessNAS) or channels (once-for-all), or None.
        kernel: A block's kernel in pixels, or None.
        stride: A block's stride in pixels, or None.
        skip: Whether the block has a residual connection, or None.
        squeeze_excite: Whether the block has squeeze-and-excitation; None where the key does not say (ProxylessNAS).
        hard_swish: Whether the block's activation is hard swish; None where the key does not say.
    """

    kind: str
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    expand: int | None = None
    kernel: int | None = None
    stride: int | None = None
    skip: bool | None = None
    squeeze_excite: bool | None = None
    hard_swish: bool | None = None

    @property
    def mid_channels(self) -> int | None:
        """Channels within a block; None without a block."""
        if self.expand is None:
            return None
        return self.expand * self.input[2] if self.squeeze_excite is None else self.expand

    def __str__(self) -> str:
        """Returns the published key."""
        output = (self.output[2],) if self.kind == "Logits" else self.output
        key = f"{self.kind}-input:{'x'.join(map(str, self.input))}-output:{'x'.join(map(str, output))}"
        if self.skip is not None:
            key += f"-expand:{self.expand}-kernel:{self.kernel}-stride:{self.stride}-idskip:{self.skip:d}"
        if self.squeeze_excite is not None:
            key += f"-se:{self.squeeze_excite:d}-hs:{self.hard_swish:d}"
        return key


class OfaTable(PublishedTable):
    """Times of operations. A column that an operation's key has nothing for is 0 in its row."""

    @cached_property
    def operations(self) -> tuple[OfaOperation, ...]:
        """The operations, in the rows' order."""
        return tuple(parse_key(key) for key in self.columns["key"].tolist())

    def latency_ms(self, operation: OfaOperation | str) -> float:
        """Returns an operation's mean time in ms.

        Args:
            operation: The operation, or its key.

        Raises:
            KeyError: The table does not have it.
        """
        return float(self.columns["latency_ms"][self.row_of("operation", str(operation))])


def parse_key(key: str) -> OfaOperation:
    """Parses an operation key.

    Raises:
        ValueError: It is not one. The message says what is wrong.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"the key {shown(key)} is not KIND-input:HxWxC-output:HxWxC, as in {_EXAMPLE!r}, or a block's")
    kind = match[1]
    if kind not in ROW_KINDS:
        raise ValueError(str(unknown_name("kind", kind, ROW_KINDS).args[0]))
    if (match[9] is not None) != (kind == BLOCK):
        raise ValueError(f"{BLOCK} has expand, kernel, stride and idskip, and nothing else has: {shown(key)}")
    if (match[8] is not None) != (kind == "Logits"):
        raise ValueError(f"the output of Logits is a number, and of all else HxWxC: {shown(key)}")
    output = (1, 1, int(match[8])) if kind == "Logits" else (int(match[5]), int(match[6]), int(match[7]))
    expand, kernel, stride = (None if size is None else int(size) for size in match.group(9, 10, 11))
    skip, squeeze_excite, hard_swish = (None if flag is None else flag == "1" for flag in match.group(12, 13, 14))
    inputs = (int(match[2]), int(match[3]), int(match[4]))
    return OfaOperation(kind, inputs, output, expand, kernel, stride, skip, squeeze_excite, hard_swish)


def mismatch(data: bytes, text: str | None) -> str | None:
    """Returns why the content is not ProxylessNAS's or once-for-all's, or None where it may be."""
    if text is None:
        return "it is not UTF-8 text"
    return None if _HINT.search(text) else f"it has no key like {_EXAMPLE}"


def read(path: Path, data: bytes) -> OfaTable:
    """Reads the YAML file without constructing anything from it.

    Raises:
        AssetError: It is no such YAML, a key is malformed or given twice, or a number is no time.
        ImportError: PyYAML is not installed.
    """
    if len(data) > MAX_BYTES:
        raise AssetError(f"{path}: {len(data)} bytes; a YAML table may have {MAX_BYTES}")
    lines: dict[str, int] = {}
    rows: list[tuple[Any, ...]] = []
    names: set[str] = set()
    has_flags: bool | None = None
    for line, key, fields in _entries(path, data.decode("utf-8-sig")):
        try:
            operation = parse_key(key)
            if key in lines:
                raise ValueError(f"the key {shown(key)} is given twice, first on line {lines[key]}")
            if rows and set(fields) != names:
                raise ValueError(f"the entry has {sorted(fields)}, and those before have {sorted(names)}")
            if operation.kind == BLOCK:
                flags = operation.squeeze_excite is not None
                if has_flags not in (None, flags):
                    raise ValueError(f"some keys have se and hs and others not, so expand is ambiguous: {shown(key)}")
                has_flags = flags
            rows.append(_row(operation, fields))
        except ValueError as error:
            raise AssetError(f"{path}, line {line}: {error}") from error
        lines[key], names = line, set(fields)
    columns = tuple(UNITS)[: len(rows[0]) if rows else 0]  # The last two only where the file has them.
    name = "once-for-all" if has_flags else "proxylessnas"
    return OfaTable(
        path,
        name,
        f"{name}: mean times of the operations of a network family, measured on a device that the file does not name.",
        column_places(path, columns, rows),
        {column: UNITS[column] for column in columns},
    )


def _row(operation: OfaOperation, fields: dict[str, float]) -> tuple[Any, ...]:
    if set(fields) not in _FIELDS:
        raise ValueError(f"the entry has {sorted(fields)}; expected mean, count, and std or var")
    row: list[Any] = [str(operation), operation.kind, *operation.input, *operation.output]
    o = operation
    row += [int(v or 0) for v in (o.mid_channels, o.kernel, o.stride, o.skip, o.squeeze_excite, o.hard_swish)]
    row.append(fields["mean"])
    if "count" in fields:
        row.append(int(fields["count"]))
    if "std" in fields:
        row.append(fields["std"])
    if "var" in fields:
        row.append(math.sqrt(fields["var"]))
    return tuple(row)


def _value(field: str, text: str) -> float:
    value = number(field, text)
    if field == "count":
        return whole(field, value)
    return in_range(f"{field} ({'ms^2' if field == 'var' else 'ms'})", value, zero=field != "mean")


def _entries(path: Path, text: str) -> Iterator[tuple[int, str, dict[str, float]]]:
    """Yields line, key and fields of each entry, from the parser's events alone."""
    depth, line, key, field = 0, 0, "", ""  # Depth 1 is the mapping of keys, 2 an entry's fields, 3 the file's end.
    fields: dict[str, float] = {}
    for event, at, value, plain in _events(path, text):
        if event == "MappingStart" and depth == (1 if key else 0):
            depth, fields = depth + 1, {}
        elif event == "MappingEnd" and depth == 2:
            yield line, key, fields
            depth, key = 1, ""
        elif event == "MappingEnd":
            depth = 3
        elif event == "Scalar" and depth == 1 and not key:
            line, key = at, value
            if not key:
                raise AssetError(f"{path}, line {at}: the key is empty")
        elif event == "Scalar" and depth == 2 and not field:
            field = value
            if field not in ("mean", "count", "std", "var"):
                raise AssetError(f"{path}, line {at}: {shown(field)} is not one of mean, count, std, var")
            if field in fields:
                raise AssetError(f"{path}, line {at}: {field} is given twice under {shown(key)}")
        elif event == "Scalar" and depth == 2:
            try:
                # To YAML a quoted number is a string.
                fields[field] = _value(field, value if plain else repr(value))
            except ValueError as error:
                raise AssetError(f"{path}, line {at}: {error}") from error
            field = ""
        else:
            raise AssetError(f"{path}, line {at}: expected operation keys, each with mean, count, and std or var")


def _events(path: Path, text: str) -> Iterator[tuple[str, int, str, bool]]:
    """Yields kind, line, text and whether it is unquoted, of each event; refuses what could construct or multiply."""
    with needing("pyyaml", "devices", f"reading the YAML table {path}"):
        import yaml
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1  # The parser always gives one.
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise AssetError(f"{path}, line {line}: anchors and aliases are refused; no published table has any")
            if (tag := getattr(event, "tag", None)) is not None:
                raise AssetError(
                    f"{path}, line {line}: the tag {shown(tag)} is refused; a tag can ask for an object to be "
                    "constructed, and no published table has any"
                )
            if isinstance(
                event, (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.MappingEndEvent, yaml.SequenceStartEvent)
            ):
                kind = type(event).__name__.removesuffix("Event")
                yield kind, line, getattr(event, "value", ""), getattr(event, "style", None) is None
    except AssetError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise AssetError(f"{path}, line {line}: not readable as YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML passes some on: a character beyond Unicode.
        raise AssetError(f"{path}: not readable as YAML ({shown(str(error))})") from error
