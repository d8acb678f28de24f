"""What can be decided: decisions, and the space that they span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.support.errors import unknown_name

# Genes of transformers.
GENES = ("embed_dim", "ffn_dim", "heads", "depth", "attention_span")
# Kinds whose values are numbers: what they mean is computed with.
NUMBERED_KINDS = ("channels", "weight_bits", "activation_bits", "precision", *GENES)
DECISION_KINDS = (*NUMBERED_KINDS, "other")
MAX_VALUES = 16
# Decisions about a layer's weights and about its input; `precision` is about both.
WEIGHT_KINDS, INPUT_KINDS = ("weight_bits", "precision"), ("activation_bits", "precision")
BIT_KINDS = ("weight_bits", "activation_bits", "precision")
# What layers have that are not decided, where bits of others are (HAQ); and where no bits are decided at all.
FIXED_BITS, FLOAT_BITS = 8, 32
# The bits that quantised layers can have.
BIT_WIDTHS = (2, 3, 4, 5, 6, 7, 8)
# Spaces up to this size are enumerated: measured exhaustively, and searched exactly for the cheapest strategy.
ENUMERABLE = 200_000
# How far a decision strays from its strategy's level in `spread`, as a fraction of the values.
_SPREAD = (0.05, 0.4)


@dataclass(frozen=True)
class Decision:
    """One choice to make.

    Attributes:
        name: Unique name, `<layer or group>.<kind>`.
        kind: One of `DECISION_KINDS`; `other` serves tables of one's own.
        values: Legal values, at most 16: whole numbers, strictly ascending, or labels, which have no order.
        subject: The layer or group that is decided, or "" where there is none.
        requires: Name of an earlier decision and the least value of it under which this one matters (the genes of a
            layer require a depth), of labels that one and those listed after it; `None`: it always does.
        reference: The value that leaves the network as it was; `None`: the last one.
    """

    name: str
    kind: str
    values: tuple[int | str, ...]
    subject: str = ""
    requires: tuple[str, int | str] | None = None
    reference: int | str | None = None

    def __post_init__(self) -> None:
        """Checks kind, values and reference."""
        if self.kind not in DECISION_KINDS:
            raise ValueError(f"decision {self.name!r}: kind={self.kind!r} is not one of {DECISION_KINDS}")
        if not 1 <= len(self.values) <= MAX_VALUES:
            raise self._refused(f"1 to {MAX_VALUES} ascending numbers, or as many labels")
        labelled = {isinstance(value, str) for value in self.values}
        if len(labelled) > 1:
            raise self._refused("all whole numbers or all labels, not both")
        if labelled == {True}:
            if self.kind in NUMBERED_KINDS:
                raise self._refused(f"ascending numbers: the kind {self.kind!r} has no labels")
            if not all(self.values) or len(set(self.values)) < len(self.values):
                raise self._refused("labels that are not empty, each of them once")
        else:
            whole = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in self.values)
            if not whole or not all(a < b for a, b in zip(self.values, self.values[1:], strict=False)):  # type: ignore[operator]
                raise self._refused("ascending whole numbers, or labels")
        if self.reference is not None and self.reference not in self.values:
            raise ValueError(
                f"decision {self.name!r}: reference={self.reference!r} is not one of its values, {list(self.values)}"
            )

    def _refused(self, legal: str) -> ValueError:
        return ValueError(f"decision {self.name!r}: values={self.values} must be {legal}")

    @property
    def has_labels(self) -> bool:
        """Whether the values are labels."""
        return isinstance(self.values[0], str)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of a decision about numbers.

        Raises:
            ValueError: They are labels.
        """
        if self.has_labels:
            raise ValueError(f"decision {self.name!r} has the labels {list(self.values)} where numbers are needed")
        return self.values  # type: ignore[return-value]

    @property
    def reference_choice(self) -> int:
        """The choice that leaves the network as it was: the index of the reference."""
        return len(self.values) - 1 if self.reference is None else self.values.index(self.reference)

    @property
    def grows(self) -> bool:
        """Whether lower choices compress more: the values are numbers, and the highest of them is the reference."""
        return not self.has_labels and self.reference_choice == len(self.values) - 1


@dataclass(frozen=True)
class DecisionSpace:
    """T decisions in the order in which they are made.

    A strategy is an integer array `[T]` of choices (indices into each decision's values). A decision whose requirement
    is not met is *inactive*: it is not made, and its choice is 0, so that equal networks have equal strategies.
    """

    decisions: tuple[Decision, ...]

    def __post_init__(self) -> None:
        """Checks that there are decisions and that names are unique."""
        names = [d.name for d in self.decisions]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if not names or repeated:
            raise ValueError(f"decisions need at least one entry and unique names; repeated: {repeated}")
        for t, decision in enumerate(self.decisions):
            if decision.requires is None:
                continue
            name, least = decision.requires
            if name not in names[:t]:
                raise ValueError(f"decision {decision.name!r} requires {name!r}, which is no earlier decision")
            values = self.decisions[names.index(name)].values
            if least not in values[1:]:
                raise ValueError(
                    f"decision {decision.name!r} requires {name!r} to be at least {least!r}; that must be one of its "
                    f"values but the first, {list(values[1:])}"
                )

    def __len__(self) -> int:
        """Returns T."""
        return len(self.decisions)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(d.name for d in self.decisions)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of values of each decision, int64 `[T]`."""
        return np.array([len(d.values) for d in self.decisions], dtype=np.int64)

    @cached_property
    def references(self) -> NDArray[np.int64]:
        """Each decision's own reference choice, whether the others let it matter or not, int64 `[T]`."""
        return np.array([d.reference_choice for d in self.decisions], dtype=np.int64)

    @property
    def uncompressed(self) -> NDArray[np.int64]:
        """The strategy that leaves the network as it was: all references together, int64 `[T]`; an array of its own."""
        return self.check_one(self.references.copy())

    @cached_property
    def conditions(self) -> NDArray[np.int64]:
        """The decision each one requires and the least choice of it, int64 `[T, 2]`; -1 and 0 where there is none."""
        rows = []
        for decision in self.decisions:
            name, least = decision.requires or ("", 0)
            t = self.names.index(name) if name else -1
            rows.append((t, self.decisions[t].values.index(least) if name else 0))
        return np.array(rows, dtype=np.int64)

    @cached_property
    def conditional(self) -> bool:
        """Whether some decision requires another."""
        return bool((self.conditions[:, 0] >= 0).any())

    @cached_property
    def count(self) -> int:
        """Number of strategies."""
        return int(np.prod([int(n) for n in self.sizes], dtype=object))

    @cached_property
    def strides(self) -> NDArray[np.int64]:
        """Strides of `index`: the last decision varies fastest. int64 `[T]`."""
        if self.count > 2**62:
            raise ValueError(f"{self.count} strategies are too many to number")
        return np.concatenate([np.cumprod(self.sizes[:0:-1])[::-1], [1]]).astype(np.int64)

    def check(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Checks strategies and returns them as int64 `[N, T]`, choices of inactive decisions as 0.

        Raises:
            ValueError: Wrong shape, not integers, or a choice that does not exist.
        """
        choices = self.check_choices(strategies)
        return self._canonical(choices) if self.conditional else choices

    def check_choices(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Checks choices as `check` does, but leaves those of inactive decisions as they are, int64 `[N, T]`."""
        given = np.asarray(strategies)
        if given.ndim == 1:
            given = given[None]
        if given.ndim != 2 or given.shape[1] != len(self):
            raise ValueError(f"strategies have shape {np.shape(strategies)}; expected [N, {len(self)}]")
        if given.dtype.kind not in "iu":
            raise ValueError(f"strategies have dtype {given.dtype}; choices are integers (indices of values)")
        # Kernels are compiled for arrays of one kind; others would be compiled for anew.
        choices = np.require(given, np.int64, ["C", "W"])
        wrong = (choices < 0) | (choices >= self.sizes)
        if wrong.any():
            row, t = np.argwhere(wrong)[0]
            raise ValueError(
                f"strategies[{row}, {t}]={choices[row, t]} is not a choice of {self.names[t]!r}, "
                f"which has {self.sizes[t]} values"
            )
        return choices

    def active(self, strategies: ArrayLike) -> NDArray[np.bool_]:
        """Says which decisions matter in each strategy, bool `[N, T]`."""
        controller, least = self.conditions.T
        return (controller < 0) | (self.check(strategies)[:, controller] >= least)

    def _canonical(self, choices: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = choices.copy()
        for t, (controller, least) in enumerate(self.conditions):
            if controller >= 0:
                rows[rows[:, controller] < least, t] = 0
        return rows

    def check_one(self, strategy: ArrayLike) -> NDArray[np.int64]:
        """Checks one strategy and returns it as int64 `[T]`; several are refused."""
        rows = self.check(strategy)
        if len(rows) != 1:
            raise ValueError(f"expected one strategy [{len(self)}], got {len(rows)}")
        return rows[0]

    def index(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Numbers strategies: int64 `[N]` in `0 ... count - 1`, the row order of `enumerate`."""
        return self.check(strategies) @ self.strides

    def places_in(self, larger: DecisionSpace) -> tuple[NDArray[np.int64], ...]:
        """Returns where each decision's values lie among those of the same decision in a larger space.

        Raises:
            ValueError: The other space has other decisions, or lacks values; the message names them.
        """
        if self.names != larger.names:
            raise ValueError(f"decisions are {list(self.names)}, not {list(larger.names)}")
        places = []
        for own, other in zip(self.decisions, larger.decisions, strict=True):
            if missing := sorted(set(own.values) - set(other.values)):
                raise ValueError(f"{own.name} can be {missing}, for which there is only {list(other.values)}")
            places.append(np.array([other.values.index(v) for v in own.values], dtype=np.int64))
        return tuple(places)

    def enumerate(self, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """Returns strategies number `start` to `stop` (default: all), int64 `[N, T]`."""
        rows = np.arange(start, self.count if stop is None else stop, dtype=np.int64)
        return rows[:, None] // self.strides % self.sizes

    def spread(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Draws strategies over the whole range, from the first value of every decision to the last, int64 `[n, T]`.

        Each has a random level and strays from it by a random spread. (Independent uniform choices have costs near the
        middle, all alike.)
        """
        rows = []
        for _ in range(n):
            level, spread = rng.uniform(0, 1), rng.uniform(*_SPREAD)
            fractions = np.clip(level + spread * rng.standard_normal(len(self)), 0, 1)
            rows.append(np.rint(fractions * (self.sizes - 1)).astype(np.int64))
        return self.check(np.array(rows, dtype=np.int64).reshape(n, len(self)))

    def describe(self, strategy: ArrayLike) -> dict[str, Any]:
        """Returns decision name to value of one strategy `[T]`."""
        row = self.check_one(strategy)
        return {d.name: d.values[c] for d, c in zip(self.decisions, row, strict=True)}

    def encode(self, values: Mapping[str, int | str]) -> NDArray[np.int64]:
        """Returns the choices `[T]` of a description made by `describe`.

        Raises:
            ValueError: A decision is missing, unknown, or has another value.
        """
        unknown, missing = sorted(set(values) - set(self.names)), sorted(set(self.names) - set(values))
        if unknown or missing:
            raise ValueError(f"strategy does not fit: unknown decisions {unknown}, missing decisions {missing}")
        row = []
        for d in self.decisions:
            if values[d.name] not in d.values:
                raise ValueError(f"{d.name}={values[d.name]!r} is not one of {list(d.values)}")
            row.append(d.values.index(values[d.name]))
        return np.array(row, dtype=np.int64)


def steps_by_layer(decisions: DecisionSpace) -> tuple[tuple[int, ...], ...]:
    """Returns the steps in which neighbouring decisions about one layer are made together."""
    steps: list[list[int]] = []
    for t, decision in enumerate(decisions.decisions):
        if t > 0 and decision.subject and decision.subject == decisions.decisions[t - 1].subject:
            steps[-1].append(t)
        else:
            steps.append([t])
    return tuple(map(tuple, steps))


def from_lists(
    decisions: Mapping[str, Sequence[int] | Sequence[str]], reference: Mapping[str, int | str] | None = None
) -> DecisionSpace:
    """Returns a space from names and values, for tables of one's own.

    Args:
        decisions: Name to legal values: ascending numbers, or labels.
        reference: Name to the value that leaves the network as it was, where that is not the last.

    Raises:
        KeyError: A reference is of no decision.
        ValueError: Values are illegal, or a reference is none of them.
    """
    for name, values in decisions.items():
        if isinstance(values, str):
            raise ValueError(f"decisions[{name!r}]={values!r} must list values, not be one label")
    space = DecisionSpace(tuple(Decision(n, "other", tuple(map(_plain, values))) for n, values in decisions.items()))
    return with_references(space, reference or {})


def with_references(decisions: DecisionSpace, reference: Mapping[str, int | str]) -> DecisionSpace:
    """Returns the same decisions with other references.

    Raises:
        KeyError: A reference is of no decision.
        ValueError: It is none of the decision's values.
    """
    for name in reference:
        if name not in decisions.names:
            raise unknown_name("reference", name, decisions.names)
    stated = {name: _plain(value) for name, value in reference.items()}
    return DecisionSpace(tuple(replace(d, reference=stated.get(d.name, d.reference)) for d in decisions.decisions))


def _plain(value: Any) -> Any:
    """Turns what an array holds into what Python holds, so that it can be written as JSON."""
    return value.item() if isinstance(value, np.generic) else value
