"""APQ's look-up table: a JSON object of layer keys (mit-han-lab/apq, `lut/BitFusion_new.b1.dict`).

A key is `(in, out, size, kernel, stride, padding, groups)-W4A8`, as `utils/latency_predictor.py` builds it; `size` is
the side of the square input. A value is `{"energy": mJ, "latency": ms}`; the units are those of the README's results,
which are sums of these entries. `head` and `tail` are what stands before and after the searched blocks; their shapes
and bits are not published. 7 x 7 convolutions have no 4-bit activations.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from compress_gym.devices.published.table import PublishedTable, column_places, in_range, shown
from compress_gym.support.errors import AssetError

ENDS = ("head", "tail")
UNITS = {
    "key": "",
    "in_channels": "channels",
    "out_channels": "channels",
    "in_size": "pixels",
    "kernel": "pixels",
    "stride": "pixels",
    "padding": "pixels",
    "groups": "groups",
    "weight_bits": "bits",
    "activation_bits": "bits",
    "latency_ms": "ms",
    "energy_mj": "mJ",
}

_INTEGER = "(0|[1-9][0-9]{0,8})"
_KEY = re.compile(rf"\({', '.join([_INTEGER] * 7)}\)-W{_INTEGER}A{_INTEGER}")
_EXAMPLE = "(96, 456, 14, 1, 1, 0, 1)-W4A8"


class ApqLayer(NamedTuple):
    """A convolution's shape, in the order of the published keys.

    Attributes:
        in_channels: Channels that enter.
        out_channels: Channels that leave.
        in_size: Side of the square input, in pixels.
        kernel: Side of the kernel, in pixels.
        stride: Stride, in pixels.
        padding: Padding, in pixels.
        groups: Groups.
    """

    in_channels: int
    out_channels: int
    in_size: int
    kernel: int
    stride: int
    padding: int
    groups: int


class ApqTable(PublishedTable):
    """Latency and energy of layers at pairs of weight and activation bits.

    The rows `head` and `tail` have 0 in the columns of shape and bits: they are not published.
    """

    def cost(self, layer: tuple[int, ...], weight_bits: int, activation_bits: int) -> tuple[float, float]:
        """Returns a layer's latency in ms and energy in mJ.

        Args:
            layer: An `ApqLayer`, or the same seven numbers.
            weight_bits: Bits of a weight.
            activation_bits: Bits of an activation.

        Raises:
            KeyError: The table does not have this layer at these bits.
        """
        return self._row(f"({', '.join(map(str, layer))})-W{weight_bits}A{activation_bits}")

    def end_cost(self, name: str) -> tuple[float, float]:
        """Returns the latency in ms and energy in mJ of `head` or `tail`.

        Raises:
            KeyError: The table does not have it.
        """
        return self._row(name)

    @cached_property
    def layers(self) -> tuple[ApqLayer, ...]:
        """The distinct layers, in the file's order."""
        shapes = zip(*(self.columns[name].tolist() for name in ApqLayer._fields), strict=True)
        return tuple(dict.fromkeys(ApqLayer(*shape) for shape in shapes if shape[0]))

    def _row(self, key: str) -> tuple[float, float]:
        row = self.row_of("layer", key)
        return float(self.columns["latency_ms"][row]), float(self.columns["energy_mj"][row])


class _Pairs(list[tuple[str, Any]]):
    """A JSON object before its duplicate names are lost."""


def mismatch(data: bytes, text: str | None) -> str | None:
    """Returns why the content is not APQ's, or None where it may be."""
    if text is None:
        return "it is not UTF-8 text"
    if not text.lstrip(" \t\r\n").startswith("{"):
        return "it does not begin with the { of a JSON object"
    if '"latency"' not in text and not _KEY.search(text):
        return f'it has neither a key like "{_EXAMPLE}" nor a "latency"'
    return None


def read(path: Path, data: bytes) -> ApqTable:
    """Reads the JSON object.

    Raises:
        AssetError: It is no such JSON, a key is malformed or given twice, or a number is no time or energy.
    """
    try:
        pairs = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise AssetError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path}: not readable as JSON ({shown(str(error))})") from error
    if not isinstance(pairs, _Pairs):
        raise AssetError(f"{path}: expected one JSON object of layer keys")
    rows: dict[str, tuple[Any, ...]] = {}
    for key, value in pairs:
        try:
            if key in rows:
                raise ValueError("the key is given twice")
            latency_ms, energy_mj = _numbers(value)
            rows[key] = (key, *_shape(key), latency_ms, energy_mj)
        except ValueError as error:
            raise AssetError(f"{path}, key {shown(key)}: {error}") from error
    return ApqTable(
        path,
        "apq",
        "APQ: latency and energy of layers on the BitFusion simulator at pairs of weight and activation bits; "
        "the batch is in the file's name.",
        column_places(path, tuple(UNITS), list(rows.values())),
        UNITS,
    )


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number that a table may hold")


def _shape(key: str) -> list[int]:
    if key in ENDS:
        return [0] * 9
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"expected (in, out, size, kernel, stride, padding, groups) and bits, as in {_EXAMPLE!r}")
    numbers = [int(group) for group in match.groups()]
    *shape, weight_bits, activation_bits = numbers
    if 0 in ApqLayer(*shape)._replace(padding=1):
        raise ValueError("only padding may be 0")
    if not (1 <= weight_bits <= 32 and 1 <= activation_bits <= 32):
        raise ValueError("bits must be 1 to 32")
    return numbers


def _numbers(value: object) -> tuple[float, float]:
    if not isinstance(value, _Pairs) or sorted(name for name, _ in value) != ["energy", "latency"]:
        raise ValueError('expected {"energy": mJ, "latency": ms}, each once and nothing else')
    fields = dict(value)
    return _number("latency (ms)", fields["latency"]), _number("energy (mJ)", fields["energy"])


def _number(name: str, value: object) -> float:
    # A bool is an int to Python, and a whole number may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise ValueError(f"{name}={shown(value)} is not a finite number")
    return in_range(name, float(value))
