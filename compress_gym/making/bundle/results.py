"""Reads what a bundle's runner brings back, checks it, and makes a device of it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from compress_gym.devices.device import Device, read_table
from compress_gym.devices.operations import write_operations
from compress_gym.making.profile.networks import evaluate, measured_card
from compress_gym.making.profile.plan import ProfilePlan, contents, contents_digest, networks_of
from compress_gym.support.cards import write_atomically, write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import get_task

COLUMNS = ["item", "fastest_us", "median_us", "p10_us", "repetitions"]


def import_results(path: Path, out: Path, command: str) -> Device:
    """Makes a latency table and its card of the `results.csv` that a runner wrote, and returns the device as written.

    Raises:
        AssetError: The file is damaged, or from a bundle of another task or version; the message names file and line.
    """
    header, rows = _read(path)
    plan = _plan(path, header)
    calls = plan.rounds * plan.repetitions
    if (counts := {row[4] for row in rows}) != {calls}:
        raise AssetError(f"{path}: the plan has {calls} calls of each operation, found {sorted(counts)}")
    task = get_task(str(header["task"]))
    operations, strategies = contents([task], plan, with_layout=True)
    if header.get("bundle") != contents_digest(operations, strategies):
        raise AssetError(
            f"{path}: measured with a bundle of another task or version ({header.get('bundle')!r}); export a new one "
            f"with: compress-gym profile {task.name} --export bundle.zip"
        )
    expected = [*map(str, operations), *(f"network {n}" for n in range(len(strategies[task.name])))]
    names = [row[0] for row in rows]
    if names != expected:
        pairs = enumerate(zip(names, expected, strict=False))
        wrong = next((n for n, (a, b) in pairs if a != b), min(len(names), len(expected)))
        found = repr(names[wrong]) if wrong < len(names) else "the end of the file"
        wanted = repr(expected[wrong]) if wrong < len(expected) else "the end of the file"
        raise AssetError(f"{path}, line {wrong + 3}: expected {wanted}, found {found}")
    times = np.array([row[1:4] for row in rows])
    networks = networks_of([task], strategies, plan)
    table, correction, error = evaluate(operations, networks, times, plan, with_layout=True)
    made = {key: header[key] for key in ("date", "hardware", "cores", "system", "versions")}
    card = measured_card([task], plan, table, correction, error, {"command": command, **made})
    write_atomically(out, lambda p: write_operations(p, table))
    write_card(out, card)
    return read_table(out)


Row = tuple[str, float, float, float, int]


def _read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"{path}: not readable ({error})") from error
    lines = text.splitlines()
    try:
        header = json.loads(lines[0].removeprefix("#"))
        if not isinstance(header, dict):
            raise ValueError("no JSON object")
    except (IndexError, ValueError) as error:
        raise AssetError(f"{path}, line 1: expected '# ' and the runner's JSON header ({error})") from error
    missing = {"bundle", "task", "plan", "hardware", "cores", "system", "date", "versions"} - set(header)
    if missing:
        raise AssetError(f"{path}, line 1: the header lacks {', '.join(sorted(missing))}")
    try:
        found = list(csv.reader(lines[1:], strict=True))
    except csv.Error as error:
        raise AssetError(f"{path}: not readable as CSV ({error})") from error
    if not found or found[0] != COLUMNS:
        raise AssetError(f"{path}, line 2: expected the columns {', '.join(COLUMNS)}")
    return header, [_row(path, number, row) for number, row in enumerate(found[1:], 3)]


def _row(path: Path, number: int, row: list[str]) -> Row:
    try:
        name, fastest, middle, p10, repetitions = row
        times = float(fastest), float(middle), float(p10)
        count = int(repetitions)
    except ValueError as error:
        raise AssetError(f"{path}, line {number}: {row} is not {', '.join(COLUMNS)} ({error})") from None
    if not all(math.isfinite(t) and t >= 0.001 for t in times) or count < 1:
        raise AssetError(f"{path}, line {number}: times and repetitions must be positive and finite, found {row[1:]}")
    if not times[0] <= times[2] <= times[1]:
        raise AssetError(f"{path}, line {number}: must grow from fastest over p10 to median, found {row[1:]}")
    return name, *times, count


def _plan(path: Path, header: dict[str, Any]) -> ProfilePlan:
    given = header["plan"]
    known = {field.name for field in fields(ProfilePlan)}
    if not isinstance(given, dict) or set(given) != known:
        raise AssetError(f"{path}, line 1: the plan must have exactly {', '.join(sorted(known))}")
    try:
        plan = ProfilePlan(**given)
        if plan.runtime != "onnxruntime" or plan.cuda:
            raise ValueError("bundles are measured under onnxruntime, on the processor")
        return plan
    except (TypeError, ValueError) as error:
        raise AssetError(f"{path}, line 1: the plan does not fit ({error})") from error
