"""The format of a submission: what is checked, and the JSON Schema that is generated from it."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leaderboard.fields import (
    Command,
    Fraction,
    Hash,
    Integer,
    Key,
    Link,
    Name,
    Number,
    Person,
    Seconds,
    Title,
    complaints,
    shown,
)

FOLDER = Path(__file__).parent
SCHEMA = FOLDER / "submission.schema.json"

LARGEST_FILE = 1_000_000
DEEPEST_NESTING = 12
LONGEST_NUMBER = 40
# As many keys as a strategy may have; an object of tens of thousands would take seconds to complain about.
LARGEST_OBJECT = 512


class Strict(BaseModel):
    """Nothing is converted, nothing unknown is let through, numbers are finite."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Origin(Strict):
    """What a task was when the strategies were found, as `reset`'s info tells it."""

    accuracy_source: Annotated[
        Literal["measured", "surrogate", "live"], Field(description="Where the stated validation accuracies come from.")
    ]
    task_version: Annotated[int, Field(ge=0, le=1000)]
    asset_hash: Hash
    device: Annotated[Key | None, Field(description="`null`: costs are counted, on no device.")]
    device_hash: Hash | None


class Result(Strict):
    """The strategy of one task and seed, and what its submitter states about it."""

    task: Name
    seed: Annotated[int, Field(ge=0, le=1000)]
    strategy: Annotated[
        dict[Key, Annotated[int, Field(ge=-(10**9), le=10**9)] | Key],
        Field(
            min_length=1,
            max_length=LARGEST_OBJECT,
            description="Decision name to value, a number or a label, every decision once.",
        ),
    ]
    evaluations: Annotated[int, Field(ge=1, le=10**9, description="Scored episodes or asked strategies, doubles too.")]
    wall_seconds: Annotated[
        Seconds, Field(description="The run whose evaluations are counted, training within it included.")
    ]
    training_seconds: Annotated[
        Seconds, Field(description="Those in which a policy was trained, within the run or before it.")
    ]
    cost: Annotated[float, Field(ge=0, le=1e18, description="The bounded cost, in its unit.")]
    validation_accuracy: Fraction
    test_accuracy: Fraction | None = None


class Submission(Strict):
    """One method on one track: a strategy for every task and seed."""

    schema_version: Literal[1]
    track: Name
    name: Annotated[Name, Field(description="The file's name without `.json`.")]
    method: Title
    authors: Annotated[tuple[Person, ...], Field(min_length=1, max_length=20)]
    version: Annotated[Title, Field(description="Of the method's code.")]
    link: Annotated[Link | None, Field(description="Where the source is open.")]
    modified_source: Annotated[bool, Field(description="Whether compress_gym itself was changed.")]
    deterministic: Annotated[bool, Field(description="Whether the seed has no influence.")]
    trained_on: Annotated[
        tuple[Name, ...], Field(max_length=100, description="Tasks seen beyond the counted evaluations.")
    ]
    parameters: Annotated[dict[Key, Title | Integer | Number | bool | None], Field(max_length=100)]
    ranges_tried: Annotated[dict[Key, Title], Field(max_length=100, description="What was tried for parameters.")]
    command: Annotated[Command | None, Field(description="What makes the strategies of seed 0 again.")] = None
    env: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}/[A-Za-z0-9]{1,40}-v[0-9]{1,4}$")]
    origins: Annotated[dict[Name, Origin], Field(min_length=1, max_length=100)]
    results: Annotated[tuple[Result, ...], Field(min_length=1, max_length=2000)]


class Refused(ValueError):
    """The file is no submission; the message says why, in harmless characters."""


def read_submission(path: Path) -> tuple[Submission, bytes]:
    """Reads a stranger's file. Nothing in it is executed, and nothing of it is trusted.

    Returns:
        The submission, and the bytes that were read.

    Raises:
        Refused: It is no regular file of at most 1 MB, no JSON (numbers finite, keys unique, nesting shallow), does not
            have the format, or names another file than the one it lies in.
    """
    data = read_bytes(path)
    submission = parse_submission(data)
    if submission.name != path.stem:
        raise Refused(f"name: {submission.name!r} is not the name of the file, {shown(path.stem)}")
    return submission, data


def read_bytes(path: Path) -> bytes:
    """Reads a regular file of at most 1 MB; links, pipes and devices are refused."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Refused("is no regular file")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise Refused(f"is larger than {LARGEST_FILE:,} bytes")
    return data


def parse_submission(data: bytes) -> Submission:
    """Turns bytes into a submission; see `read_submission` for what is refused."""
    values = parse_json(data)
    try:
        # The canonical text rather than the values: in JSON, an array is a tuple.
        return Submission.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise Refused("; ".join(complaints(error))) from error


def parse_json(data: bytes) -> Any:
    """Reads JSON within limits: UTF-8, shallow, no doubled keys, no NaN, no endless numbers."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"is not UTF-8 (byte {error.start})") from error
    _check_nesting(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=lambda digits: int(_short(digits)),
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise Refused(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error


def _check_nesting(text: str) -> None:
    """Refuses deep nesting before any parser recurses into it."""
    depth, inside, escaped = 0, False, False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > DEEPEST_NESTING:
                raise Refused(f"is nested deeper than {DEEPEST_NESTING} levels")
        elif character in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > LARGEST_OBJECT:
        raise Refused(f"has an object of {len(pairs):,} keys; {LARGEST_OBJECT} are enough")
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise Refused(f"has the key {shown(key)} more than once in one object")
        values[key] = value
    return values


def _no_constant(name: str) -> float:
    raise Refused(f"holds {name}, which is no number")


def _short(digits: str) -> str:
    if len(digits) > LONGEST_NUMBER:
        raise Refused(f"holds a number of {len(digits)} characters; {LONGEST_NUMBER} are enough")
    return digits


def _finite(digits: str) -> float:
    number = float(_short(digits))
    if not math.isfinite(number):
        raise Refused(f"holds {shown(digits)}, which is too large a number")
    return number


def json_schema() -> str:
    """Returns the JSON Schema of a submission, as published beside this file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Submission.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"
