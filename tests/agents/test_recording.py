from __future__ import annotations

import numpy as np
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.hyperparams import read_hyperparameters
from agents.learners import build
from agents.recording import DECISION_PIXELS, EPISODE_PIXELS, EndWarmup, kept_image
from agents.runs import Scored
from agents.train import run_training
from compress_gym.kinds import get_case
from compress_gym.kinds.transformer_nas import TransformerNASEnv
from compress_gym.support.processor import one_thread


def test_the_picture_has_a_column_an_episode_and_a_row_a_decision():
    problem = get_case("ChannelPrune-v0", "digits-cnn").problem(reward="accuracy")
    strategies = np.array([[0, 0, 0, 0, 0], [7, 0, 0, 0, 7], [7, 7, 7, 7, 7]])
    scored = Scored.of(problem, strategies, problem.evaluate(strategies))
    image = kept_image(problem, scored)
    assert image.shape == (5 * DECISION_PIXELS, 3 * EPISODE_PIXELS, 1) and image.dtype == np.uint8
    corners = image[::DECISION_PIXELS, ::EPISODE_PIXELS, 0]
    assert np.array_equal(corners, 255 * (strategies.T > 0))


def test_tensorboard_shows_what_the_agent_did(tmp_path):
    hyperparameters = read_hyperparameters("ppo", "ChannelPrune-v0")
    settings = {"task": "digits-cnn", "reward": "accuracy"}
    run, _ = run_training("ppo", "ChannelPrune-v0", settings, 6, 0, tmp_path, hyperparameters)
    (events,) = (tmp_path / "tensorboard").glob("*/events*")
    logged = EventAccumulator(str(events)).Reload()
    names = ("accuracy", "cost_ratio", "reward", "best_reward", "best_accuracy")
    for name in names:
        assert len(logged.Scalars(f"compress/{name}")) == 6
    best = [event.value for event in logged.Scalars("compress/best_accuracy")]
    assert np.allclose(best, np.maximum.accumulate([s.accuracy for s in run.scored]))
    (image,) = logged.Images("compress/kept")
    assert (image.height, image.width) == (5 * DECISION_PIXELS, 6 * EPISODE_PIXELS)


def test_the_warm_up_ends_after_its_episodes_however_short_they_are():
    env = TransformerNASEnv("multi30k-ende", budget=0.3333, reward="accuracy")  # one decoder layer is left of four
    settings = {**read_hyperparameters("ddpg", "TransformerNAS-v0"), "warmup_episodes": 3}
    model = build("ddpg", env, settings, seed=0)
    with one_thread():
        model.learn(10**6, callback=[EndWarmup(3), StopTrainingOnMaxEpisodes(5)])
    ends = np.flatnonzero(model.replay_buffer.dones[: model.num_timesteps, 0])
    episodes = np.diff(ends, prepend=-1)
    # The last step of the fifth episode stops everything before it is stored.
    assert len(episodes) == 4 and episodes.max() < len(env.problem.steps)
    assert model.learning_starts == episodes[:3].sum() and model._n_updates == settings["gradient_steps"]
