"""What happens in each scored episode of a learner: it goes into the run, and into TensorBoard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from agents.runs import Run, Scored
from compress_gym.problem import Problem

# An image of the last so many episodes, every so many episodes.
IMAGE_EPISODES = 50
# Pixels of an episode and of a decision.
EPISODE_PIXELS, DECISION_PIXELS = 4, 8


class EpisodeRecord(BaseCallback):
    """Records every scored episode and stops after the last one.

    TensorBoard shows accuracy, cost ratio, reward, the best of each so far, and under `compress/kept` an image: one
    column an episode, one row a decision in order, brighter where a higher value was kept (for channels: more of them).
    """

    def __init__(self, problem: Problem, run: Run, episodes: int, advance: Callable[[], object]) -> None:
        """Records into a run.

        Args:
            problem: What is compressed.
            run: Where evaluations go.
            episodes: How many.
            advance: Called after each.
        """
        super().__init__()
        self._problem, self._run, self._episodes, self._advance = problem, run, episodes, advance

    def _on_step(self) -> bool:
        for info, done in zip(self.locals["infos"], self.locals["dones"], strict=True):
            if done:
                self._run.add(Scored.from_info(info, self._problem))
                self._advance()
                self._log()
        return len(self._run.scored) < self._episodes

    def _log(self) -> None:
        scored, best = self._run.scored[-1], self._run.best
        self.logger.record("compress/accuracy", scored.accuracy)
        self.logger.record("compress/cost_ratio", scored.cost_ratio)
        self.logger.record("compress/reward", scored.reward)
        if best is not None:
            self.logger.record("compress/best_reward", best.reward)
            self.logger.record("compress/best_accuracy", best.accuracy)
        count = len(self._run.scored)
        if count % IMAGE_EPISODES == 0 or count == self._episodes:
            image = kept_image(self._problem, self._run.scored[-IMAGE_EPISODES:])
            self.logger.record("compress/kept", Image(image, "HWC"), exclude=("stdout", "log", "json", "csv"))
        self.logger.dump(self.num_timesteps)


class EndWarmup(BaseCallback):
    """Ends an off-policy learner's warm-up after so many episodes, where episodes may be shorter than the longest."""

    def __init__(self, episodes: int) -> None:
        """Counts episodes of one environment.

        Args:
            episodes: Of the warm-up.
        """
        super().__init__()
        self._left = episodes

    def _on_step(self) -> bool:
        self._left -= int(np.sum(self.locals["dones"]))
        if self._left <= 0:
            assert isinstance(self.model, OffPolicyAlgorithm)
            self.model.learning_starts = min(self.model.learning_starts, self.num_timesteps)
        return True


def kept_image(problem: Problem, scored: list[Scored]) -> NDArray[np.uint8]:
    """Draws what episodes kept, uint8 `[decisions, episodes, 1]`, each value magnified to a rectangle.

    Args:
        problem: Whose strategies they are.
        scored: At least one episode, in order.

    Returns:
        A grey image: black is a decision's first value, white its last.
    """
    choices = np.array([problem.decisions.encode(s.strategy) for s in scored])
    kept = choices / np.maximum(problem.decisions.sizes - 1, 1)
    grey = np.rint(255 * kept.T).astype(np.uint8)
    return np.kron(grey, np.ones((DECISION_PIXELS, EPISODE_PIXELS), dtype=np.uint8))[..., None]
