"""Episodes in progress, one a row: what the scalar and the vector environment share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from compress_gym.envs import kernels
from compress_gym.envs.packing import ACCURACY, ELSEWHERE, pack_program
from compress_gym.problem import Problem
from compress_gym.problem.distribution import ProblemDistribution
from compress_gym.problem.rewards import Outcome
from compress_gym.problem.scores.batched import FEWEST
from compress_gym.problem.scores.model import ACCURACY_COLUMN, scores_of
from compress_gym.support.errors import unknown_name
from compress_gym.support.jit import Floats, Ints, Singles

ACTION_TYPES = ("continuous", "discrete")


class Episodes:
    """The arrays of some episodes in progress, and what is done to them.

    Attributes:
        distribution: Where problems come from.
        program: The problems packed for the kernel.
        discrete: Whether every decision is a step of its own, chosen by its index.
        observation_space: Of one episode.
        action_space: Of one episode.
        states: int64 `[N, ...]`, amounts: float64 `[N, ...]`, rows: float32 `[N, ...]`; see `kernels`.
        actions: float32 `[N, slots]`: what the next step executes.
        columns: Score columns of what has ended beside accuracy, float64 `[N, columns]`.
        observations: float32 `[N, columns]`, a view of rows.
        executed_actions: Centres of the executed bins, float32 `[N, slots]`, a view of rows.
        executed: Choices that were made, -1 where there was none, int64 `[N, slots]`, a view of states.
    """

    def __init__(
        self, source: Problem | ProblemDistribution | Sequence[Problem], action_type: str, count: int, threads: int = 1
    ) -> None:
        """Prepares the arrays; no episode has begun.

        Raises:
            KeyError: Unknown action type.
            ValueError: The problems cannot share spaces.
        """
        if action_type not in ACTION_TYPES:
            raise unknown_name("action_type", action_type, ACTION_TYPES)
        self.distribution = ProblemDistribution.of(source)
        self.discrete = action_type == "discrete"
        self.program = program = pack_program(self.distribution.problems, self.discrete, self.distribution.budgets)
        columns = len(program.observation_names)
        self.observation_space = spaces.Box(0.0, 1.0, (columns,), np.float32)
        self.action_space: spaces.Space[Any] = (
            spaces.Discrete(program.most_values)
            if self.discrete
            else spaces.Box(-1.0, 1.0, (program.slots,), np.float32)
        )
        self.states = np.zeros((count, kernels.EXECUTED + program.slots + program.width), dtype=np.int64)
        self.states[:, kernels.STATUS] = kernels.NOT_BEGUN
        self.amounts = np.zeros((count, kernels.COSTS + len(program.metrics)))
        self.rows = np.zeros((count, columns + program.slots), dtype=np.float32)
        self.actions = np.zeros((count, program.slots), dtype=np.float32)
        self.columns = np.zeros((count, len(program.columns)))
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the threads out; they are started again when needed."""
        return {**self.__dict__, "_pool": None}

    @property
    def observations(self) -> NDArray[np.float32]:
        """A view of rows."""
        return self.rows[:, : -self.program.slots]

    @property
    def executed_actions(self) -> NDArray[np.float32]:
        """A view of rows."""
        return self.rows[:, -self.program.slots :]

    @property
    def executed(self) -> NDArray[np.int64]:
        """A view of states."""
        return self.states[:, kernels.EXECUTED : kernels.EXECUTED + self.program.slots]

    @property
    def status(self) -> NDArray[np.int64]:
        """What each row has just done: a view of int64 `[N]`."""
        return self.states[:, kernels.STATUS]

    def seed(self, n: int, generator: np.random.Generator) -> None:
        """Gives a row a stream of its own, drawn from a generator."""
        self.states[n, kernels.KEY] = generator.integers(2**63)
        self.states[n, kernels.EPISODE] = 0

    def seed_all(self, seeds: Sequence[int | None]) -> None:
        """Seeds every row, as environments of its own would be; rows whose seed is `None` go on."""
        if not self.distribution.draws:
            return
        for n, seed in enumerate(seeds):
            if seed is not None or self.states[n, kernels.STATUS] == kernels.NOT_BEGUN:
                self.seed(n, seeding.np_random(seed)[0])

    def reset(self, chosen: NDArray[np.bool_], options: dict[str, Any] | None = None) -> None:
        """Starts an episode in the chosen rows.

        Args:
            chosen: bool `[N]`.
            options: `task`, `device` and `budget` fix what is otherwise drawn.

        Raises:
            KeyError: An option is something else.
            ValueError: No problem has the wanted origin, or it cannot keep the wanted budget.
        """
        numbers, budget = self.wanted(options)
        if not options and chosen.all():
            self.begin()
            return
        if len(numbers) == len(self.distribution.problems):
            kernels.reset_rows(*self.reset_arguments(chosen, -1, budget))
            return
        draws = np.full(len(chosen), -1)
        for n in np.flatnonzero(chosen):
            key, episode = self.states[n, kernels.KEY], self.states[n, kernels.EPISODE]
            draws[n] = numbers[kernels.draw(key, episode, len(numbers))]
        for number in numbers:
            kernels.reset_rows(*self.reset_arguments(draws == number, number, budget))

    def begin(self) -> None:
        """Starts an episode in every row: stepping does that where one has ended, and needs no kernel beside."""
        self.status[:] = kernels.ENDED
        kernels.step_rows(*self.arguments)

    def wanted(self, options: dict[str, Any] | None) -> tuple[list[int], float]:
        """Returns the numbers of problems that may be drawn, and the wanted budget (NaN: any); raises as `reset`."""
        wanted, budget = options or {}, math.nan
        numbers = self.distribution.numbers_of(wanted)
        if wanted.get("budget") is not None:
            for number in numbers:
                self.distribution.problems[number].check_budget(wanted["budget"])
            budget = float(wanted["budget"])
        return numbers, budget

    def reset_arguments(
        self, chosen: NDArray[np.bool_], problem: int = -1, budget: float = math.nan
    ) -> tuple[Any, ...]:
        """Returns the arguments of `kernels.reset_rows`, in order."""
        return (*self.program.packed, self.states, self.amounts, self.rows, chosen, problem, budget)

    @property
    def arguments(self) -> tuple[NDArray[Any], ...]:
        """The arguments of `kernels.step_rows`, in order."""
        return (*self.program.packed, *self._rows)

    @property
    def _rows(self) -> tuple[NDArray[Any], ...]:
        return self.states, self.amounts, self.rows, self.actions

    def step(self) -> int:
        """Executes `actions`; rows whose episode is over start the next one.

        Returns:
            A negative number, or the first row whose action is illegal; then nothing was done.
        """
        bad = self._step_in_threads() if self.threads > 1 else self._step(*self._rows)
        if bad < 0 and not self.program.in_kernel:
            self.score_elsewhere()
        return bad

    def _step(self, *rows: NDArray[Any]) -> int:
        outcome = int(kernels.step_rows(*self.program.packed, *rows))
        if outcome < 0 and self.program.conditional:
            outcome = int(kernels.skip_inactive(*self.program.packed, *rows[:-1]))
        if outcome == kernels.SOME_ENDED:
            self.end(*rows[:-1])
        return outcome

    def end(self, states: Ints, amounts: Floats, rows: Singles) -> None:
        """Scores and observes those rows that have ended: by kernels of their own, so that none is compiled in vain."""
        program = self.program
        if program.repairs:
            kernels.repair_rows(program.ints, program.floats, states, amounts, rows)
        if program.predicts:
            predict = kernels.predict_each if len(states) < FEWEST else kernels.predict_together
            predict(program.ints, program.singles, states, amounts)
        kernels.end_rows(program.ints, program.floats, states, amounts, rows)

    def _step_in_threads(self) -> int:
        """Lets each thread step its share of the rows: rows do not read each other, so nothing else changes."""
        bad = kernels.check_actions(self.program.ints, self.states, self.actions)
        if bad >= 0:
            return int(bad)
        if self._pool is None or self._pool_process != os.getpid():  # threads do not survive a fork
            self._pool, self._pool_process = ThreadPoolExecutor(self.threads - 1), os.getpid()
        edges = np.linspace(0, len(self.states), self.threads + 1).astype(int).tolist()
        shares = [tuple(rows[a:b] for rows in self._rows) for a, b in zip(edges, edges[1:], strict=False)]
        others = [self._pool.submit(self._step, *share) for share in shares[1:]]
        self._step(*shares[0])
        for other in others:
            other.result()
        return -1

    def score_elsewhere(self) -> None:
        """Fills in what the kernel cannot know: live scores, other score columns, rewards of a user's own."""
        ended = np.flatnonzero(self.status == kernels.ENDED)
        program = self.program
        for number, problem in enumerate(program.problems):
            rows = ended[self.states[ended, kernels.PROBLEM] == number]
            if not len(rows):
                continue
            unknown = program.ints[program.header(number) + ACCURACY] == ELSEWHERE
            wanted = problem.columns if unknown else program.columns
            scores = scores_of(problem.accuracy_model, self.strategies(rows, problem), wanted) if wanted else {}
            for k, name in enumerate(program.columns):
                self.columns[rows, k] = scores[name]
            if unknown:
                self.amounts[rows, kernels.ACCURACY] = scores[ACCURACY_COLUMN]
            for n in rows:
                if problem.reward_spec.custom is not None:
                    self.amounts[n, kernels.REWARD] = problem.reward_spec.function(self._outcome(n, problem))
                elif unknown:
                    kernels.reward_of_row(program.ints, program.floats, self.states, self.amounts, n)

    def _outcome(self, n: int, problem: Problem) -> Outcome:
        row = self.amounts[n].tolist()
        costs = dict(zip(self.program.metrics, row[kernels.COSTS :], strict=True))
        scores = {ACCURACY_COLUMN: row[kernels.ACCURACY]}
        scores |= zip(self.program.columns, self.columns[n].tolist(), strict=True)
        budget, baseline = float(self.amounts[n, kernels.BUDGET]), problem.accuracy_model.baseline
        return Outcome(row[kernels.ACCURACY], baseline, row[kernels.COST_RATIO], budget, costs, scores)

    def strategies(self, rows: NDArray[np.int64] | list[int], problem: Problem) -> NDArray[np.int64]:
        """Returns the strategies of rows that are about a problem, int64 `[rows, T]`."""
        first = kernels.EXECUTED + self.program.slots
        return self.states[rows, first : first + len(problem.decisions)]

    def problem_of(self, n: int) -> Problem:
        """Returns a row's problem; its budget is the one that was drawn."""
        problem = self.distribution.problems[int(self.states[n, kernels.PROBLEM])]
        budget = float(self.amounts[n, kernels.BUDGET])
        begun = self.states[n, kernels.STATUS] != kernels.NOT_BEGUN
        return problem.replace(budget=budget) if begun and budget != problem.budget else problem

    def decided(self, n: int) -> int:
        """Returns how many decisions of a row have been made."""
        problem = self.distribution.problems[int(self.states[n, kernels.PROBLEM])]
        step = int(self.states[n, kernels.STEP])
        return step if self.discrete else sum(map(len, problem.steps[:step]))

    def masks(self) -> NDArray[np.bool_]:
        """Returns which discrete actions of each row are executed as they are, bool `[N, most values]`."""
        masks = np.empty((len(self.states), self.program.most_values), dtype=np.bool_)
        kernels.mask_rows(self.program.ints, self.program.floats, self.states, self.amounts, masks)
        return masks
