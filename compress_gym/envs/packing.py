"""What the step kernel reads of one or several problems, packed into three arrays.

Passing an array into a jitted function takes as long as a dozen additions, so everything that does not change during an
episode lies in one array of each type. `ints` begins with the number of problems, that of action numbers and where each
problem's header begins; a header is the fields below, in their order. Fields that begin with `AT_` say where something
begins: decisions, touches and strides in `ints`, tables, constants and measured accuracies in `floats`, features and a
surrogate's weights in `singles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem import Problem, budgets
from compress_gym.problem.observations import kinds_of, observation_names, static_features
from compress_gym.problem.scores import AccuracyModel, MeasuredAccuracy
from compress_gym.problem.scores.surrogate import SurrogateAccuracy

# How `ints` begins.
PROBLEMS, SLOTS, HEADERS = range(3)
# How `floats` begins: the range of sampled budgets.
LOWEST_BUDGET, HIGHEST_BUDGET = range(2)
# The fields of a header.
STEPS, DECISIONS, TERMS, METRICS, BOUNDED, MACS, RULE, DISCRETE = range(8)
REWARD, ACCURACY, FEATURES, MEMBERS, VALUES, HIDDEN, TABLE_ROWS, CONDITIONAL = range(8, 16)
AT_SLOTS, AT_SIZES, AT_CONDITIONS, AT_CHEAPEST, AT_REFERENCES, AT_STAGES, AT_STRIDES = range(16, 23)
AT_FEATURES, AT_STAGED, AT_TABLES, AT_CONSTANTS, AT_ACCURACY = range(23, 28)
FIELDS = 28
# The constants of a problem, in `floats`.
BASELINE_COST, BASELINE_ACCURACY, BUDGET, CERTAIN, LEAST, MOST = range(6)
# Where accuracies come from: a table, a surrogate, or a model that only Python can call.
MEASURED, SURROGATE, ELSEWHERE = range(3)


@dataclass(frozen=True, eq=False)
class Program:
    """Problems packed for the kernel, with what is common to them.

    Attributes:
        problems: The problems.
        ints: int64, see the module's docstring.
        floats: float64.
        singles: float32.
        steps: Most steps of an episode.
        slots: Action numbers of a step.
        width: Columns that a strategy in progress needs: choices and places.
        metrics: Names of the costs.
        observation_names: Names of the observation's columns.
        most_values: Most values of a decision.
    """

    problems: tuple[Problem, ...]
    ints: NDArray[np.int64]
    floats: NDArray[np.float64]
    singles: NDArray[np.float32]
    steps: int
    slots: int
    width: int
    metrics: tuple[str, ...]
    observation_names: tuple[str, ...]
    most_values: int

    @property
    def packed(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
        """The arrays with which the arguments of kernels begin."""
        return self.ints, self.floats, self.singles

    def header(self, number: int) -> int:
        """Where the header of a problem begins in `ints`."""
        return int(self.ints[HEADERS + number])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns beside accuracy, which the kernel knows nothing of."""
        return self.problems[0].columns[1:]

    @cached_property
    def in_kernel(self) -> bool:
        """Whether the kernel finds all scores and the reward of every problem itself."""
        return not self.columns and all(
            _accuracy_code(p.accuracy_model) != ELSEWHERE and p.reward_spec.custom is None for p in self.problems
        )

    @cached_property
    def conditional(self) -> bool:
        """Whether decisions of any problem may be inactive."""
        return any(p.decisions.conditional for p in self.problems)

    @cached_property
    def predicts(self) -> bool:
        """Whether a surrogate predicts accuracies of any problem."""
        return any(_accuracy_code(p.accuracy_model) == SURROGATE for p in self.problems)

    @cached_property
    def repairs(self) -> bool:
        """Whether strategies of any problem are repaired when they are complete."""
        return any(budgets.rule_code(p.budget_rule) == budgets.REPAIR for p in self.problems)


def pack_program(
    problems: Sequence[Problem], discrete: bool, budgets_range: tuple[float, float] | None = None
) -> Program:
    """Packs problems for the kernel.

    Args:
        problems: At least one.
        discrete: Whether every decision is a step of its own.
        budgets_range: Lowest and highest budget that are sampled; `None`: each problem keeps its own.

    Raises:
        ValueError: The problems have other kinds of decision, actions or costs than the first, so one observation and
            one action cannot serve all of them.
    """
    steps = [problem.steps if not discrete else [(t,) for t in range(len(problem.decisions))] for problem in problems]
    slots = [max(map(len, s)) for s in steps]
    kinds = [kinds_of(problem.decisions) for problem in problems]
    metrics = [problem.cost_terms.metrics for problem in problems]
    extra = [problem.extra_features.names if problem.extra_features else () for problem in problems]
    columns = [problem.columns for problem in problems]
    shared = list(zip(slots, kinds, metrics, extra, columns, strict=True))
    for n, common in enumerate(shared):
        if common != shared[0]:
            raise ValueError(
                f"problem {n} ({_origin(problems[n])}) cannot share spaces with problem 0 ({_origin(problems[0])}): "
                f"actions a step, kinds of decision, costs, extra features and score columns are {common}, not "
                f"{shared[0]}"
            )
    ints, floats, singles = _Packer(np.int64), _Packer(np.float64), _Packer(np.float32)
    ints.add([len(problems), slots[0], *range(2 + len(problems), 2 + len(problems) * (1 + FIELDS), FIELDS)])
    ints.add([0] * FIELDS * len(problems))
    floats.add(budgets_range or (0.0, 0.0))
    headers = [_header(p, s, slots[0], discrete, ints, floats, singles) for p, s in zip(problems, steps, strict=True)]
    packed = ints.array()
    packed[HEADERS + len(problems) : HEADERS + len(problems) * (1 + FIELDS)] = np.concatenate(headers)
    return Program(
        tuple(problems),
        packed,
        floats.array(),
        singles.array(),
        max(map(len, steps)),
        slots[0],
        max(len(p.decisions) + len(p.cost_terms.terms) for p in problems),
        metrics[0],
        observation_names(kinds[0], slots[0], extra[0]),
        max(int(p.decisions.sizes.max()) for p in problems),
    )


def _header(
    problem: Problem,
    steps: Sequence[Sequence[int]],
    slots: int,
    discrete: bool,
    ints: _Packer,
    floats: _Packer,
    singles: _Packer,
) -> NDArray[np.int64]:
    assert problem.shapes is not None and problem.device_features is not None
    terms, decisions, cheapest = problem.cost_terms, problem.decisions, problem.cheapest
    table = np.full((len(steps), slots), -1, dtype=np.int64)
    for row, step in zip(table, steps, strict=True):
        row[: len(step)] = step
    kinds, shapes, device = kinds_of(decisions), problem.shapes, problem.device_features
    features = static_features(decisions, steps, kinds, shapes, device, terms, problem.cost, problem.extra_features)
    stages = problem.stages
    certain = [terms.tables[row[0], problem.metric] for row in terms.terms if row[1] == 0]
    least = problem.costs(cheapest)[problem.cost][0]
    baseline = problem.baseline_costs[problem.cost]
    constants = [baseline, problem.accuracy_model.baseline, problem.budget, sum(certain), least, baseline]
    header = np.zeros(FIELDS, dtype=np.int64)
    header[STEPS], header[DECISIONS], header[TERMS] = len(steps), len(decisions), len(terms.terms)
    header[METRICS], header[BOUNDED] = len(terms.metrics), problem.metric
    header[MACS] = terms.metrics.index("macs") if "macs" in terms.metrics else -1
    header[RULE], header[DISCRETE] = budgets.rule_code(problem.budget_rule), discrete
    header[REWARD], header[ACCURACY] = problem.reward_spec.code, _accuracy_code(problem.accuracy_model)
    header[FEATURES] = features.shape[1]
    header[AT_SLOTS], header[AT_SIZES] = ints.add(table), ints.add(decisions.sizes)
    header[AT_CHEAPEST], header[AT_REFERENCES] = ints.add(cheapest), ints.add(decisions.references)
    header[CONDITIONAL], header[AT_CONDITIONS] = decisions.conditional, ints.add(decisions.conditions)
    header[AT_STAGES], header[TABLE_ROWS] = ints.add(stages.ints), len(terms.tables)
    header[AT_FEATURES] = singles.add(features)
    header[AT_STAGED], header[AT_TABLES] = floats.add(stages.costs), floats.add(terms.tables)
    header[AT_CONSTANTS] = floats.add(constants)
    if isinstance(problem.accuracy_model, MeasuredAccuracy):
        header[AT_STRIDES], header[AT_ACCURACY] = ints.add(decisions.strides), floats.add(problem.accuracy_model.table)
    elif header[ACCURACY] == SURROGATE:
        model = problem.accuracy_model
        header[MEMBERS], header[VALUES], header[HIDDEN] = model.shape  # type: ignore[attr-defined]
        header[AT_ACCURACY] = singles.add(model.flat)  # type: ignore[attr-defined]
    return header


def _accuracy_code(model: AccuracyModel) -> int:
    # Subclasses may predict otherwise.
    return {MeasuredAccuracy: MEASURED, SurrogateAccuracy: SURROGATE}.get(type(model), ELSEWHERE)


def _origin(problem: Problem) -> str:
    return ", ".join(f"{key}={problem.origin[key]!r}" for key in ("task", "device") if key in problem.origin) or "own"


class _Packer:
    """Collects arrays of one type and says where each begins."""

    def __init__(self, dtype: type) -> None:
        self._dtype, self._parts, self._length = dtype, list[NDArray[np.generic]](), 0

    def add(self, values: object) -> int:
        part: NDArray[np.generic] = np.asarray(values, dtype=self._dtype).ravel()
        self._parts.append(part)
        self._length += len(part)
        return self._length - len(part)

    def array(self) -> NDArray:
        return np.concatenate(self._parts) if self._parts else np.zeros(1, dtype=self._dtype)
