"""What a `task.json` says: checked in words before anything is read or imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from compress_gym.support.cards import read_json
from compress_gym.support.errors import AssetError, unknown_name

FILE = "task.json"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
ENTRY = r"^[A-Za-z0-9_./-]+:[A-Za-z_][A-Za-z0-9_]*$"
KIND_ID = r"^[A-Za-z0-9]+-v[0-9]+$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Entry = Annotated[str, StringConstraints(pattern=ENTRY)]
KindId = Annotated[str, StringConstraints(pattern=KIND_ID)]
Count = Annotated[int, Field(ge=1)]


_CALLED = {int: "a whole number", list: "a list", dict: "an object"}


def _known(**types: type) -> AfterValidator:
    """Refuses keys that nothing reads, and values of another type; keys of kinds begin with a capital letter."""

    def check(given: dict[str, Any]) -> dict[str, Any]:
        for key, value in given.items():
            if key[:1].isupper():
                continue
            if key not in types:
                raise ValueError(unknown_name("key", key, types).args[0])
            if not isinstance(value, types[key]):
                raise ValueError(f"{key}={value!r} must be {_CALLED[types[key]]}")
        return given

    return AfterValidator(check)


Options = Annotated[dict[str, Any], _known(levels=int, bits=list, fixed=list)]
Recipes = Annotated[dict[str, Any], _known(train=list, finetune=dict, finetune_bits=dict)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSource(_Part):
    """Where the network comes from.

    Attributes:
        build: What makes the torch module with fresh weights: `module:name`, or `file.py:name` in the task's folder.
        description: The class of the static description; `network.json` holds one, or `space` does.
        space: The description itself, where it is a space of architectures.
    """

    build: Entry
    description: Entry = "compress_gym.networks.network:Network"
    space: dict[str, Any] | None = None


class Calibration(_Part):
    """Training inputs that a recovery sees.

    Attributes:
        images: The first so many.
        augmentation: How they are augmented: as in training; `None` leaves them as they are.
    """

    images: Count
    augmentation: Literal["crop-flip"] | None = None


class Column(_Part):
    """A score column.

    Attributes:
        surrogate: Stem of the file that predicts it.
        link: What the surrogate predicts of it: a fraction of 1.
        costly: Whether it is scored for some of the strategies alone.
    """

    surrogate: str = "surrogate"
    link: Literal["x", "exp(-x)"] = "x"
    costly: bool = False


class Declaration(_Part):
    """A task, as its file declares it.

    Attributes:
        name: The name users give, and that of the folder.
        version: Raised whenever an asset or default changes.
        summary: One line for people.
        data: What reads the data set; `None`: the task has costs alone.
        network: Where the network comes from.
        columns: Score columns by name; `accuracy` is one of them.
        fetched: Files that a checkout has and the package has not, since their data's terms are narrower than its
            licence; their cards are in the package. `compress-gym data fetch NAME-weights` brings them.
        kinds: The kinds it is meant for; every other one that its network allows works live.
        device: Name of the device that was profiled for it, if there is one.
        recoveries: What can be done to a compressed network before it is scored; the first is the default.
        calibration: What recoveries see.
        validation_images: Validation inputs a strategy is scored on; `None`: all.
        half_weights: Whether weights are stored in half precision.
        options: What kinds read: `levels` (channel counts of a group), `bits`, `fixed` (layers that stay at 8 bits);
            what a kind of another package reads stands under its name, `Sparsity`.
        recipes: How networks are trained: `train` (cycles, in order), `finetune`, `finetune_bits`.
    """

    name: Name
    version: Count = 1
    summary: str = ""
    data: Entry | None
    network: NetworkSource
    columns: dict[str, Column] = Field(default_factory=lambda: {"accuracy": Column()})
    fetched: tuple[Name, ...] = ()
    kinds: tuple[KindId, ...] = Field(min_length=1)
    device: str | None = None
    recoveries: tuple[str, ...] = Field(default=("none",), min_length=1)
    calibration: Calibration | None = None
    validation_images: Count | None = None
    half_weights: bool = False
    options: Options = Field(default_factory=dict)
    recipes: Recipes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_accuracy(self) -> Declaration:
        if "accuracy" not in self.columns:
            raise ValueError(f"columns={list(self.columns)} must hold 'accuracy'")
        return self


def read_declaration(folder: Path) -> Declaration:
    """Reads a task's file.

    Raises:
        AssetError: It is missing, or a field is wrong; the message names file and fields.
    """
    path = folder / FILE
    data = read_json(path)
    try:
        declared = Declaration.model_validate(data)
    except ValidationError as error:
        raise AssetError(f"{path}: {'; '.join(wrong_fields(error))}") from error
    if declared.name != folder.name:
        raise AssetError(f"{path}: name={declared.name!r} is not the folder's name, {folder.name!r}")
    return declared


def wrong_fields(error: ValidationError) -> list[str]:
    """Returns what is wrong with which fields and what is legal, a line each."""
    return [_told(detail) for detail in error.errors(include_url=False)]


# What strings must be, by the pattern that they do not have.
_SAID = {
    NAME: "must be letters, digits, dots, dashes and underscores, 64 at most",
    ENTRY: "must be 'package.module:name', or 'file.py:name' of a file in the folder",
    KIND_ID: "must be a kind's id with its version, such as 'ChannelPrune-v0'",
}
_PARTS: dict[str, type[BaseModel]] = {"network": NetworkSource, "calibration": Calibration, "columns": Column}


def _told(detail: Any) -> str:
    """Says in words what pydantic found."""
    where, given = [str(part) for part in detail["loc"]], detail["input"]
    if detail["type"] == "extra_forbidden":
        part = _PARTS.get(where[0], Declaration) if len(where) > 1 else Declaration
        return str(unknown_name(f"field of {FILE}", where[-1], part.model_fields).args[0])
    name = ".".join(where) or "the file"
    if detail["type"] == "missing":
        return f"{name} is missing"
    if detail["type"] == "value_error":
        return f"{name}: {detail['ctx']['error']}"
    words = _SAID.get(detail.get("ctx", {}).get("pattern"))
    return f"{name}={given!r} {words}" if words else f"{name}={given!r}: {detail['msg'].removeprefix('Input ')}"
