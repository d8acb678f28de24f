"""The vector environment: thousands of episodes, stepped by one call of the scalar environment's kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from compress_gym.envs import kernels
from compress_gym.envs.episodes import Episodes
from compress_gym.problem import Problem
from compress_gym.problem.distribution import OPTIONS, ProblemDistribution
from compress_gym.support.errors import unknown_name

AUTORESET_MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
# Live scoring takes seconds a strategy, one after the other.
MOST_LIVE_ENVIRONMENTS = 16
Infos = dict[str, Any]


class CompressionVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Many episodes at a time; each is what `CompressionEnv` of the same problem and seed would be, bit for bit.

        >>> import gymnasium as gym
        >>> import compress_gym
        >>> envs = gym.make_vec("compress_gym/ChannelPrune-v0", num_envs=1000)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
        >>> observations.shape, rewards.shape, infos["choice"].shape
        ((1000, 27), (1000,), (1000, 1))

    Observations, rewards, ends and infos follow Gymnasium's vector conventions: an info's key holds one entry an
    environment, and the same key with an underscore before it says which entries count. Under `NEXT_STEP` an
    environment that has ended ignores its next action and starts a new episode; under `SAME_STEP` it starts at once,
    and `final_obs` and `final_info` hold what it ended with.

    Attributes:
        observation_names: Names of the observation's columns.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2, "autoreset_mode": AutoresetMode.NEXT_STEP}
    closed = True  # until it is built: one whose arguments were refused has nothing to close

    def __init__(
        self,
        problem: Problem | ProblemDistribution | Sequence[Problem],
        num_envs: int = 1,
        action_type: str = "continuous",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        num_threads: int = 1,
    ) -> None:
        """Builds the environments.

        Args:
            problem: As of `CompressionEnv`.
            num_envs: How many.
            action_type: As of `CompressionEnv`.
            render_mode: `None`, `"ansi"` or `"rgb_array"`.
            autoreset_mode: `"NextStep"` or `"SameStep"`.
            copy: Whether `step` and `reset` return copies of the observations; `False` returns a view, which the next
                step overwrites.
            num_threads: Threads that share the environments; whether more than one pays depends on the machine.

        Raises:
            KeyError: An unknown action type, render mode or autoreset mode.
            ValueError: A number below 1, more than 16 environments that are scored live, or problems that cannot share
                spaces.
        """
        modes = {mode.value: mode for mode in AUTORESET_MODES}
        mode = getattr(autoreset_mode, "value", autoreset_mode)
        if mode not in modes:
            raise unknown_name("autoreset_mode", str(mode), modes)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown_name("render_mode", render_mode, self.metadata["render_modes"])
        for name, number in (("num_envs", num_envs), ("num_threads", num_threads)):
            if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 1:
                raise ValueError(f"{name}={number!r} must be a whole number of at least 1")
        distribution = ProblemDistribution.of(problem)
        live = any(p.accuracy_model.source == "live" for p in distribution.problems)
        if live and num_envs > MOST_LIVE_ENVIRONMENTS:
            raise ValueError(
                f"num_envs={num_envs} with accuracy='live': each strategy is scored by running a network, one after "
                f"the other; use at most {MOST_LIVE_ENVIRONMENTS}, or accuracy='surrogate' or 'measured'"
            )
        self.num_envs, self.action_type, self.render_mode, self.copy = int(num_envs), action_type, render_mode, copy
        self.autoreset_mode = modes[mode]
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self._episodes = Episodes(distribution, action_type, self.num_envs, min(int(num_threads), self.num_envs))
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_names = self._episodes.program.observation_names
        self._all = np.ones(self.num_envs, dtype=np.bool_)
        self._begun = self.closed = False

    def problem_of(self, n: int) -> Problem:
        """Returns the problem of an environment's episode, with the budget that was drawn."""
        return self._episodes.problem_of(n)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems that episodes draw from."""
        return self._episodes.distribution.problems

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Infos]:
        """Starts an episode in every environment.

        Args:
            seed: Environment i is seeded `seed + i`, or by the i-th of a list.
            options: `reset_mask` (bool `[num_envs]`) says which environments are reset; `task`, `device` and `budget`
                fix what is otherwise drawn, for the episodes that begin now.

        Raises:
            KeyError: Another option.
            ValueError: Seeds or mask do not fit the number of environments, or options no problem.
        """
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"options={options!r} must be a dictionary: {', '.join(OPTIONS)} or reset_mask")
        options = dict(options or {})
        chosen = self._reset_mask(options.pop("reset_mask", None))
        self._episodes.wanted(options)  # what is refused changes nothing
        first = int(seed) if isinstance(seed, (int, np.integer)) else None
        if isinstance(seed, (int, np.integer)):
            seed = range(int(seed), int(seed) + self.num_envs)
        if seed is not None and not isinstance(seed, (Sequence, np.ndarray)):
            raise ValueError(f"seed={seed!r} must be a whole number, or a list of them")
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed has {len(seeds)} entries; expected one for each of {self.num_envs} environments")
        for n, s in enumerate(seeds):
            if s is not None and (not isinstance(s, (int, np.integer)) or s < 0):
                raise ValueError(f"seed[{n}]={s!r} must be None or a whole number of at least 0")
        if first is not None:
            super().reset(seed=first)
        own = [int(s) if c and s is not None else None for s, c in zip(seeds, chosen.tolist(), strict=True)]
        self._episodes.seed_all(own)
        self._episodes.reset(chosen, options)
        self._begun = True
        infos: Infos = {}
        self._add_reset(infos, chosen)
        return self._observed(), infos

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Executes an action in every environment.

        Raises:
            ValueError: The actions have the wrong shape, or one is NaN or out of range (the message names it).
            gymnasium.error.ResetNeeded: The first episodes have not begun.
        """
        if not self._begun:
            raise gym.error.ResetNeeded(
                "the episodes have not begun, or an error ended them: call reset() before step()"
            )
        episodes = self._episodes
        self._take(actions)
        try:
            bad = episodes.step()
        except BaseException:  # an accuracy or a reward of one's own: what has ended will never be scored
            self._begun = False
            raise
        if bad >= 0:
            shown = np.asarray(actions)[bad]
            raise ValueError(f"actions[{bad}]={shown!r} must be within -1 and 1 and not NaN")
        ended = episodes.status == kernels.ENDED
        rewards = episodes.amounts[:, kernels.REWARD].copy()
        infos: Infos = {}
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            begun = episodes.status == kernels.WAS_RESET
            self._add_step(infos, ~begun)
            if ended.any():
                self._add_end(infos, ended)
            if begun.any():
                self._add_reset(infos, begun)
        else:
            self._add_step(infos, ~ended)
            if ended.any():
                self._end_and_reset(infos, ended)
        return self._observed(), rewards, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns which discrete actions of each environment are legal, bool `[num_envs, K]`.

        Raises:
            ValueError: The actions are continuous.
        """
        if self.action_type != "discrete":
            raise ValueError("action_masks() needs action_type='discrete'; this environment is continuous")
        return self._episodes.masks()

    def render(self) -> tuple[Any, ...] | None:
        """Draws every episode so far; see `CompressionEnv.render`."""
        from compress_gym.envs.render import Frame, draw, write

        if not self._begun:
            raise gym.error.ResetNeeded("the episodes have not begun: call reset() before render()")
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; use gym.make_vec(..., render_mode='ansi')")
            return None
        episodes, frames = self._episodes, []
        for n in range(self.num_envs):
            problem, info = episodes.problem_of(n), {}
            if episodes.states[n, kernels.STATUS] == kernels.ENDED:
                info["accuracy"] = float(episodes.amounts[n, kernels.ACCURACY])
            frames.append(Frame.of(problem, episodes.strategies([n], problem)[0], episodes.decided(n), info))
        return tuple(map(write if self.render_mode == "ansi" else draw, frames))

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads."""
        self._episodes.close()

    def _reset_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return self._all
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"options['reset_mask'] must be a bool array of shape ({self.num_envs},); got {mask!r}")
        if not mask.any() or not (self._begun or mask.all()):
            raise ValueError("options['reset_mask'] must choose an environment, and all of them the first time")
        return mask

    def _take(self, actions: Any) -> None:
        """Copies actions to where the kernel reads them; their range is checked by the kernel.

        Raises:
            ValueError: Wrong shape, not numbers, or an index of a value that is none.
        """
        try:
            numbers = np.asarray(actions)
        except ValueError as error:
            raise ValueError(f"actions={actions!r} are not an array of numbers") from error
        expected, discrete = self.action_space.shape, self.action_type == "discrete"
        if numbers.shape != expected:
            raise ValueError(f"actions have shape {numbers.shape}; expected {expected}")
        if numbers.dtype.kind not in ("iu" if discrete else "fiu"):
            raise ValueError(f"actions of dtype {numbers.dtype} are not in {self.action_space}")
        if not discrete:
            with np.errstate(over="ignore"):  # what is beyond float32 is out of range
                self._episodes.actions[:] = numbers
            return
        ignored = self._episodes.status == kernels.ENDED
        legal = ignored | ((numbers >= 0) & (numbers < self._episodes.program.most_values))
        if not legal.all():
            bad = int(np.argmin(legal))
            raise ValueError(f"actions[{bad}]={numbers[bad]!r} is not in {self.single_action_space}")
        self._episodes.actions[:, 0] = np.where(ignored, 0, numbers)

    def _observed(self) -> NDArray[np.float32]:
        episodes = self._episodes
        if not self.copy:
            return episodes.observations
        copied: NDArray[np.float32] = kernels.first_columns(episodes.rows, len(self.observation_names))
        return copied

    def _end_and_reset(self, infos: Infos, ended: NDArray[np.bool_]) -> None:
        """Tells how episodes ended, and starts the next ones in the same step."""
        final: Infos = {}
        self._add_step(final, ended)
        self._add_end(final, ended)
        last = np.full(self.num_envs, None, dtype=object)
        for n in np.flatnonzero(ended):
            last[n] = self._episodes.observations[n].copy()
        infos.update(final_obs=last, _final_obs=ended.copy(), final_info=final, _final_info=ended.copy())
        self._episodes.reset(ended)
        self._add_reset(infos, ended)

    def _add_step(self, infos: Infos, rows: NDArray[np.bool_]) -> None:
        if not rows.any():
            return
        episodes = self._episodes
        # A decision that `repair` has made inactive has the first value.
        executed = np.maximum(episodes.executed[:, 0], 0) if episodes.discrete else episodes.executed_actions
        _add_column(infos, "choice", self._episodes.executed, rows)
        _add_column(infos, "executed_action", executed, rows)

    def _add_end(self, infos: Infos, ended: NDArray[np.bool_]) -> None:
        episodes, amounts = self._episodes, self._episodes.amounts
        _add_column(infos, "accuracy", amounts[:, kernels.ACCURACY], ended)
        _add_column(infos, "cost_ratio", amounts[:, kernels.COST_RATIO], ended)
        _add_column(infos, "feasible", amounts[:, kernels.FEASIBLE] == 1.0, ended)
        for m, name in enumerate(episodes.program.metrics):
            _add_column(infos, name, amounts[:, kernels.COSTS + m], ended)
        for k, name in enumerate(episodes.program.columns):
            _add_column(infos, name, np.where(ended, episodes.columns[:, k], 0.0), ended)
        strategies: Infos = {}
        first = kernels.EXECUTED + episodes.program.slots
        for problem, rows in self._by_problem(ended):
            model = problem.accuracy_model
            _add_constants(infos, {"baseline_accuracy": model.baseline, "accuracy_source": model.source}, rows)
            decisions = problem.decisions.decisions
            choices = np.ascontiguousarray(episodes.states[:, first : first + len(decisions)].T)
            if not rows.all():
                choices[:, ~rows] = 0
            for decision, chosen in zip(decisions, choices, strict=True):
                values = np.array(decision.values, dtype=object if decision.has_labels else None)
                _add_column(strategies, decision.name, values.take(chosen), rows)
            if episodes.distribution.draws:
                _add_constants(infos, problem.origin, rows)
        if episodes.distribution.draws:
            _add_column(infos, "budget", amounts[:, kernels.BUDGET], ended)
        infos.update(strategy=strategies, _strategy=ended.copy())

    def _add_reset(self, infos: Infos, begun: NDArray[np.bool_]) -> None:
        for problem, rows in self._by_problem(begun):
            _add_constants(infos, {"baseline": problem.baseline_costs, **problem.origin}, rows)
        _add_column(infos, "budget", self._episodes.amounts[:, kernels.BUDGET], begun)

    def _by_problem(self, rows: NDArray[np.bool_]) -> list[tuple[Problem, NDArray[np.bool_]]]:
        if len(self.problems) == 1:
            return [(self.problems[0], rows)]
        numbers = self._episodes.states[:, kernels.PROBLEM]
        return [(p, rows & (numbers == n)) for n, p in enumerate(self.problems) if (rows & (numbers == n)).any()]


def _add_column(infos: Infos, key: str, values: NDArray[Any], rows: NDArray[np.bool_]) -> None:
    """Adds the chosen rows of a column to vector infos; a column of mixed types becomes one of objects.

    Views are copied, an array of its own is kept as it is.
    """
    if rows.all():
        infos[key], infos[f"_{key}"] = values if values.base is None else values.copy(), rows.copy()
        return
    if key not in infos:
        absent = None if values.dtype == object else 0
        infos[key], infos[f"_{key}"] = np.full_like(values, absent), np.zeros(len(values), dtype=np.bool_)
    if infos[key].dtype != values.dtype:
        infos[key] = np.where(infos[f"_{key}"], infos[key].astype(object), None)
    np.copyto(infos[key], values, where=rows.reshape(-1, *[1] * (values.ndim - 1)), casting="unsafe")
    infos[f"_{key}"] |= rows


def _add_constants(infos: Infos, constants: Mapping[str, Any], rows: NDArray[np.bool_]) -> None:
    """Adds the same info to every chosen row, nested as it is."""
    for key, value in constants.items():
        if isinstance(value, Mapping):
            nested = infos.setdefault(key, {})
            _add_constants(nested, value, rows)
            infos.setdefault(f"_{key}", np.zeros(len(rows), dtype=np.bool_))
            infos[f"_{key}"] |= rows
            continue
        if type(value) in (int, float, bool) or isinstance(value, np.number):
            column = np.full(len(rows), value, dtype=type(value))
        else:
            column = np.empty(len(rows), dtype=object)
            whole = np.empty((), dtype=object)  # a tuple itself would be spread over the rows
            whole[()] = value
            column[:] = whole
        _add_column(infos, key, column, rows)
