"""The problem: decisions, cost terms, an accuracy model, a budget and a reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.problem import budgets
from compress_gym.problem.costs import CostTerms, Term, pack
from compress_gym.problem.costs.increments import Stages, stages_of
from compress_gym.problem.decisions import ENUMERABLE, MAX_VALUES, DecisionSpace, from_lists, with_references
from compress_gym.problem.observations import DEVICE_NAMES, SHAPE_NAMES, ExtraFeatures
from compress_gym.problem.rewards import Outcome, Reward, RewardFunction, get_reward
from compress_gym.problem.scores import AccuracyModel, MeasuredAccuracy
from compress_gym.problem.scores.model import ACCURACY_COLUMN, columns_of, scores_of
from compress_gym.support.errors import unknown_name
from compress_gym.support.lazy import load

# Keys of the last step's info: a cost of that name would be overwritten.
RESERVED = frozenset(
    "choice executed_action accuracy baseline_accuracy strategy cost_ratio feasible accuracy_source".split()
)


class Compressor(Protocol):
    """Turns strategies into modules and files."""

    def build(self, strategy: ArrayLike) -> Any:
        """Returns the compressed module of a strategy `[T]`, in evaluation mode."""
        ...

    def export(self, strategy: ArrayLike, path: Path) -> Path:
        """Writes the compressed network of a strategy `[T]` and returns where it lies."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What strategies are worth, one entry a strategy.

    Attributes:
        accuracy: Fractions of 1, float64 `[N]`.
        costs: Every cost under its name, float64 `[N]` each.
        cost_ratio: The bounded cost as a fraction of the uncompressed one, float64 `[N]`.
        feasible: Whether the budget holds, bool `[N]`.
        reward: float64 `[N]`.
        scores: Every score column under its name, `accuracy` among them, float64 `[N]` each.
    """

    accuracy: NDArray[np.float64]
    costs: dict[str, NDArray[np.float64]]
    cost_ratio: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    reward: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Problem:
    """A compression problem. Strategies are integer arrays `[N, T]` of choices.

    Attributes:
        decisions: What is decided, in order.
        cost_terms: What strategies cost.
        accuracy_model: How accurate they are.
        cost: Which cost is bounded.
        budget: The ceiling, as a fraction of the uncompressed cost.
        budget_rule: `clip`, `repair` or `none`.
        reward: A name of `compress_gym.problem.rewards.REWARDS`, or a function of an `Outcome`.
        steps: Indices of the decisions made in each step; default: one decision a step.
        shapes: What the observation says of each decision's layer, float32 `[T, 9]`; default: zeros.
        device_features: What the observation says of the device, float32 `[4]`; default: zeros.
        extra_features: What else the observation says of each decision; default: nothing.
        origin: Where the problem comes from (task, version, asset hash, device), shown by `reset`'s info.
        compressor: Makes what builds compressed modules, see `build`; `None`: there is no module.
    """

    decisions: DecisionSpace
    cost_terms: CostTerms
    accuracy_model: AccuracyModel
    cost: str = "latency_ms"
    budget: float = 0.5
    budget_rule: str = "clip"
    reward: str | RewardFunction = "mnasnet"
    steps: tuple[tuple[int, ...], ...] = ()
    shapes: NDArray[np.float32] | None = None
    device_features: NDArray[np.float32] | None = None
    extra_features: ExtraFeatures | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    compressor: Callable[[], Compressor] | None = None

    def __post_init__(self) -> None:
        """Checks the arguments; see `ValueError`s and `KeyError`s for what is legal."""
        metrics = self.cost_terms.metrics
        if self.cost not in metrics:
            raise unknown_name("cost", self.cost, metrics)
        if self.budget_rule not in budgets.BUDGET_RULES:
            raise unknown_name("budget_rule", self.budget_rule, budgets.BUDGET_RULES)
        if self.budget_rule == "none" and not self.reward_spec.uses_cost:
            raise ValueError(
                f"reward={self.reward_spec.name!r} ignores cost, so budget_rule='none' would leave nothing to trade; "
                "use budget_rule='clip', or reward='mnasnet', 'galen' or 'amc-macs'"
            )
        if self.reward_spec.name == "amc-macs" and "macs" not in metrics:
            raise ValueError("reward='amc-macs' needs the cost 'macs', which this problem does not have")
        lacking = sorted(set(self.reward_spec.columns) - set(self.columns))
        if lacking:
            raise ValueError(
                f"reward={self.reward_spec.name!r} needs the score columns {lacking}, which this problem does not have "
                f"(it has {list(self.columns)}); a task declares them, and an accuracy model of your own may have them"
            )
        reserved = sorted(RESERVED & set(metrics))
        clashing = sorted((RESERVED | set(metrics)) & set(self.columns) - {ACCURACY_COLUMN})
        if reserved:
            raise ValueError(f"costs={reserved} have names that the info uses for something else; rename them")
        if clashing:
            raise ValueError(f"score columns {clashing} have names that the info uses for something else; rename them")
        _check_budget(self.budget)
        if self.baseline_costs[self.cost] <= 0:
            raise ValueError(f"cost={self.cost!r} is 0 for the uncompressed network, so no fraction of it can be kept")
        if not self.steps:
            object.__setattr__(self, "steps", tuple((t,) for t in range(len(self.decisions))))
        if [t for step in self.steps for t in step] != list(range(len(self.decisions))):
            raise ValueError(f"steps={self.steps} must contain every decision once, in order")
        if self.shapes is None:
            object.__setattr__(self, "shapes", np.zeros((len(self.decisions), len(SHAPE_NAMES)), dtype=np.float32))
        if self.device_features is None:
            object.__setattr__(self, "device_features", np.zeros(len(DEVICE_NAMES), dtype=np.float32))
        if self.extra_features is not None and len(self.extra_features.values) != len(self.decisions):
            raise ValueError(
                f"extra_features describe {len(self.extra_features.values)} decisions, not {len(self.decisions)}"
            )
        if self.decisions.conditional:
            self._check_inactive_are_free()
        self.check_budget(self.budget)

    def _check_inactive_are_free(self) -> None:
        """Checks on some strategies that costs do not depend on inactive decisions."""
        choices = np.random.default_rng(0).integers(self.decisions.sizes, size=(256, len(self.decisions)))
        terms = self.cost_terms
        differ = (terms.evaluate(choices) != terms.evaluate(self.decisions.check(choices))).any(axis=1)
        if differ.any():
            raise ValueError(
                f"the costs of {self.describe(choices[differ.argmax()])} change with decisions that are inactive in "
                "it; cost terms must hold the same costs wherever a requirement is not met"
            )

    @classmethod
    def from_table(
        cls,
        decisions: Mapping[str, Sequence[int] | Sequence[str]] | DecisionSpace,
        strategies: ArrayLike,
        accuracies: ArrayLike,
        costs: Mapping[str, ArrayLike],
        reference: Mapping[str, int | str] | None = None,
        **settings: Any,
    ) -> Problem:
        """Makes a problem of any enumerated benchmark.

        Args:
            decisions: Decision name to legal values, ascending numbers or labels; or a `DecisionSpace`.
            strategies: Choices (indices of values), `[N, T]`; every strategy of the space, once, in any order.
            accuracies: Fractions of 1, `[N]`.
            costs: Cost name (with its unit) to values, `[N]` each.
            reference: Decision name to the value that leaves the network as it was; of decisions that are not named it
                is the last one.
            **settings: `cost` (default: the first of `costs`), `budget`, `budget_rule`, `reward`.

        Returns:
            A problem whose uncompressed network is the strategy that has the reference of every decision: budgets are
            fractions of its costs, and its accuracy is the baseline.

        Raises:
            KeyError: A reference is of no decision.
            ValueError: Values, strategies or references are missing, doubled or illegal, or a column has the wrong
                length or range.
        """
        if isinstance(decisions, DecisionSpace):
            space = with_references(decisions, reference or {})
        else:
            space = from_lists(decisions, reference)
        rows = space.index(strategies)
        present = np.bincount(rows, minlength=space.count)
        if (present != 1).any():
            missing, doubled = int((present == 0).sum()), int((present > 1).sum())
            raise ValueError(
                f"strategies must hold every one of the {space.count} strategies once; "
                f"{missing} are missing and {doubled} are given more than once"
            )
        if not costs:
            raise ValueError("costs={} must name at least one cost, for instance {'latency_ms': [...]}")
        columns = [_column(f"costs[{name!r}]", values, space.count) for name, values in costs.items()]
        for name, column in zip(costs, columns, strict=True):
            if (column <= 0).any():
                raise ValueError(f"costs[{name!r}] holds a cost of 0; costs must be positive")
        table = np.empty((space.count, len(columns)))
        table[rows] = np.stack(columns, axis=1)
        accuracy = np.empty(space.count)
        accuracy[rows] = _column("accuracies", accuracies, space.count)
        term = Term("table", tuple(range(len(space))), table.reshape(*space.sizes, len(columns)))
        terms = pack(space, tuple(costs), [term])
        model = MeasuredAccuracy(space, accuracy, baseline=accuracy[space.index(space.uncompressed)[0]])
        return cls(space, terms, model, **{"cost": next(iter(costs)), **settings})

    @classmethod
    def from_model(
        cls, module: Any, example_input: Any, *, calibration: Any, validation: Any, **settings: Any
    ) -> Problem:
        """Makes a problem of a torch model of one's own, scored live (needs the extra `live`).

        Args:
            module: A trained convolutional classifier that `torch.fx` can trace; it is copied, not changed.
            example_input: One normalised image, `[1, channels, height, width]`.
            calibration: Normalised training images for the recovery, float `[N, channels, height, width]`; where bits
                are decided, the ranges of inputs are found on them, too. With labels, a pair, for `finetune-N`.
            validation: Pair of normalised images `[N, channels, height, width]` and integer labels `[N]`.
            **settings: `kind` (default `"ChannelPrune"`), `device` (a name or the path of a latency table; default:
                none, the cost is then `macs`, and bits are 2 to 8), `recovery` (`adaptive-bn`, or for networks without
                batch norm `reconstruct` or `none`), `levels` (how many channel counts a group has, default 16),
                `bits`, `fixed`, and `cost`, `budget`, `budget_rule`, `reward`.

        Raises:
            ValueError: An operation cannot be followed (it and its layer are named), or images or labels do not fit.
        """
        # Whatever knows of torch and of kinds is above this package, and known to it by name alone.
        build = load("compress_gym.kinds.shared.own:problem_from_model")
        problem: Problem = build(module, example_input, calibration=calibration, validation=validation, **settings)
        return problem

    def replace(self, **changes: Any) -> Problem:
        """Returns the same problem with some fields changed, for instance `budget=0.3`."""
        if set(changes) != {"budget"}:
            return replace(self, **changes)
        # What does not depend on the budget is not computed again.
        self.check_budget(changes["budget"])
        other = copy(self)
        vars(other).pop("cost_limit", None)
        object.__setattr__(other, "budget", changes["budget"])
        return other

    @cached_property
    def reward_spec(self) -> Reward:
        """The reward's name, function and whether it speaks of cost."""
        return get_reward(self.reward)

    @cached_property
    def baseline_costs(self) -> dict[str, float]:
        """Costs of the uncompressed network (the reference of every decision)."""
        return {name: float(v[0]) for name, v in self.costs(self.decisions.uncompressed).items()}

    @cached_property
    def cost_limit(self) -> float:
        """The budget in the unit of the bounded cost, tolerance (1e-6, relative) included."""
        return self._in_units(self.budget)

    def _in_units(self, budget: float) -> float:
        return float(budget) * self.baseline_costs[self.cost] * (1 + budgets.TOLERANCE)

    def check_budget(self, budget: float) -> None:
        """Checks that a budget is a fraction of 1 and, where a rule enforces it, that some strategy keeps it.

        Raises:
            ValueError: It is none, or no strategy does.
        """
        _check_budget(budget)
        if self.budget_rule != "none":
            self.limit_of(budget)

    def limit_of(self, budget: float | None) -> float:
        """Returns a budget (default: the problem's) in the unit of the bounded cost, tolerance included.

        Raises:
            ValueError: The budget is no fraction of 1, or below the cheapest strategy known.
        """
        given = self.budget if budget is None else budget
        _check_budget(given)
        baseline = self.baseline_costs[self.cost]
        limit = self._in_units(given)
        cheapest = float(self.costs(self.cheapest)[self.cost][0])
        if limit < cheapest:
            raise ValueError(
                f"budget={given} is below the cheapest strategy, which costs {cheapest / baseline:.4f} of the "
                f"uncompressed {self.cost}; use budget={math.ceil(cheapest / baseline * 10000) / 10000} or more"
            )
        return limit

    @cached_property
    def metric(self) -> int:
        """Column of the bounded cost."""
        return self.cost_terms.column(self.cost)

    @cached_property
    def cheapest(self) -> NDArray[np.int64]:
        """The cheapest strategy known, `[T]`: exact where the space is small enough to enumerate."""
        decisions, terms = self.decisions, self.cost_terms
        if decisions.count <= ENUMERABLE:
            costs = self.costs(decisions.enumerate())[self.cost]
            return decisions.enumerate(int(costs.argmin()), int(costs.argmin()) + 1)[0]
        lowest = np.array([self.ascending(t)[0] for t in range(len(decisions))])
        return decisions.check_one(budgets.cheapest(decisions.sizes, terms.terms, terms.tables, self.metric, lowest))

    @cached_property
    def stages(self) -> Stages:
        """The bounded cost at every stage of deciding; see `costs/increments.py`."""
        decisions = self.decisions
        return stages_of(
            self.cost_terms, self.metric, decisions.sizes, self.cheapest, decisions.references, self.lower_choices
        )

    @cached_property
    def lower_choices(self) -> NDArray[np.int64]:
        """To which choice each choice of a decision is lowered, int64 `[T, 16]`; -1 where to none.

        Numbers go down by one if their highest is the reference. Others go to the next cheaper choice, by the bounded
        cost of choices made alone.
        """
        lower = np.full((len(self.decisions), MAX_VALUES), -1, dtype=np.int64)
        for t, decision in enumerate(self.decisions.decisions):
            if decision.grows:
                lower[t, 1 : len(decision.values)] = np.arange(len(decision.values) - 1)
                continue
            costs, ascending = self._costs_alone(t), self.ascending(t)
            for choice, cost in enumerate(costs):
                cheaper = ascending[costs[ascending] < cost]
                lower[t, choice] = cheaper[-1] if len(cheaper) else -1
        return lower

    def ascending(self, t: int) -> NDArray[np.int64]:
        """Returns all choices of decision `t` from the most to the least compressed, int64 `[K]`.

        Numbers stay in their order if their highest is the reference. Others are ordered by the bounded cost of choices
        made alone.
        """
        if self.decisions.decisions[t].grows:
            return np.arange(self.decisions.sizes[t])
        return np.argsort(self._costs_alone(t), kind="stable")

    def lowered(self, t: int, choice: int) -> NDArray[np.int64]:
        """Returns the choices to which one of decision `t` can be lowered, step by step, the lowest first."""
        found: list[int] = []
        while (choice := int(self.lower_choices[t, choice])) >= 0:
            found.append(choice)
        return np.array(found[::-1], dtype=np.int64)

    def raised(self, t: int) -> NDArray[np.int64]:
        """Returns the choices of decision `t` from the lowest to the reference, between which levels are taken."""
        reference = int(self.decisions.references[t])
        return np.append(self.lowered(t, reference), reference)

    def _costs_alone(self, t: int) -> NDArray[np.float64]:
        """Returns the bounded cost of each choice of a decision, the others at their references, float64 `[K]`."""
        rows = np.tile(self.decisions.references, (int(self.decisions.sizes[t]), 1))
        # What it requires is chosen, or its choices would all cost the same.
        u, least = self.decisions.conditions[t]
        while u >= 0:
            rows[:, u] = np.maximum(rows[:, u], least)
            u, least = self.decisions.conditions[u]
        rows[:, t] = np.arange(len(rows))
        return self.costs(rows)[self.cost]

    def costs(self, strategies: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Returns cost name to costs, float64 `[N]`."""
        return self._costs_of(self.decisions.check(strategies))

    def _costs_of(self, checked: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        totals = self.cost_terms.evaluate(checked)
        return {name: totals[:, m] for m, name in enumerate(self.cost_terms.metrics)}

    def accuracy(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies on the validation split, fractions of 1, float64 `[N]`."""
        return self.accuracy_model(self.decisions.check(strategies))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns, `accuracy` first."""
        return columns_of(self.accuracy_model)

    def scores(self, strategies: ArrayLike, columns: Sequence[str] | None = None) -> dict[str, NDArray[np.float64]]:
        """Returns score columns (default: all) of strategies on the validation split, float64 `[N]` each."""
        return scores_of(self.accuracy_model, self.decisions.check(strategies), columns or self.columns)

    def build(self, strategy: ArrayLike) -> Any:
        """Returns the compressed torch module of a strategy `[T]`, recovered as its score says, in evaluation mode.

        Raises:
            ValueError: The problem has no module (it was made of a table, or of costs alone).
        """
        return self._compressor.build(self.decisions.check_one(strategy))

    def export(self, strategy: ArrayLike, path: str | Path) -> Path:
        """Writes the compressed network of a strategy `[T]` to a file (ONNX; a folder where the kind says so).

        Raises:
            ValueError: As `build`.
        """
        return self._compressor.export(self.decisions.check_one(strategy), Path(path))

    @cached_property
    def _compressor(self) -> Compressor:
        if self.compressor is None:
            raise ValueError("this problem has no module to build: it was made of a table, or of costs alone")
        return self.compressor()

    def evaluate(self, strategies: ArrayLike) -> Evaluation:
        """Returns scores, costs, feasibility and rewards of strategies `[N, T]`."""
        rows = self.decisions.check(strategies)
        costs, scores = self._costs_of(rows), scores_of(self.accuracy_model, rows, self.columns)
        accuracy = scores[ACCURACY_COLUMN]
        ratio = costs[self.cost] / self.baseline_costs[self.cost]
        reward = [
            self.reward_spec.function(
                Outcome(
                    float(accuracy[n]),
                    self.accuracy_model.baseline,
                    float(ratio[n]),
                    float(self.budget),
                    {name: float(values[n]) for name, values in costs.items()},
                    {name: float(values[n]) for name, values in scores.items()},
                )
            )
            for n in range(len(accuracy))
        ]
        return Evaluation(
            accuracy, costs, ratio, costs[self.cost] <= self.cost_limit, np.array(reward, dtype=np.float64), scores
        )

    def within_budget(self, strategies: ArrayLike) -> NDArray[np.int64]:
        """Returns what the budget rule makes of wanted strategies, int64 `[N, T]`."""
        kept: NDArray[np.int64] = budgets.keep_budget(
            *self.stages,
            self.decisions.sizes,
            self.decisions.conditions,
            self.cheapest,
            self.decisions.check_choices(strategies),
            budgets.rule_code(self.budget_rule),
            self.cost_limit,
        )
        return kept

    def random(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Returns what a uniformly random policy would do in `n` episodes, int64 `[n, T]`."""
        return self.within_budget(rng.integers(self.decisions.sizes, size=(n, len(self.decisions))))

    def uniform(self, budget: float | None = None) -> NDArray[np.int64]:
        """Returns the largest strategy within the budget that gives every decision the same fraction of its values.

        Values that have no order count by cost, from the cheapest to the reference.

        Args:
            budget: Fraction of the uncompressed cost; default: the problem's.

        Returns:
            Choices `[T]`; the cheapest strategy if no uniform one fits.
        """
        limit = self.limit_of(budget)
        raised = [self.raised(t) for t in range(len(self.decisions))]
        highest = np.array([len(choices) - 1 for choices in raised])
        levels = np.unique(np.concatenate([np.arange(n + 1) / max(n, 1) for n in highest]))
        places = np.floor(levels[:, None] * highest + 1e-9).astype(np.int64)
        rows = [choices[place] for choices, place in zip(raised, places.T, strict=True)]
        candidates = self.decisions.check(np.stack(rows, axis=1))
        fitting = np.flatnonzero(self.costs(candidates)[self.cost] <= limit)
        return candidates[fitting[-1]] if len(fitting) else self.cheapest.copy()

    def describe(self, strategy: ArrayLike) -> dict[str, Any]:
        """Returns decision name to value."""
        return self.decisions.describe(strategy)

    def enumerate(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns all strategies `[N, T]` and their accuracies `[N]`.

        Raises:
            ValueError: The space was not enumerated (the accuracies are not a measured table).
        """
        if not isinstance(self.accuracy_model, MeasuredAccuracy):
            raise ValueError(
                f"accuracy={self.accuracy_model.source!r} is no table of all strategies, so the optimum is not known; "
                "use accuracy='measured' on a task that ships one"
            )
        return self.decisions.enumerate(), self.accuracy_model.table

    def optimum(self, budget: float | None = None) -> NDArray[np.int64]:
        """Returns the most accurate strategy within the budget `[T]`, ties to the cheaper.

        Args:
            budget: Fraction of the uncompressed cost; default: the problem's.

        Raises:
            ValueError: The space was not enumerated, or the budget is illegal.
        """
        strategies, accuracy = self.enumerate()
        costs = self.costs(strategies)[self.cost]
        feasible = np.flatnonzero(costs <= self.limit_of(budget))
        best = feasible[np.lexsort((costs[feasible], -accuracy[feasible]))[0]]
        return strategies[best]

    def unreachable(self) -> int:
        """Counts strategies that fit the budget but that the budget rule never lets an agent reach."""
        strategies, _ = self.enumerate()
        fitting = strategies[self.costs(strategies)[self.cost] <= self.cost_limit]
        return int((self.within_budget(fitting) != fitting).any(axis=1).sum())


def _check_budget(budget: object) -> None:
    if not (
        isinstance(budget, Real) and not isinstance(budget, bool) and math.isfinite(budget) and 0 < float(budget) <= 1
    ):
        raise ValueError(f"budget={budget!r} must be above 0 and at most 1 (a fraction of the uncompressed cost)")


def _column(name: str, values: ArrayLike, count: int) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (count,):
        raise ValueError(f"{name} has shape {column.shape}; expected [{count}]")
    if not np.isfinite(column).all() or (column < 0).any():
        raise ValueError(f"{name} holds a negative or non-finite number")
    return column
