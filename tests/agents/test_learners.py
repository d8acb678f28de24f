from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from agents.exploration import truncated_normal
from agents.hyperparams import override, read_hyperparameters
from agents.learners import ALGORITHMS, action_type, build
from agents.predict import main as predict_command
from agents.runs import Run, Scored
from agents.search.__main__ import main as search_command
from agents.search.__main__ import run_search
from agents.train import main as train_command
from agents.train import run_training
from benchmarks.search.suites import CHECKPOINTS
from compress_gym.kinds.channel_prune import ChannelPruneEnv
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]
SETTINGS = {"task": "digits-cnn", "budget": 0.5, "reward": "accuracy"}
every_algorithm = pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))


def short(algorithm, folder, seed=0, episodes=12):
    hyperparameters = read_hyperparameters(algorithm, "ChannelPrune-v0")
    if "warmup_episodes" in hyperparameters:
        hyperparameters["warmup_episodes"] = 5
    return run_training(algorithm, "ChannelPrune-v0", SETTINGS, episodes, seed, folder, hyperparameters)


def rows(folder):
    with (folder / "evaluations.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@every_algorithm
def test_a_run_folder_is_complete_and_repeatable(algorithm, tmp_path):
    run, final = short(algorithm, tmp_path / "a")
    assert len(run.scored) == len(rows(tmp_path / "a")) == 12
    config = yaml.safe_load((tmp_path / "a" / "config.yml").read_text())
    assert config["method"] == algorithm and config["seed"] == 0 and config["origin"]["asset_hash"]
    assert config["versions"]["stable_baselines3"] and config["hyperparameters"]["gamma"] == 1.0
    best = json.loads((tmp_path / "a" / "best_strategy.json").read_text())
    assert best["finished"] and best["reward"] == max(s.reward for s in run.scored)
    assert (tmp_path / "a" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a" / "command.txt").read_text().startswith("python ")
    assert list((tmp_path / "a" / "tensorboard").rglob("events*"))

    short(algorithm, tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    replayed = subprocess.run(
        [sys.executable, "-m", "agents.predict", tmp_path / "a"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(replayed.stdout)["strategy"] == final["strategy"]


def test_another_seed_is_another_run(tmp_path):
    short("ddpg", tmp_path / "a")
    short("ddpg", tmp_path / "b", seed=1)
    assert rows(tmp_path / "a") != rows(tmp_path / "b")


def test_a_used_folder_is_refused(tmp_path):
    short("ppo", tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        short("ppo", tmp_path)


@pytest.mark.parametrize("interrupted_at", ["writerow", "scored", "seconds"])
def test_an_interruption_inside_add_leaves_a_consistent_folder(interrupted_at, tmp_path):
    """Ctrl-C may fall between any two lines of `Run.add`."""

    class Interrupting(list):
        def append(self, item):
            if len(self) == 2:
                raise KeyboardInterrupt
            super().append(item)

    run = Run(tmp_path, {"method": "test", "environment": {}})
    scored = [Scored({"a": i}, 0.1 * i, 0.1 * i, 0.5, True, {"macs": 1.0}) for i in range(4)]
    if interrupted_at == "writerow":
        write = run._writer.writerow
        run._writer = type("Writer", (), {"writerow": lambda self, r: write(r) if r[0] != 3 else interrupt()})()
    else:
        setattr(run, interrupted_at, Interrupting())
    with pytest.raises(KeyboardInterrupt), run:
        for entry in scored:
            run.add(entry)
    count = 3 if interrupted_at == "writerow" else 2
    best = json.loads((tmp_path / "best_strategy.json").read_text())
    assert best["evaluations"] == len(rows(tmp_path)) == count
    assert best["reward"] == scored[count - 1].reward and best["finished"] is False


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("module", ["agents.train", "agents.search"])
def test_ctrl_c_leaves_a_usable_folder(module, tmp_path):
    method = ["--algo", "ddpg", "--episodes"] if module == "agents.train" else ["--method", "random", "--evaluations"]
    arguments = [*method, "1000000", "--out", tmp_path / "run"]
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    evaluations = tmp_path / "run" / "evaluations.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (evaluations.exists() and evaluations.read_text().count("\n") > 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    best = json.loads((tmp_path / "run" / "best_strategy.json").read_text())
    assert best["finished"] is False and best["evaluations"] == len(rows(tmp_path / "run")) > 0
    assert (tmp_path / "run" / "curve.png").exists()
    if module == "agents.train":
        subprocess.run([sys.executable, "-m", "agents.predict", tmp_path / "run"], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (train_command, ["--algo", "ddgp"], "algo='ddgp' is not known.*Did you mean 'ddpg'"),
        (train_command, ["--algo", "ddpg", "--task", "digit-cnn"], "Did you mean 'digits-cnn'"),
        (train_command, ["--algo", "ddpg", "--env", "ChannelPrun-v0"], "env='ChannelPrun-v0'"),
        (train_command, ["--algo", "ddpg", "-p", "gama=0.9"], "hyper-parameter='gama'.*Did you mean 'gamma'"),
        (train_command, ["--algo", "ddpg", "-p", "batch_size=abc"], "expected int, got str"),
        (train_command, ["--algo", "ddpg", "-p", "batch_size=0"], "must be above 0"),
        (train_command, ["--algo", "ddpg", "--seed", "-1"], "--seed"),
        (train_command, ["--algo", "ddpg", "-p", "gamma=[1"], "not readable as YAML"),
        (train_command, ["--algo", "ddpg", "-p", "policy_kwargs={nets: 1}"], "hyper-parameters of 'ddpg' do not fit"),
        (train_command, ["--algo", "ppo", "--out", "/dev/null/run"], "Not a directory"),
        (train_command, ["--algo", "ddpg", "-p", "gamma"], "must have the form name=value"),
        (train_command, ["--algo", "ddpg", "--budget", "0"], "budget=0.0 must be above 0"),
        (train_command, ["--algo", "ddpg", "--episodes", "0"], "--episodes"),
        (search_command, ["--method", "anealing"], "method='anealing' is not known.*Did you mean 'annealing'"),
        (predict_command, ["nowhere"], "nowhere holds no run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_here(command, arguments, monkeypatch, capsys)
    assert code == 2
    (line,) = errors.strip().splitlines()
    assert re.search(words, line), line
    assert not list(tmp_path.rglob("config.yml"))


@every_algorithm
def test_the_other_kind_of_action_is_refused(algorithm):
    needed = action_type(algorithm)
    other = "discrete" if needed == "continuous" else "continuous"
    with pytest.raises(ValueError, match=f"algo='{algorithm}' needs action_type='{needed}'"):
        build(algorithm, ChannelPruneEnv(action_type=other), read_hyperparameters(algorithm, ""), 0)


def test_without_a_budget_rule_the_reward_alone_chooses(tmp_path):
    settings = {"task": "digits-cnn", "budget": 0.18, "reward": "mnasnet", "budget_rule": "none"}
    run = run_search("random", "ChannelPrune-v0", settings, 5, 0, tmp_path)
    assert not any(s.feasible for s in run.scored)
    best = json.loads((tmp_path / "best_strategy.json").read_text())
    assert best["reward"] == max(s.reward for s in run.scored)


@pytest.mark.parametrize("content", ["", "[", "method: ddpg"])
def test_a_broken_config_is_told(content, tmp_path, monkeypatch, capsys):
    (tmp_path / "config.yml").write_text(content)
    code, _, errors = run_here(predict_command, [tmp_path], monkeypatch, capsys)
    assert code == 2 and "config.yml" in errors


def test_replay_action_is_checked_and_matters(tmp_path):
    settings = {**read_hyperparameters("ddpg", ""), "warmup_episodes": 3}
    stored = {}
    for which in ("raw", "executed"):
        env = ChannelPruneEnv("digits-cnn", budget=0.4)
        model = build("ddpg", env, {**settings, "replay_action": which}, seed=0)
        model.learn(10)
        stored[which] = model.replay_buffer.actions[:10, 0, 0]
    centres = (2 * np.arange(8) + 1) / 8 - 1
    assert np.abs(stored["executed"][:, None] - centres).min(axis=1).max() < 1e-6
    assert np.abs(stored["raw"][:, None] - centres).min(axis=1).max() > 1e-3
    with pytest.raises(ValueError, match="replay_action='both'"):
        build("ddpg", env, {**settings, "replay_action": "both"}, seed=0)


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (0.9, 0.3), (-1.0, 0.5), (0.2, 0.01)])
def test_exploration_is_scipys_truncated_normal(mean, sigma):
    drawn = truncated_normal(np.random.default_rng(0), np.full(20_000, mean), sigma)
    exact = stats.truncnorm((-1 - mean) / sigma, (1 - mean) / sigma, mean, sigma)
    assert stats.kstest(drawn, exact.cdf).pvalue > 0.001
    assert np.abs(drawn).max() <= 1


def test_overrides_are_plain_data():
    settings = read_hyperparameters("ddpg", "ChannelPrune-v0")
    assert override(settings, ("gamma=0.9", "policy_kwargs={net_arch: [8]}"))["policy_kwargs"] == {"net_arch": [8]}


@pytest.mark.parametrize("change", ["train_freq=4", "train_freq=[1,episode]", "gradient_steps=-1", "gradient_steps=3"])
def test_schedules_can_be_chosen(change):
    settings, name = read_hyperparameters("ddpg-amc", "ChannelPrune-v0"), change.partition("=")[0]
    assert override(settings, (change,))[name] == yaml.safe_load(change.partition("=")[2])


@pytest.mark.parametrize("change", ["train_freq=[0,foo]", "train_freq=0", "train_freq=true", "gradient_steps=0"])
def test_schedules_that_are_none_are_refused(change):
    with pytest.raises(ValueError, match=re.escape(change) + ".*train_freq is a number of steps, or"):
        override(read_hyperparameters("ddpg", "ChannelPrune-v0"), (change,))


def test_rates_are_above_0_and_the_entropy_weight_may_be_a_number():
    with pytest.raises(ValueError, match="actor_learning_rate=-1' must be above 0"):
        override(read_hyperparameters("ddpg", "ChannelPrune-v0"), ("actor_learning_rate=-1",))
    assert override(read_hyperparameters("sac", "ChannelPrune-v0"), ("ent_coef=0.1",))["ent_coef"] == 0.1


def test_what_is_said_of_settings_is_so():
    """Reports say that the executed action alone differs, and that off-policy learners begin with random search."""
    ddpg, executed = (read_hyperparameters(name, "ChannelPrune-v0") for name in ("ddpg", "ddpg-executed"))
    assert {**executed, "replay_action": "raw"} == ddpg and executed["replay_action"] == "executed"
    for name in ("ddpg", "ddpg-executed", "ddpg-amc", "td3", "sac"):
        assert read_hyperparameters(name, "ChannelPrune-v0")["warmup_episodes"] == CHECKPOINTS[0]


def test_settings_of_one_environment_replace_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.hyperparams.FOLDER", tmp_path)
    (tmp_path / "mine.yml").write_text("default: {gamma: 1.0, tau: 0.01}\nJointPQ-v0: {tau: 0.02}\n")
    assert read_hyperparameters("mine", "ChannelPrune-v0") == {"gamma": 1.0, "tau": 0.01}
    assert read_hyperparameters("mine", "JointPQ-v0") == {"gamma": 1.0, "tau": 0.02}


def test_updates_after_each_episode():
    env = ChannelPruneEnv(**SETTINGS)
    settings = {**read_hyperparameters("ddpg", "ChannelPrune-v0"), "warmup_episodes": 2, "batch_size": 4}
    model = build("ddpg", env, {**settings, "train_freq": [1, "episode"], "gradient_steps": 7}, seed=0)
    model.learn(6 * len(env.unwrapped.problem.steps))
    assert model._n_updates == 7 * 4
