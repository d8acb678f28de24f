"""Devices: where latencies come from, with their provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress_gym.cards import card_path, read_card, read_json
from compress_gym.devices.operations import CALL, Measurement, Operation, read_operations
from compress_gym.errors import AssetError, unknown_name

TABLES = Path(__file__).parent / "tables"
KINDS = ("cpu", "gpu", "accelerator")


@dataclass(frozen=True)
class Device:
    """A measured latency table with its correction.

    The latency of a whole network is `network_us` plus the sum of its operations' `latency_us`: an isolated
    operation's time holds one call's overhead, which a network pays once, and `scale` is what one measured
    microsecond of an isolated operation becomes inside a network.

    Attributes:
        name: Name of the device.
        kind: One of `KINDS`.
        table: Measured times.
        scale: Fitted on whole networks; see the card.
        network_us: Microseconds a whole network costs beyond its operations; fitted on whole networks.
        card: The provenance, as read.
        digest: First 16 hex digits of the table's SHA-256; "" for a device made in memory.
    """

    name: str
    kind: str
    table: dict[Operation, Measurement]
    scale: float
    network_us: float
    card: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    def latency_us(self, operation: Operation) -> float:
        """Returns an operation's share of a network's latency, in microseconds.

        Raises:
            ValueError: The operation was not measured.
        """
        if operation not in self.table:
            raise ValueError(
                f"device={self.name!r} has no measurement of {operation}; "
                "measure the task on it with: compress-gym profile TASK"
            )
        call_us = self.table[CALL].median_us
        return self.scale * max(0.0, self.table[operation].median_us - call_us)


def list_devices() -> list[str]:
    """Returns the names of the shipped devices."""
    return sorted(path.stem for path in TABLES.glob("*.csv"))


def load_device(name_or_path: str | Path) -> Device:
    """Reads a shipped device by name, or a table of one's own by path.

    Args:
        name_or_path: A name from `list_devices()`, or the path of a CSV whose card lies beside it.

    Raises:
        KeyError: The name is not known.
        AssetError: The table or its card is damaged.
    """
    given = Path(name_or_path).expanduser()
    if given.suffix == ".csv":
        path = given
        if not path.exists():
            raise unknown_name("device", str(name_or_path), [*list_devices(), "a path of a CSV that exists"])
    elif str(name_or_path) in list_devices():
        path = TABLES / f"{name_or_path}.csv"
    else:
        raise unknown_name("device", str(name_or_path), [*list_devices(), "a path ending in .csv"])
    return _read(path)


def _read(path: Path) -> Device:
    # A table of one's own may come without a checksum; a shipped one never does.
    own = path.parent != TABLES and "sha256" not in read_json(card_path(path))
    card = read_json(card_path(path)) if own else read_card(path)
    try:
        kind, correction = card["kind"], card["correction"]
        scale, network_us = float(correction["scale"]), float(correction["network_us"])
    except (KeyError, TypeError, ValueError) as error:
        raise AssetError(f"{card_path(path)}: the card lacks 'kind' or 'correction' ({error!r})") from error
    if kind not in KINDS:
        raise AssetError(f"{card_path(path)}: kind={kind!r} is not one of {KINDS}")
    if not (math.isfinite(scale) and scale > 0 and math.isfinite(network_us) and network_us >= 0):
        raise AssetError(f"{card_path(path)}: correction={correction} must be finite and not negative")
    table = read_operations(path)
    if CALL not in table:
        raise AssetError(f"{path}: the empty call ({CALL}) is missing")
    return Device(path.stem, kind, table, scale, network_us, card, str(card.get("sha256", ""))[:16])
