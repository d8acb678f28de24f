"""Devices: where latencies come from, with their provenance."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from compress_gym.devices.correction import Correction, MixedCorrection, times_us
from compress_gym.devices.energy import analytic_energy_mj
from compress_gym.devices.hardware import DEVICE_KINDS, Hardware
from compress_gym.devices.interpolate import ChannelGrid
from compress_gym.devices.operations import (
    BOUNDARIES,
    CALL,
    PRECISION_BITS,
    Measurement,
    Operation,
    layout_of,
    read_operations,
)
from compress_gym.devices.simulated import SIMULATED, SimulatedDevice
from compress_gym.devices.transformer_latency import TransformerDevice, read_coefficients
from compress_gym.networks.network import WEIGHTED
from compress_gym.problem.decisions import FLOAT_BITS
from compress_gym.problem.network_decisions import BitValues
from compress_gym.support.cards import card_path, read_card, read_json
from compress_gym.support.errors import AssetError, unknown_name
from compress_gym.support.home import home

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Fallback:
    """An explicit analytic estimate for operations that were not measured; a card has it under `fallback`.

    Attributes:
        macs_per_us: Multiply-accumulates a microsecond.
        us: Microseconds that any operation costs.
    """

    macs_per_us: float
    us: float = 0.0

    def operation_us(self, operation: Operation) -> float:
        """Returns an operation's share of a network's latency in microseconds."""
        return self.us + operation.macs / self.macs_per_us


@dataclass(frozen=True, eq=False)
class Device(Hardware):
    """A measured latency table with its correction.

    The latency of a whole network is the correction's `network_us` plus the sum of its operations' `latency_us`.

    Attributes:
        name: Name of the device.
        kind: One of `DEVICE_KINDS`.
        table: Measured times.
        correction: What measured operations become inside a network; fitted on whole networks.
        bits: Bits of weights and activations of its operations.
        batch: Inputs a call.
        fallback: What operations outside of the table cost; `None`: they are refused.
        card: The provenance, as read.
    """

    name: str
    kind: str
    table: dict[Operation, Measurement]
    correction: Correction
    bits: tuple[int, int] = (32, 32)
    batch: int = 1
    fallback: Fallback | None = None
    card: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the measured times and what is made of them."""
        rows = sorted(f"{operation} {_text(measured)}" for operation, measured in self.table.items())
        content = [*rows, *map(repr, (self.correction, self.bits, self.batch, self.fallback))]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]

    @cached_property
    def bit_values(self) -> BitValues | None:
        """Which bits a strategy can choose: pairs of equal bits, every pair of some, or `None`: no choice."""
        pairs = {(o.weight_bits, o.activation_bits) for o in self.table if o.kind in WEIGHTED}
        weights, inputs = (tuple(sorted({pair[side] for pair in pairs})) for side in (0, 1))
        if len(weights) > 1 and weights == inputs:
            if pairs == {(b, b) for b in weights}:
                return BitValues(weights, paired=True)
            if pairs == set(product(weights, inputs)):
                return BitValues(weights)
        return None

    @property
    def network_us(self) -> float:
        """Microseconds a whole network costs beyond its operations."""
        return self.correction.network_us

    def latency_us(self, operation: Operation) -> float:
        """Returns an operation's share of a network's latency, in microseconds.

        Channel counts between measured ones are interpolated; what lies outside takes the fallback, if there is one.

        Raises:
            ValueError: The operation is outside of what was measured, and the device has no fallback.
        """
        if self.fallback is not None and self.source(operation) == "analytic":
            return self.fallback.operation_us(operation)
        return self.correction.operation_us(operation, self._times)

    def energy_mj(self, operation: Operation) -> float:
        """Returns an operation's energy in millijoules: analytic, see `compress_gym.devices.energy`."""
        if operation.kind in BOUNDARIES:
            # Its bits are written as 32, but one side of a conversion is narrow.
            operation = replace(operation, activation_bits=(FLOAT_BITS + 8) // 2)
        return analytic_energy_mj(operation)

    def source(self, operation: Operation) -> str:
        """Returns how an operation's latency is made: `measured`, `interpolated` or `analytic` (outside)."""
        needed = [operation]
        if self.correction.needs_layout(operation):
            needed += layout_of(operation)
        if all(o in self.table for o in needed):
            return "measured"
        return "interpolated" if all(self._times.covers(o) for o in needed) else "analytic"

    @cached_property
    def _times(self) -> _Times:
        return _Times(self.name, times_us(self.table))


def _text(measured: Measurement) -> str:
    """Returns a measurement as digests have it: tables without fastest calls keep the digest that they have had."""
    median = f"median_us={measured.median_us!r}, p10_us={measured.p10_us!r}, repetitions={measured.repetitions!r}"
    return f"Measurement({median})" if measured.fastest_us is None else f"{median}, fastest_us={measured.fastest_us!r}"


class _Times(Mapping[Operation, float]):
    """Measured times, interpolated between channel counts."""

    def __init__(self, device: str, times: dict[Operation, float]) -> None:
        self._device, self._times, self._grid = device, times, ChannelGrid(times)

    def __getitem__(self, operation: Operation) -> float:
        found = self._times.get(operation)
        if found is None:
            found = self._grid.time(operation)
        if found is None:
            raise ValueError(
                f"device={self._device!r} has no measurement of {operation}, nor of channel counts around it; "
                "use a device whose card names the task (compress-gym devices NAME), or measure it there with: "
                "compress-gym profile TASK"
            )
        return found

    def covers(self, operation: Operation) -> bool:
        """Returns whether an operation was measured, or lies between measured ones."""
        return operation in self._times or self._grid.time(operation) is not None

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._times)

    def __len__(self) -> int:
        return len(self._times)


AnyDevice: TypeAlias = Hardware | TransformerDevice


def user_tables() -> Path:
    """Returns the folder of the devices that a user installed: `$COMPRESS_GYM_DEVICES`, else in the user's folder."""
    given = os.environ.get("COMPRESS_GYM_DEVICES")
    return Path(given).expanduser() if given else home() / "devices"


def list_devices(*classes: type, shipped: bool = False) -> list[str]:
    """Returns the names of the devices: shipped tables, simulators, and what the user installed.

    Args:
        *classes: Leave out devices of others than these: `Device`, `SimulatedDevice` or `TransformerDevice`.
        shipped: Leave out what the user installed.
    """
    found: dict[str, type] = {}
    for folder in (TABLES,) if shipped else (user_tables(), TABLES):
        found.update((path.stem, _class_of(path)) for path in folder.glob("*.csv"))
    found |= dict.fromkeys(SIMULATED, SimulatedDevice)
    return sorted(name for name, made in found.items() if made in (classes or (made,)))


def load_device(name_or_path: str | Path) -> AnyDevice:
    """Returns a device by name, or reads a table of one's own by path.

    Args:
        name_or_path: A name from `list_devices()`, or the path of a CSV whose card lies beside it.

    Returns:
        A measured `Device`, a `SimulatedDevice`, or the `TransformerDevice` of a table of coefficients.

    Raises:
        KeyError: The name is not known.
        AssetError: The table or its card is damaged.
    """
    path, name = Path(name_or_path).expanduser(), str(name_or_path)
    if path.suffix == ".csv":
        if not path.exists():
            raise unknown_name("device", name, [*list_devices(), "a path of a CSV that exists"])
    elif name in SIMULATED:
        return SIMULATED[name]()
    elif name in list_devices():
        path = next(p for folder in (TABLES, user_tables()) if (p := folder / f"{name}.csv").exists())
    else:
        raise unknown_name("device", name, [*list_devices(), "a path ending in .csv"])
    return read_coefficients(path) if _class_of(path) is TransformerDevice else read_table(path)


def of_operations(device: AnyDevice) -> Hardware:
    """Returns a device that knows a network's operations.

    Raises:
        ValueError: It knows whole transformers alone.
    """
    if isinstance(device, TransformerDevice):
        raise ValueError(
            f"device={device.name!r} has latencies of whole transformers, not of the operations of other networks; "
            f"use one of {list_devices(Device, SimulatedDevice)}"
        )
    return device


def of_transformers(device: AnyDevice) -> TransformerDevice:
    """Returns a device that knows whole transformers.

    Raises:
        ValueError: It knows single operations alone.
    """
    if not isinstance(device, TransformerDevice):
        raise ValueError(
            f"device={device.name!r} has latencies of single operations, not of whole transformers; "
            f"use one of {list_devices(TransformerDevice)}"
        )
    return device


def _class_of(path: Path) -> type:
    """Tells which device a table is of, by its first column."""
    with path.open("rb") as file:
        return TransformerDevice if file.read(8) == b"feature," else Device


def read_table(path: Path) -> Device:
    """Reads a latency table and its card.

    Raises:
        AssetError: The table or its card is damaged.
    """
    # A table of one's own may come without a checksum; a shipped one never does.
    own = path.parent != TABLES and "sha256" not in read_json(card_path(path))
    card = read_json(card_path(path)) if own else read_card(path)
    table = read_operations(path)
    try:
        kind, correction = card["kind"], _correction(card["correction"])
        precision, batch = card.get("precision", "fp32"), int(card.get("batch", 1))
        if isinstance(correction, MixedCorrection) != (precision == "mixed"):
            raise ValueError("a correction with weighted8 goes with precision='mixed', and only with that")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AssetError(f"{card_path(path)}: the card lacks 'kind' or 'correction' ({error!r})") from error
    if kind not in DEVICE_KINDS:
        raise AssetError(f"{card_path(path)}: kind={kind!r} is not one of {DEVICE_KINDS}")
    if not isinstance(precision, str) or precision not in PRECISION_BITS or batch < 1:
        raise AssetError(
            f"{card_path(path)}: precision={precision!r}, batch={batch}; precision must be one of "
            f"{tuple(PRECISION_BITS)}, batch at least 1"
        )
    factors = correction.to_json()
    if not all(math.isfinite(c) and c >= 0 for c in factors.values()) or not all(
        factors.get(name, 1) for name in ("weighted", "weighted8")
    ):
        raise AssetError(f"{card_path(path)}: correction={card['correction']} must be finite and not negative")
    if CALL not in table:
        raise AssetError(f"{path}: the empty call ({CALL}) is missing")
    return Device(path.stem, kind, table, correction, PRECISION_BITS[precision], batch, _fallback(path, card), card)


def _correction(entry: Mapping[str, Any]) -> Correction:
    """Reads a card's correction; one `scale` serves weighted and other operations alike."""
    if "weighted8" in entry:
        return MixedCorrection(**{one.name: float(entry[one.name]) for one in fields(MixedCorrection)})
    weighted = float(entry["scale"] if "scale" in entry else entry["weighted"])
    other = float(entry["scale"] if "scale" in entry else entry["other"])
    further = {name: float(entry.get(name, 0.0)) for name in ("layout", "weight_kib", "activation_kib")}
    return Correction(float(entry["network_us"]), weighted, other, **further)


def _fallback(path: Path, card: Mapping[str, Any]) -> Fallback | None:
    entry = card.get("fallback")
    if entry is None:
        return None
    try:
        fallback = Fallback(float(entry["macs_per_us"]), float(entry.get("us", 0.0)))
        if not (math.isfinite(fallback.macs_per_us) and fallback.macs_per_us > 0 and 0 <= fallback.us < math.inf):
            raise ValueError("macs_per_us must be positive, us not negative")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AssetError(f"{card_path(path)}: fallback={entry!r} does not fit ({error})") from error
    return fallback
