"""Readers of published latency tables: HAQ, APQ, ProxylessNAS, once-for-all and HAT.

The package ships none of the files; each format's module names where they come from. The format is recognised by what
is in the file, and nothing is unpickled or constructed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compress_gym.devices.published import apq, haq, hat, ofa
from compress_gym.devices.published.apq import ApqLayer, ApqTable
from compress_gym.devices.published.haq import HaqTable
from compress_gym.devices.published.hat import HatTable
from compress_gym.devices.published.ofa import OfaOperation, OfaTable
from compress_gym.devices.published.table import PublishedTable
from compress_gym.support.errors import AssetError

# The largest published file has 0.6 MB; rows take some thirty times their text in memory while they are read.
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class _Format:
    name: str
    endings: tuple[str, ...]
    mismatch: Callable[[bytes, str | None], str | None]
    read: Callable[[Path, bytes], PublishedTable]


_FORMATS = (
    _Format("HAQ's NumPy array", (".npy",), haq.mismatch, haq.read),
    _Format("APQ's JSON dictionary", (".dict", ".json"), apq.mismatch, apq.read),
    _Format("ProxylessNAS's or once-for-all's YAML table", (".yaml", ".yml"), ofa.mismatch, ofa.read),
    _Format("HAT's CSV data set", (".csv",), hat.mismatch, hat.read),
)


def read_published(path: str | Path) -> PublishedTable:
    """Reads a published latency table, whichever it is.

    Args:
        path: A file in the format of HAQ (`.npy`), APQ (`.dict`), ProxylessNAS or once-for-all (`.yaml`), or HAT
            (`.csv`). The content decides; the ending only where the content fits more than one.

    Returns:
        An `HaqTable`, `ApqTable`, `OfaTable` or `HatTable`: columns with units, and accessors that fit the format.

    Raises:
        AssetError: The file is missing, too large, in none of the formats (the message says why each did not fit), or
            damaged (the message names the line, key or index).
        ImportError: The file is YAML, and PyYAML is not installed.
    """
    path = Path(path).expanduser()
    data = _bytes_of(path)
    try:
        text: str | None = data.decode("utf-8-sig")
        problem = ""
    except UnicodeDecodeError as error:
        text = None
        problem = f" (byte {error.start + 1}, line {data.count(b'%c' % 10, 0, error.start) + 1}, breaks it)"
    reasons = {form.name: form.mismatch(data, text) for form in _FORMATS}
    fitting = [form for form in _FORMATS if reasons[form.name] is None]
    if fitting:
        by_ending = [form for form in fitting if path.suffix.lower() in form.endings]
        return (by_ending or fitting)[0].read(path, data)
    # A zip's and a pickle's first bytes: the two that people try.
    if data.startswith(b"PK\x03\x04"):
        problem += "; it is a zip archive: unpack it"
    elif data[:1] == b"\x80" and data.endswith(b"."):
        problem += "; it looks like a pickle, and nothing is unpickled"
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise AssetError(f"{path}: in none of the published formats that can be read. Tried {tried}{problem}.")


def _bytes_of(path: Path) -> bytes:
    try:
        # Asked first, since opening a pipe would wait for its writer. ValueError: a NUL in the path.
        if not path.is_file():
            raise OSError("not a file" if path.exists() else "no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise AssetError(f"{path}: not readable ({error})") from error
    if len(data) > MAX_BYTES:
        raise AssetError(f"{path}: larger than {MAX_BYTES} bytes, and no published table is")
    if not data:
        raise AssetError(f"{path}: the file is empty")
    return data


__all__ = [
    "ApqLayer",
    "ApqTable",
    "HaqTable",
    "HatTable",
    "OfaOperation",
    "OfaTable",
    "PublishedTable",
    "read_published",
]
