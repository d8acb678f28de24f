"""Learning: one short run each against a bar that an untrained agent does not pass, and shipped agents replayed."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from agents.hyperparams import read_hyperparameters
from agents.learners import ALGORITHMS, action_type, build, load_policy, policy_strategy, save_policy
from agents.predict import main as predict_command
from agents.predict import replay
from agents.runs import PACKAGES
from agents.train import run_training
from agents.trained.__main__ import FOLDER, ship
from compress_gym.kinds.channel_prune import ChannelPruneEnv
from compress_gym.support.errors import AssetError
from tests.helpers import run_here

# On this device an untrained policy is no better than a random one.
SETTINGS = {"task": "digits-cnn", "device": "xeon-ort-fp32", "budget": 0.5, "reward": "accuracy"}
SHIPPED = sorted(p.parent for p in FOLDER.glob("*/expected.json"))
# Episodes at the start, random or of a policy that has hardly been updated, and at the end.
FIRST, EPISODES, LAST = 40, 160, 30


def rewards_of(algorithm, folder, **changes):
    """Rewards of the short run's episodes, in order."""
    hyperparameters = read_hyperparameters(algorithm, "ChannelPrune-v0")
    if "warmup_episodes" in hyperparameters:
        hyperparameters["warmup_episodes"] = FIRST
    if "sigma_decay" in hyperparameters:  # the shorter run explores for a shorter time
        hyperparameters["sigma_decay"] = 0.97
    hyperparameters |= {name: value for name, value in changes.items() if name in hyperparameters}
    run, _ = run_training(algorithm, "ChannelPrune-v0", SETTINGS, EPISODES, 0, folder, hyperparameters)
    return np.array([s.reward for s in run.scored])


def has_learnt(rewards):
    """Most of the last episodes are better than three quarters of the first; an idle agent's would be than half."""
    return np.median(rewards[-LAST:]) > np.quantile(rewards[:FIRST], 0.75)


@pytest.mark.parametrize("algorithm", ["ddpg", "td3", "sac", "ppo", "maskable-ppo"])
def test_it_learns(algorithm, tmp_path):
    assert has_learnt(rewards_of(algorithm, tmp_path))


@pytest.mark.parametrize("algorithm", ["ddpg", "td3", "sac", "ppo", "maskable-ppo"])
def test_it_does_not_learn_without_updates(algorithm, tmp_path):
    still = {"learning_rate": 1e-12, "actor_learning_rate": 1e-12, "gradient_steps": 1, "n_epochs": 1}
    assert not has_learnt(rewards_of(algorithm, tmp_path, **still))


def test_an_idle_agent_does_not_pass():
    """The bar of `test_it_learns`, on random episodes of twenty seeds."""
    env = ChannelPruneEnv(**SETTINGS)
    problem = env.problem
    rewards = np.array([problem.accuracy(problem.random(np.random.default_rng(s), EPISODES)) for s in range(20)])
    passed = np.median(rewards[:, -LAST:], axis=1) > np.quantile(rewards[:, :FIRST], 0.75, axis=1)
    assert passed.sum() <= 1


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_agents_choose_what_they_chose(folder):
    assert replay(folder) == json.loads((folder / "expected.json").read_text())
    config = yaml.safe_load((folder / "config.yml").read_text())
    assert {"compress_gym", "stable_baselines3", "torch"} <= set(config["versions"]) <= set(PACKAGES)
    assert config["origin"]["task_version"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2**19


def test_agents_are_shipped():
    assert SHIPPED


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "maskable-ppo"])
def test_normalised_agents_are_stored_with_their_statistics(algorithm, tmp_path):
    hyperparameters = read_hyperparameters(algorithm, "ChannelPrune-v0")
    hyperparameters["normalize"] = {"norm_obs": True, "norm_reward": True, "gamma": 1.0}
    if "warmup_episodes" in hyperparameters:
        hyperparameters["warmup_episodes"] = 3
    _, final = run_training(algorithm, "ChannelPrune-v0", SETTINGS, 20, 0, tmp_path / "run", hyperparameters)
    place = ship(tmp_path / "run", tmp_path / "trained")
    assert replay(place)["strategy"] == final["strategy"]
    with np.load(place / "policy.npz", allow_pickle=False) as statistics:
        assert statistics["observations.mean"].shape == (27,) and statistics["returns.count"] > 10
    (place / "policy.npz").write_bytes(b"not an archive")
    with pytest.raises(AssetError, match=r"policy.npz: the normalisation's statistics are missing or damaged"):
        replay(place)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_stored_policy_acts_as_it_did_and_another_is_refused(algorithm, tmp_path):
    env = ChannelPruneEnv(**SETTINGS, action_type=action_type(algorithm))
    hyperparameters = read_hyperparameters(algorithm, "ChannelPrune-v0")
    first, second = (build(algorithm, env, hyperparameters, seed) for seed in (0, 1))
    save_policy(first, tmp_path / "policy.safetensors")
    load_policy(second, tmp_path / "policy.safetensors")
    assert policy_strategy(first, env) == policy_strategy(second, env)
    tensors = load_file(tmp_path / "policy.safetensors")
    save_file(dict(list(tensors.items())[:-1]), tmp_path / "policy.safetensors")
    with pytest.raises(AssetError, match="tensors differ"):
        load_policy(second, tmp_path / "policy.safetensors")


@pytest.mark.parametrize(
    ("key", "words"),
    [("asset_hash", "other assets"), ("task_version", "an earlier version"), ("device_hash", "other latencies")],
)
def test_an_agent_of_something_else_is_refused(key, words, tmp_path):
    shutil.copytree(SHIPPED[0], tmp_path / "agent")
    config = yaml.safe_load((tmp_path / "agent" / "config.yml").read_text())
    config["origin"][key] = "0" * 16
    (tmp_path / "agent" / "config.yml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=f"was trained on {words} of task 'digits-cnn'; train it again"):
        replay(tmp_path / "agent")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment": {"task": "digits-cnn", "colour": "red"}}, "cannot be built again.*colour"),
        ({"environment": [1]}, "lacks environment"),
        ({"env": "evil:ChannelPrune-v0"}, "env='evil:ChannelPrune-v0' names a module; legal are registered ids"),
        ({"env": "evil:compress_gym/ChannelPrune-v0"}, "names a module"),
        ({"hyperparameters": None}, "lacks hyperparameters"),
        ({"origin": {}}, "was trained on an earlier version"),
    ],
)
def test_a_run_of_another_version_is_one_line(changes, words, tmp_path, monkeypatch, capsys):
    shutil.copytree(SHIPPED[0], tmp_path / "agent")
    path = tmp_path / "agent" / "config.yml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    code, _, errors = run_here(predict_command, [tmp_path / "agent"], monkeypatch, capsys)
    (line,) = errors.strip().splitlines()
    assert code == 2 and re.search(words, line), line


def test_an_agent_plays_where_it_was_not_trained(tmp_path, monkeypatch, capsys):
    out = tmp_path / "played"
    arguments = [FOLDER / "digits-cnn-ppo", "--task", "cifar10-resnet20", "--budget", 0.6, "--out", out]
    code, shown, errors = run_here(predict_command, arguments, monkeypatch, capsys)
    assert code == 0, errors
    config, best = (
        yaml.safe_load((out / "config.yml").read_text()),
        json.loads((out / "best_strategy.json").read_text()),
    )
    assert config["origin"]["task"] == "cifar10-resnet20" and config["origin"]["device"] == "epyc-milan-ort-fp32"
    assert config["evaluations"] == best["evaluations"] == 1 and "agents.predict" in config["command"]
    assert best["strategy"] == json.loads(shown)["strategy"] and best["cost_ratio"] <= 0.6
