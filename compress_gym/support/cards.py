"""Cards: the JSON beside every shipped file that says what it is, how it was made, and its checksum."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from compress_gym.support.errors import AssetError
from compress_gym.support.processor import processor_name


def card_path(asset: Path) -> Path:
    """Returns where an asset's card lies: the same name with the ending `.json`."""
    return asset.with_suffix(".json")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        AssetError: The file is missing or not a JSON object; the message names it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AssetError(
            f"{path}: the file is missing; a shipped one comes back by reinstalling, and a table of one's own travels "
            "together with its card"
        ) from error
    except ValueError as error:
        raise AssetError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(data, dict):
        raise AssetError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def read_card(asset: Path) -> dict[str, Any]:
    """Reads an asset's card and checks the asset against the card's SHA-256.

    Raises:
        AssetError: Card or asset is missing, or the asset's bytes are not the ones the card describes.
    """
    card = read_json(card_path(asset))
    check_sum(asset, card)
    return card


def check_sum(asset: Path, card: Mapping[str, Any], remedy: str = "reinstall compress_gym or make it again") -> None:
    """Checks an asset against the SHA-256 of a card, which may lie elsewhere.

    Raises:
        AssetError: The asset is missing, the message ends with a remedy, or its bytes are not those of the card.
    """
    if not asset.exists():
        raise AssetError(f"{asset}: the file is missing; {remedy}")
    found = sha256(asset)
    if card.get("sha256") != found:
        raise AssetError(
            f"{asset}: the checksum differs from the one on {card_path(asset).name} "
            f"(expected {str(card.get('sha256'))[:16]}, found {found[:16]}); the file was truncated or changed"
        )


def write_card(asset: Path, card: dict[str, Any]) -> None:
    """Writes an asset's card, with the asset's checksum added."""
    full = {**card, "sha256": sha256(asset)}
    write_atomically(card_path(asset), lambda p: p.write_text(json.dumps(full, indent=2) + "\n"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file through a temporary one: if writing fails or is killed, or the machine stops, the old file stays.

    The temporary file lies in a folder of its own beside the file: what a kill leaves is no `*.csv` beside others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        temporary = folder / path.name
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays as a compressed npz, through a temporary file."""
    write_atomically(path, lambda p: np.savez_compressed(p, **arrays))  # type: ignore[arg-type]


@contextmanager
def stored_arrays(path: Path, what: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens an npz that has a card, for reading within the block.

    Raises:
        AssetError: The file is not the one on its card, or is not readable as what it should be.
    """
    read_card(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except AssetError:
        raise
    except (KeyError, IndexError, ValueError, OSError, EOFError, zipfile.BadZipFile, ZeroDivisionError) as error:
        raise AssetError(f"{path}: not readable as {what} ({error})") from error


def sha256(path: Path) -> str:
    """Returns a file's SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def portable(command: str) -> str:
    """Returns a command line with the last part of each absolute path in it."""
    return re.sub(r"(?<=[\s='])/[^\s']+", lambda path: Path(path[0]).name, command)


def provenance(command: str, packages: Iterable[str]) -> dict[str, Any]:
    """Returns where and when something is being made: command, date, hardware, versions.

    Of absolute paths in the command the last part is kept: where folders lay says nothing elsewhere.
    """
    return {
        "command": portable(command),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "hardware": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in sorted(packages)}},
    }
