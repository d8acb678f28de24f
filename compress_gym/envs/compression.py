"""The environment: one episode compresses one network."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from compress_gym import budgets
from compress_gym.envs import kernels
from compress_gym.errors import unknown_name
from compress_gym.observations import kinds_of, observation_names, static_features
from compress_gym.problem import Problem

ACTION_TYPES = ("continuous", "discrete")


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
        problem: The problem.
        observation_names: Names of the observation's columns.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}

    def __init__(self, problem: Problem, action_type: str = "continuous", render_mode: str | None = None) -> None:
        """Builds the environment.

        Args:
            problem: What to compress, by which budget, for which reward.
            action_type: `"continuous"`: a `Box(-1, 1)` with one number a decision of the step; `"discrete"`: every
                decision is a step of its own, a `Discrete` with `action_masks()`.
            render_mode: `None`, `"ansi"` or `"rgb_array"`.

        Raises:
            KeyError: Unknown action type or render mode.
        """
        if action_type not in ACTION_TYPES:
            raise unknown_name("action_type", action_type, ACTION_TYPES)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render_mode", render_mode, self.metadata["render_modes"])
        self.problem, self.action_type, self.render_mode = problem, action_type, render_mode
        self._discrete = discrete = action_type == "discrete"
        steps = [(t,) for t in range(len(problem.decisions))] if discrete else list(problem.steps)
        slots = np.full((len(steps), max(map(len, steps))), -1, dtype=np.int64)
        for row, step in zip(slots, steps, strict=True):
            row[: len(step)] = step
        kinds = kinds_of(problem.decisions)
        assert problem.shapes is not None and problem.device_features is not None
        self._features = static_features(
            problem.decisions,
            steps,
            kinds,
            problem.shapes,
            problem.device_features,
            problem.cost_terms,
            problem.cost,
        )
        terms = problem.cost_terms
        self._slots, self._sizes = slots, problem.decisions.sizes
        self._costs = (terms.terms, terms.tables, problem.metric)
        self._limit = (problem.cost_limit, budgets.rule_code(problem.budget_rule))
        self._scale = problem.baseline_costs[problem.cost]
        self.observation_names = observation_names(kinds, slots.shape[1])
        self.observation_space = spaces.Box(0.0, 1.0, (len(self.observation_names),), np.float32)
        self.action_space = (
            spaces.Discrete(int(self._sizes.max()))
            if discrete
            else spaces.Box(-1.0, 1.0, (slots.shape[1],), np.float32)
        )
        self._states = np.zeros((1, 1 + len(problem.decisions)), dtype=np.int64)
        self._states[0, 0] = len(slots) + 1  # beyond the end: reset comes first
        self._observations = np.zeros((1, len(self.observation_names)), dtype=np.float32)
        self._executed = np.zeros((1, slots.shape[1]), dtype=np.int64)
        self._executed_actions = np.zeros((1, slots.shape[1]), dtype=np.float32)
        self._last_info: dict[str, Any] = {}

    @property
    def strategy(self) -> NDArray[np.int64]:
        """The strategy so far `[T]`; what is not decided yet stands at the cheapest strategy."""
        return self._states[0, 1:].copy()

    @property
    def decided(self) -> int:
        """How many decisions have been made in this episode."""
        return int((self._slots[: self._states[0, 0]] >= 0).sum())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; the info holds the uncompressed costs under `baseline` and the problem's origin."""
        super().reset(seed=seed)
        kernels.reset_rows(self._states, self.problem.reference)
        self._last_info = {}
        info = {"baseline": dict(self._baseline), **self.problem.origin}
        return self._observe(), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Makes the step's decisions.

        Raises:
            ValueError: The action is NaN, out of range or of the wrong shape.
            gymnasium.error.ResetNeeded: The episode has not begun, or is over.
        """
        step = int(self._states[0, 0])
        if step >= len(self._slots):
            began = "is over" if step == len(self._slots) else "has not begun"
            raise gym.error.ResetNeeded(f"the episode {began}: call reset() before step()")
        kernels.step_rows(
            self._slots,
            self._sizes,
            self.problem.reference,
            *self._costs,
            *self._limit,
            self._states,
            self._checked(action, step),
            self._executed,
            self._executed_actions,
        )
        choice = self._executed[0].copy()
        executed = int(choice[0]) if self._discrete else self._executed_actions[0].copy()
        info: dict[str, Any] = {"choice": choice, "executed_action": executed}
        terminated = step + 1 == len(self._slots)
        reward = self._finish(info) if terminated else 0.0
        self._last_info = info
        return self._observe(), reward, terminated, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which discrete actions are legal, bool `[K]`.

        Legal is every value of the next decision that `clip` would execute as it is; under the other rules, every value
        of the decision. Nothing is legal when no decision is left.

        Raises:
            ValueError: The actions are continuous.
        """
        if not self._discrete:
            raise ValueError("action_masks() needs action_type='discrete'; this environment is continuous")
        mask = np.zeros(int(self._sizes.max()), dtype=np.bool_)
        step = int(self._states[0, 0])
        if step >= len(self._slots):
            return mask
        t = int(self._slots[step, 0])
        size, (limit, rule) = int(self._sizes[t]), self._limit
        mask[:size] = (
            budgets.legal_choices(self._states[0, 1:], t, size, limit, *self._costs) if rule == budgets.CLIP else True
        )
        return mask

    def render(self) -> Any:
        """Draws the episode so far: `"ansi"` returns text, `"rgb_array"` a uint8 image `[height, width, 3]`."""
        from compress_gym.envs.render import Frame, draw, write

        if self._states[0, 0] > len(self._slots):
            raise gym.error.ResetNeeded("the episode has not begun: call reset() before render()")
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; use gym.make(..., render_mode='ansi')")
            return None
        frame = Frame.of(self.problem, self.strategy, self.decided, self._last_info)
        return write(frame) if self.render_mode == "ansi" else draw(frame)

    @cached_property
    def _baseline(self) -> dict[str, float]:
        return self.problem.baseline_costs

    def _checked(self, action: Any, step: int) -> NDArray[np.float64]:
        """Returns an action as float64 `[1, slots]`; a discrete one as the centre of its bin."""
        if self._discrete:
            if not isinstance(action, (int, np.integer, np.ndarray)) or not self.action_space.contains(action):
                raise ValueError(f"action={action!r} is not in {self.action_space}")
            size = int(self._sizes[self._slots[step, 0]])
            return np.array([[kernels.action_of(min(int(action), size - 1), size)]])
        try:
            actions = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"action={action!r} is not an array of numbers") from error
        if actions.shape != (self._slots.shape[1],):
            raise ValueError(f"action has shape {actions.shape}; expected {(self._slots.shape[1],)}")
        actions = actions[None]
        if kernels.first_bad_action(actions) >= 0:
            raise ValueError(f"action={action!r} must be within -1 and 1 and not NaN")
        return actions

    def _finish(self, info: dict[str, Any]) -> float:
        """Scores the finished strategy, fills the last step's info and returns the reward."""
        strategy = self.strategy
        result = self.problem.evaluate(strategy)
        info.update({name: float(values[0]) for name, values in result.costs.items()})
        info["accuracy"] = float(result.accuracy[0])
        info["baseline_accuracy"] = self.problem.accuracy_model.baseline
        info["strategy"] = self.problem.describe(strategy)
        info["cost_ratio"] = float(result.cost_ratio[0])
        info["feasible"] = bool(result.feasible[0])
        info["accuracy_source"] = self.problem.accuracy_model.source
        return float(result.reward[0])

    def _observe(self) -> NDArray[np.float32]:
        kernels.observe_rows(
            self._slots,
            self._sizes,
            *self._costs,
            self._scale,
            self.problem.budget,
            self._features,
            self._states,
            self._observations,
        )
        return self._observations[0].copy()
