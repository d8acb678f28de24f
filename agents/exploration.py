"""AMC's exploration: truncated-normal actions around the policy's, narrower with every episode; and its replay."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
from scipy.special import ndtr, ndtri
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn


class TruncatedNormalExploration(OffPolicyAlgorithm):
    """Replaces additive, clipped noise by AMC's truncated normal distribution around the policy's action.

    Clipped noise piles actions up at the bounds; a truncated normal does not. Mixed into DDPG and TD3.
    """

    def __init__(
        self,
        *args: Any,
        sigma: float = 1.0,
        sigma_decay: float = 0.95,
        warmup_episodes: int = 100,
        replay_action: str = "raw",
        actor_learning_rate: float | None = None,
        initial_weight: float | None = None,
        final_reward: bool = False,
        saturation_penalty: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Builds the agent.

        Args:
            *args: As the agent's.
            sigma: Width after the warm-up, on actions in [-1, 1] (AMC: 0.5 on [0, 1]).
            sigma_decay: Factor an episode.
            warmup_episodes: Random episodes before; sigma decays from there.
            replay_action: Which action the agent learns from: `raw` (what it asked for, AMC's release) or
                `executed` (what the budget rule made of it).
            actor_learning_rate: The actor's, where it differs from `learning_rate` (AMC: 1e-4 against 1e-3).
            initial_weight: Bound of the actor's last layer at the start (AMC: 0.003), so that it starts in the middle
                of the range and not at a bound.
            final_reward: AMC's replay: the transitions of an episode are stored when it ends, every one of them with
                the episode's final reward, from which a moving average is taken off when they are sampled.
            saturation_penalty: Added to the actor's loss: so many times the mean square of what enters its final tanh.
                Without it an actor that a young critic drives to a bound stays there, for tanh's slope is 0.
            **kwargs: As the agent's.
        """
        if replay_action not in ("raw", "executed"):
            raise ValueError(f"replay_action={replay_action!r} must be 'raw' or 'executed'")
        self._sigma, self._sigma_decay, self._warmup_episodes = sigma, sigma_decay, warmup_episodes
        self._replay_action, self._actor_learning_rate = replay_action, actor_learning_rate
        self._final_reward, self._episode_transitions = final_reward, list[tuple[Any, ...]]()
        if final_reward:
            kwargs["replay_buffer_class"] = FinalRewardReplayBuffer
        super().__init__(*args, **kwargs)
        if final_reward and self.n_envs > 1:
            raise ValueError(f"final_reward=True collects the episodes of one environment; env has {self.n_envs}")
        last = [m for m in self._actor.mu if isinstance(m, nn.Linear)][-1]
        if saturation_penalty:
            last.register_forward_hook(partial(_penalise, saturation_penalty))
        if initial_weight is not None:
            nn.init.uniform_(last.weight, -initial_weight, initial_weight)
            nn.init.uniform_(last.bias, -initial_weight, initial_weight)
            cast(Any, self.policy).actor_target.load_state_dict(self._actor.state_dict())
        self._rng = np.random.default_rng(self.seed)

    @property
    def _actor(self) -> Any:
        return self.policy.actor

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        action, scaled = super()._sample_action(learning_starts, action_noise, n_envs)
        if self.num_timesteps < learning_starts:
            return action, scaled
        episode = max(0, self._episode_num - self._warmup_episodes)
        scaled = truncated_normal(self._rng, scaled, self._sigma * self._sigma_decay**episode)
        return self.policy.unscale_action(scaled), scaled

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        if self._actor_learning_rate is not None:
            for group in self._actor.optimizer.param_groups:
                group["lr"] = self._actor_learning_rate

    def _store_transition(
        self, replay_buffer: Any, buffer_action: np.ndarray, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        if self._replay_action == "executed":
            if "executed_action" not in infos[0]:
                raise ValueError("replay_action='executed' needs every step's info: CompressionVecEnv(step_infos=True)")
            executed = np.stack([info["executed_action"] for info in infos])
            buffer_action = self.policy.scale_action(executed)
        if not self._final_reward:
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        after = np.stack([infos[0]["terminal_observation"]]) if dones[0] else new_obs
        self._episode_transitions.append((self._last_obs, after, buffer_action, dones, infos))
        self._last_obs = new_obs
        if dones[0]:
            for last, following, action, done, info in self._episode_transitions:
                replay_buffer.add(last, following, action, reward, done, info)
            self._episode_transitions.clear()


class FinalRewardReplayBuffer(ReplayBuffer):
    """Takes a moving average of the sampled rewards off them, as AMC's release does in each update."""

    moving_alpha = 0.5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Starts without an average; the arguments are the replay buffer's."""
        super().__init__(*args, **kwargs)
        self._moving_average: float | None = None

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        samples = super()._get_samples(batch_inds, env)
        mean = float(samples.rewards.mean())
        before = mean if self._moving_average is None else self._moving_average
        self._moving_average = before + self.moving_alpha * (mean - before)
        return samples._replace(rewards=samples.rewards - self._moving_average)


class TruncatedNormalDDPG(TruncatedNormalExploration, DDPG):
    """DDPG with AMC's exploration."""


class TruncatedNormalTD3(TruncatedNormalExploration, TD3):
    """TD3 with AMC's exploration."""


def _penalise(penalty: float, module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Adds the gradient of penalty * mean(output ** 2) to an output's own: `train` stays Stable-Baselines3's."""
    if output.requires_grad:
        squares_gradient = 2 * penalty * output.detach() / output.numel()
        output.register_hook(lambda gradient: gradient + squares_gradient)


def truncated_normal(rng: np.random.Generator, mean: np.ndarray, sigma: float) -> np.ndarray:
    """Draws from normal distributions truncated to [-1, 1], by inverting their distribution function."""
    sigma = max(sigma, 1e-6)
    low, high = ndtr((-1.0 - mean) / sigma), ndtr((1.0 - mean) / sigma)
    drawn = mean + sigma * ndtri(low + rng.random(mean.shape) * (high - low))
    return np.clip(drawn, -1.0, 1.0).astype(np.float32)
