"""The environment: one episode compresses one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from compress_gym.envs import kernels
from compress_gym.envs.episodes import Episodes
from compress_gym.problem import Problem
from compress_gym.problem.distribution import ProblemDistribution
from compress_gym.support.errors import unknown_name

_FLOAT32 = np.dtype(np.float32)
_FIRST_ROW = np.ones(1, dtype=np.bool_)


class CompressionEnv(gym.Env[NDArray[np.float32], Any]):
    """A `Problem` as an environment: each step makes one or a few decisions, the last one is rewarded.

    The registered ids are ways to build a `Problem`; this class is for problems of one's own:

        >>> import compress_gym
        >>> problem = compress_gym.Problem.from_table(
        ...     {"width": (1, 2)}, [[0], [1]], accuracies=[0.8, 0.9], costs={"latency_ms": [1.0, 2.0]}
        ... )
        >>> env = compress_gym.CompressionEnv(problem)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step([1.0])
        >>> info["strategy"], info["accuracy"], info["cost_ratio"]
        ({'width': 1}, 0.8, 0.5)

    Attributes:
        observation_names: Names of the observation's columns.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}

    def __init__(
        self,
        problem: Problem | ProblemDistribution | Sequence[Problem],
        action_type: str = "continuous",
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            problem: What to compress, by which budget, for which reward; of several, each episode draws one.
            action_type: `"continuous"`: a `Box(-1, 1)` with one number a decision of the step; `"discrete"`: every
                decision is a step of its own, a `Discrete` with `action_masks()`.
            render_mode: `None`, `"ansi"` or `"rgb_array"`.

        Raises:
            KeyError: Unknown action type or render mode.
            ValueError: The problems cannot share spaces.
        """
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render_mode", render_mode, self.metadata["render_modes"])
        self.action_type, self.render_mode = action_type, render_mode
        self._episodes = Episodes(problem, action_type, count=1)
        self.observation_space, self.action_space = self._episodes.observation_space, self._episodes.action_space
        self.observation_names = self._episodes.program.observation_names
        self._steps_left = -1  # reset comes first
        self._last_info: dict[str, Any] = {}
        self._bind()

    def _bind(self) -> None:
        """Keeps the kernel's arguments and rows at hand: looking them up would take as long as stepping."""
        episodes = self._episodes
        self._arguments, self._discrete = episodes.arguments, episodes.discrete
        self._rows = episodes.states, episodes.amounts, episodes.rows
        self._skip_arguments = (*episodes.program.packed, *self._rows)
        self._scored_elsewhere = not episodes.program.in_kernel
        self._action, self._action_shape = episodes.actions[0], episodes.actions[0].shape
        self._row, self._columns = episodes.rows[0], len(self.observation_names)
        self._state, self._choice, self._amounts = episodes.states[0], episodes.executed[0], episodes.amounts[0]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled environment; rows are views of its arrays again."""
        self.__dict__.update(state)
        self._bind()

    @property
    def problem(self) -> Problem:
        """The problem of this episode; before the first one, the first problem."""
        return self._episodes.problem_of(0)

    @property
    def strategy(self) -> NDArray[np.int64]:
        """The strategy so far `[T]`; what is not decided yet stands at the cheapest strategy."""
        problem = self._episodes.distribution.problems[int(self._state[kernels.PROBLEM])]
        return problem.cheapest.copy() if self._steps_left < 0 else self._episodes.strategies([0], problem)[0]

    @property
    def decided(self) -> int:
        """How many decisions have been made in this episode."""
        return self._episodes.decided(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; the info holds the uncompressed costs under `baseline` and the problem's origin.

        Args:
            seed: Decides which problems are drawn, where there are several.
            options: `task`, `device` and `budget` fix what is otherwise drawn.
        """
        episodes = self._episodes
        if options:
            episodes.wanted(options)  # what is refused changes nothing
        if seed is not None or self._steps_left < 0:
            super().reset(seed=seed)
            episodes.seed(0, self.np_random)
        if options:
            episodes.reset(_FIRST_ROW, options)
        else:
            self._state[kernels.STATUS] = kernels.ENDED  # stepping starts the next one, and is compiled already
            kernels.step_rows(*self._arguments)
        self._last_info = {}
        problem = episodes.distribution.problems[int(self._state[kernels.PROBLEM])]
        self._length = len(problem.decisions) if self._discrete else len(problem.steps)
        self._steps_left, self._skips = self._length, problem.decisions.conditional
        info = {
            "baseline": dict(problem.baseline_costs),
            **problem.origin,
            "budget": float(self._amounts[kernels.BUDGET]),
        }
        return self._row[: self._columns].copy(), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Makes the step's decisions.

        Raises:
            ValueError: The action is NaN, out of range or of the wrong shape.
            gymnasium.error.ResetNeeded: The episode has not begun, or is over.
        """
        if self._steps_left <= 0:
            began = "has not begun" if self._steps_left < 0 else "is over"
            raise gym.error.ResetNeeded(f"the episode {began}: call reset() before step()")
        if (
            self._discrete
            or type(action) is not np.ndarray
            or action.dtype is not _FLOAT32
            or action.shape != self._action_shape
        ):
            action = self._checked(action)
        self._action[:] = action
        outcome = kernels.step_rows(*self._arguments)
        if outcome >= 0:
            raise ValueError(f"action={action!r} must be within -1 and 1 and not NaN")
        if self._skips:
            outcome = kernels.skip_inactive(*self._skip_arguments)
        if outcome == kernels.SOME_ENDED:
            self._episodes.end(*self._rows)
        # Where steps are skipped, counting does not tell how many are left; looking it up takes longer.
        left = self._length - int(self._state[kernels.STEP]) if self._skips else self._steps_left - 1
        self._steps_left = left
        row, choice = self._row.copy(), self._choice.copy()
        # A decision that `repair` has made inactive has the first value.
        executed = max(int(choice[0]), 0) if self._discrete else row[self._columns :]
        self._last_info = info = {"choice": choice, "executed_action": executed}
        return row[: self._columns], 0.0 if left else self._finish(info), not left, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which discrete actions are legal, bool `[K]`.

        Legal is every value of the next decision that `clip` would execute as it is; under the other rules, every value
        of the decision. Nothing is legal when no decision is left.

        Raises:
            ValueError: The actions are continuous.
        """
        if not self._discrete:
            raise ValueError("action_masks() needs action_type='discrete'; this environment is continuous")
        if self._steps_left <= 0:
            return np.zeros(self._episodes.program.most_values, dtype=np.bool_)
        return self._episodes.masks()[0]

    def render(self) -> Any:
        """Draws the episode so far: `"ansi"` returns text, `"rgb_array"` a uint8 image `[height, width, 3]`."""
        from compress_gym.envs.render import Frame, draw, write

        if self._steps_left < 0:
            raise gym.error.ResetNeeded("the episode has not begun: call reset() before render()")
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; use gym.make(..., render_mode='ansi')")
            return None
        frame = Frame.of(self.problem, self.strategy, self.decided, self._last_info)
        return write(frame) if self.render_mode == "ansi" else draw(frame)

    def _checked(self, action: Any) -> Any:
        """Returns an action that fits the row it is written to; its range is checked by the kernel."""
        if self._discrete:
            if not isinstance(action, (int, np.integer, np.ndarray)) or not self.action_space.contains(action):
                raise ValueError(f"action={action!r} is not in {self.action_space}")
            return int(action)
        try:
            numbers = np.asarray(action)
        except ValueError as error:
            raise ValueError(f"action={action!r} is not an array of numbers") from error
        if numbers.dtype.kind not in "fiu":
            raise ValueError(f"action={action!r} is not an array of numbers")
        if numbers.shape != self._action_shape:
            raise ValueError(f"action has shape {numbers.shape}; expected {self._action_shape}")
        return numbers

    def _finish(self, info: dict[str, Any]) -> float:
        """Fills the last step's info and returns the reward."""
        episodes = self._episodes
        if self._scored_elsewhere:
            episodes.score_elsewhere()
        states, amounts = self._state.tolist(), self._amounts.tolist()
        problem = episodes.distribution.problems[states[kernels.PROBLEM]]
        model, choices = problem.accuracy_model, states[kernels.EXECUTED + episodes.program.slots :]
        info["accuracy"], info["baseline_accuracy"] = amounts[kernels.ACCURACY], model.baseline
        info["strategy"] = {d.name: d.values[c] for d, c in zip(problem.decisions.decisions, choices, strict=False)}
        info["cost_ratio"], info["feasible"] = amounts[kernels.COST_RATIO], amounts[kernels.FEASIBLE] == 1.0
        info["accuracy_source"] = model.source
        info.update(zip(episodes.program.metrics, amounts[kernels.COSTS :], strict=True))
        info.update(zip(episodes.program.columns, episodes.columns[0].tolist(), strict=True))
        if episodes.distribution.draws:
            info.update(problem.origin, budget=amounts[kernels.BUDGET])
        reward: float = amounts[kernels.REWARD]
        return reward
