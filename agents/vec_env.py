"""The native vector environment as Stable-Baselines3 expects one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from compress_gym import CompressionVectorEnv


class CompressionVecEnv(VecEnv):
    """Adapts a `CompressionVectorEnv` to Stable-Baselines3: every algorithm can step thousands of environments.

    An environment that ends starts anew in the same step; its info then holds the last step's, `terminal_observation`
    and `episode` (return `r`, length `l`, seconds `t`), as Stable-Baselines3's `Monitor` adds it. Other infos are
    empty, unless every step's is asked for.
    """

    def __init__(self, envs: CompressionVectorEnv, step_infos: bool = False) -> None:
        """Adapts a vector environment.

        Args:
            envs: With `autoreset_mode="SameStep"`.
            step_infos: Whether the infos of every step tell `choice` and `executed_action`; it takes time.

        Raises:
            ValueError: A wrapped environment, another autoreset mode, or views instead of copies.
        """
        if not isinstance(envs, CompressionVectorEnv):
            raise ValueError(
                f"envs={envs!r} must be a CompressionVectorEnv without wrappers: pass envs.unwrapped and use the "
                "wrappers of Stable-Baselines3 (VecNormalize, VecMonitor) around the adapter"
            )
        if envs.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"envs has autoreset_mode={envs.autoreset_mode.value!r}; Stable-Baselines3 needs 'SameStep': "
                'gym.make_vec(..., autoreset_mode="SameStep")'
            )
        if not envs.copy:
            raise ValueError(
                "envs was made with copy=False: Stable-Baselines3 stores a step's observations after the next step, "
                "which overwrites views; use copy=True"
            )
        self.envs, self._step_infos = envs, step_infos
        self.render_mode = envs.render_mode
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        self._begun = time.perf_counter()

    def reset(self) -> np.ndarray:
        """Starts an episode in every environment, with the last seeds and options that were set."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"options={self._options} must be the same for all environments of one vector environment")
        observations, infos = self.envs.reset(seed=seeds, options=self._options[0])
        self.reset_infos = [_row(infos, n) for n in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Executes the actions."""
        observations, rewards, ended, _, infos = self.envs.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if self._step_infos:
            told = [_row(infos, n, ("choice", "executed_action")) for n in range(self.num_envs)]
        for n in np.flatnonzero(ended).tolist():
            length = int(self._lengths[n])
            told[n] = {
                **_row(infos["final_info"], n),
                "terminal_observation": infos["final_obs"][n],
                "TimeLimit.truncated": False,
                "episode": {"r": float(self._returns[n]), "l": length, "t": time.perf_counter() - self._begun},
            }
        self._returns[ended], self._lengths[ended] = 0, 0
        return observations, rewards.astype(np.float32), ended, told

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Draws every episode."""
        return self.envs.render() or ()

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute of the vector environment, once for each asked environment."""
        chosen = list(self._get_indices(indices))
        if attr_name == "problem":
            return [self.envs.problem_of(n) for n in chosen]
        return [getattr(self.envs, attr_name)] * len(chosen)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuses: environments of one vector environment share their attributes."""
        raise NotImplementedError("environments of a CompressionVectorEnv share their attributes; build another one")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Calls `action_masks` or `problem_of`; every other method would concern all environments at once.

        Raises:
            NotImplementedError: Another method.
        """
        chosen = list(self._get_indices(indices))
        if method_name == "action_masks":
            masks = self.envs.action_masks()
            return [masks[n] for n in chosen]
        if method_name == "problem_of":
            return [self.envs.problem_of(n) for n in chosen]
        raise NotImplementedError(
            f"env_method({method_name!r}): environments of a CompressionVectorEnv are stepped and reset together; "
            "action_masks and problem_of answer for each"
        )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Returns that no environment is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


def _row(infos: dict[str, Any], n: int, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns one environment's info, as its scalar environment would tell it."""
    found: dict[str, Any] = {}
    for key in infos if keys is None else keys:
        if key.startswith("_") or not infos.get(f"_{key}", np.zeros(n + 1))[n]:
            continue
        value = infos[key]
        if isinstance(value, dict):
            found[key] = _row(value, n)
        elif value.ndim > 1:
            found[key] = value[n].copy()
        else:
            found[key] = value[n].item() if isinstance(value[n], np.generic) else value[n]
    return found
