"""A user's own task: made by a command, then taken by every other one, and by environments."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from agents.search.__main__ import main as search_command
from compress_gym.cli import cli
from compress_gym.devices import load_device
from compress_gym.devices.device import TABLES
from compress_gym.kinds import get_case
from compress_gym.live.weights import save_weights
from compress_gym.support.cards import card_path
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task, get_task, list_tasks, user_tasks
from tests.helpers import run_here
from tests.tiny_net import TinyNet

NETWORK = (Path(__file__).parents[1] / "tiny_net.py").read_text()
DATA = """
import torch
from compress_gym.data import load_dataset

def splits():
    data = load_dataset("digits")
    parts = {"train": data.train.take(80), "validation": data.validation.take(60), "test": data.test.take(40)}
    return {name: (torch.from_numpy(part.images), part.labels) for name, part in parts.items()}

def as_datasets():
    return {name: torch.utils.data.TensorDataset(x, torch.tensor(y)) for name, (x, y) in splits().items()}

def labels_from_1():
    return {name: (x, y + 1) for name, (x, y) in splits().items()}

def not_normalised():
    return {name: (x * 255, y) for name, (x, y) in splits().items()}

def in_colour():
    return {name: (x.expand(-1, 3, -1, -1), y) for name, (x, y) in splits().items()}

def not_a_number():
    made = splits()
    made["train"][0][0, 0, 0, :4] = float("nan")
    return made

def neighbour():
    import elsewhere_of_mine

def one_split():
    return {"train": splits()["train"]}

def wrong_shape():
    return {name: (x[:, 0], y) for name, (x, y) in splits().items()}

def damaged():
    raise OSError("the disk is full")
"""


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


class TwoInputs(TinyNet):
    def forward(self, x, y):
        return super().forward(x)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPRESS_GYM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("my_net.py").write_text(
        f"{NETWORK}\n\ndef no_module():\n    return 5\n\n{inspect.getsource(dense)}\n\n{inspect.getsource(TwoInputs)}"
    )
    Path("my_data.py").write_text(DATA)
    torch.manual_seed(0)
    save_weights(TinyNet(), Path("w.safetensors"))
    return lambda *arguments: run_here(cli, arguments, monkeypatch, capsys)


def new(run, name="mine", network="my_net.py:TinyNet", weights="w.safetensors", data="my_data.py:splits", *more):
    return run("task", "new", name, "--network", network, "--weights", weights, "--data", data, *more)


@pytest.mark.parametrize("data", ["splits", "as_datasets"])
def test_a_task_is_made(run, data):
    code, out, errors = new(run, "mine", "my_net.py:TinyNet", "w.safetensors", f"my_data.py:{data}", "--levels", "3")
    assert code == 0, errors
    assert "kinds: ChannelPrune-v0, JointPQ-v0, MixedQuant-v0" in out
    assert run("tasks", "--where")[1].strip() == str(user_tasks())
    for name in ("my_net.py", "my_data.py", "w.safetensors"):
        Path(name).unlink()  # everything that the task needs lies in its folder
    task = get_task("mine")
    assert "mine" in list_tasks() and task.folder == user_tasks() / "mine"
    assert not [path for path in user_tasks().iterdir() if path.name.startswith(".")]
    assert "mine" in run("tasks")[1]
    assert task.weights_card()["validation_images"] == 60 and len(task.split("test").labels) == 40
    env = gym.make("compress_gym/ChannelPrune-v0", task="mine", device=None, cost="macs", reward="accuracy")
    env.reset(seed=0)
    for _ in range(2):
        *_, info = env.step([1.0])
    assert info["accuracy_source"] == "live" and info["feasible"]
    scorer = get_case("ChannelPrune", "mine").scorer(recovery="none")
    assert scorer.baseline == task.weights_card()["validation_accuracy"]


def test_every_command_takes_it(run):
    assert new(run, "mine", "my_net.py:TinyNet", "w.safetensors", "my_data.py:splits", "--loss")[0] == 0
    folder = user_tasks() / "mine"
    assert "conv1.channels: " in run("describe", "mine")[1]
    assert "conv1.weight_bits: " in run("describe", "mine", "--env", "JointPQ")[1]
    few = ("--count", "20", "--sample")
    for env, ending in (("ChannelPrune", ""), ("MixedQuant", "-mixed-quant")):
        code, out, errors = run("collect", "mine", "--env", env, *few)
        assert code == 0, errors
        assert (folder / f"strategies{ending}.npz").exists()
        code, out, errors = run("fit", "mine", "--env", env)
        assert code == 0 and "accuracy: 20 rows, held out" in out and "valid_loss: 20 rows" in out, errors
        card = json.loads((folder / f"surrogate{ending}.json").read_text())
        assert card["stated_error"]["held_out"]["all_rows"]["mae"] < 1
    assert run("sensitivity", "mine")[0] == 0 and (folder / "sensitivity.npz").exists()
    # In microseconds now, in all kinds; the loss is told beside.
    settings = {"task": "mine", "device": "bismo-edge", "features": "sensitivity", "reward": "hat", "budget": 0.9}
    envs = gym.make_vec("compress_gym/MixedQuant-v0", num_envs=64, **settings)
    envs.reset(seed=0)
    terminations, steps = np.zeros(64, dtype=bool), 0
    while not terminations.any():
        _, rewards, terminations, _, infos = envs.step(envs.action_space.sample())
        steps += 1
    assert set(infos["accuracy_source"]) == {"surrogate"} and np.array_equal(rewards, -infos["valid_loss"])
    env = gym.make("compress_gym/ChannelPrune-v0", task="mine", device=None, cost="macs")
    assert env.unwrapped.problem.accuracy_model.source == "surrogate"
    best = {"strategy": env.unwrapped.problem.describe(env.unwrapped.problem.uniform())}
    Path("best_strategy.json").write_text(json.dumps(best))
    code, _, errors = run("export", "mine", "best_strategy.json", "--out", "small.onnx")
    assert code == 0 and Path("small.onnx").stat().st_size > 0, errors
    code, _, errors = run("train", "mine", "--epochs", "1", "--out", "trained")
    assert code == 0, errors
    assert json.loads(Path("trained/weights.json").read_text())["recipe"]["cycles"][0]["epochs"] == 1
    # What was measured belongs to the weights.
    shutil.copy("trained/weights.safetensors", folder)
    shutil.copy("trained/weights.json", folder)
    with pytest.raises(AssetError, match="made with weights_sha256=.*compress-gym fit mine --env ChannelPrune"):
        gym.make("compress_gym/ChannelPrune-v0", task="mine", device=None, cost="macs")


def test_a_search_bounds_what_it_has(run, monkeypatch, capsys):
    """Without a device there is no latency: multiply-accumulates are bounded, as by `gym.make`."""
    assert new(run)[0] == 0
    arguments = ["--method", "random", "--task", "mine", "--budget", 0.9, "--evaluations", 2, "--out", "found"]
    code, out, errors = run_here(search_command, arguments, monkeypatch, capsys)
    assert code == 0 and "of the macs" in out, errors
    assert "cost: macs" in Path("found/config.yml").read_text()


def test_a_table_is_found_from_everywhere(run, monkeypatch, tmp_path):
    table = TABLES / "epyc-milan-ort-fp32.csv"
    for path in (table, card_path(table)):
        shutil.copy(path, ".")
    code, out, errors = new(
        run, "mine", "my_net.py:TinyNet", "w.safetensors", "my_data.py:splits", "--device", table.name
    )
    assert code == 0, errors
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Path(get_task("mine").device).is_absolute() and Path(get_task("mine").device).exists()


def test_it_is_profiled(run):
    assert new(run, "mine", "my_net.py:TinyNet", "w.safetensors", "my_data.py:splits", "--levels", "2")[0] == 0
    few = ("--rounds", "4", "--repetitions", "8", "--fitted", "4", "--checked", "3")
    code, out, errors = run("profile", "mine", *few, "--out", "mine.csv")
    assert code == 0 and 'gym.make("compress_gym/ChannelPrune-v0", task="mine", device="mine.csv")' in out, errors
    assert load_device("mine.csv").card["tasks"] == ["mine"]
    env = gym.make("compress_gym/ChannelPrune-v0", task="mine", device="mine.csv", budget=1.0)
    assert env.unwrapped.problem.baseline_costs["latency_ms"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "digits-cnn"}, "task 'digits-cnn' exists already"),
        ({"name": "../mine"}, "must be letters, digits"),
        ({"network": "nothing.py:TinyNet"}, "there is no file nothing.py"),
        ({"network": "my_net.py:Nothing"}, "has no 'Nothing'"),
        ({"network": "my_net.py:no_module"}, "returns a int, no torch module"),
        ({"network": "my_net.py"}, "--network my_net.py must be FILE.py:FUNCTION"),
        ({"data": "my_data.py:neighbour"}, "can import what is installed, not its neighbours"),
        ({"data": "my_data.py:not_a_number"}, "4 values that are NaN"),
        ({"data": "my_data.py:labels_from_1"}, "labels from 1 to 10; the network has 10 outputs"),
        ({"data": "my_data.py:not_normalised"}, "as pixels of 0 to 255 have"),
        ({"data": "my_data.py:in_colour"}, "does not take inputs of shape"),
        ({"data": "my_data.py:one_split"}, "must be a dictionary of train, validation, test; it is ['train']"),
        ({"data": "my_data.py:wrong_shape"}, "expected [N, channels, height, width]"),
        ({"data": "my_data.py:damaged"}, "the disk is full"),
        ({"weights": "my_data.py"}, "not readable as safetensors"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, change, words):
    code, _, errors = new(run, **change)
    assert code == 2 and words in errors and len(errors.strip().splitlines()) == 1
    assert not user_tasks().exists() or not list(user_tasks().iterdir())


def test_a_network_of_two_inputs_is_told(run):
    code, _, errors = new(run, network="my_net.py:TwoInputs")
    assert code == 2 and "cannot be called with one batch of inputs: TypeError" in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_network_without_decisions_is_told(run):
    save_weights(dense(), Path("dense.safetensors"))
    code, _, errors = new(run, network="my_net.py:dense", weights="dense.safetensors")
    assert code == 2 and "no kind finds anything to decide in it (ChannelPrune-v0: network='mine' has no" in errors
    assert "MixedQuant-v0: the first and the last layer stay at 8 bits, which leaves no layer" in errors
    assert not list(user_tasks().iterdir())


def test_a_weak_accuracy_is_told(run):
    assert "the accuracy is near chance (10 classes)" in new(run)[2]


def test_what_cannot_be_used_is_refused_before_anything_is_made(run):
    for more, words in ((("--recovery", "magic"), "recovery='magic'"), (("--device", "no-such"), "device='no-such'")):
        code, _, errors = new(run, "mine", "my_net.py:TinyNet", "w.safetensors", "my_data.py:splits", *more)
        assert code == 2 and words in errors and not user_tasks().exists()


def test_a_damaged_task_hides_no_other_one(run):
    assert new(run)[0] == new(run, "other")[0] == 0
    (user_tasks() / "mine" / "task.json").write_text("{}")
    with pytest.warns(UserWarning, match="the task 'mine' is left out"):
        assert {"other", "digits-cnn"} <= set(list_tasks())


def test_a_kind_that_does_not_fit_is_shown_beside_the_other_tasks(run):
    assert new(run)[0] == 0
    path = user_tasks() / "mine" / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kinds": ["TransformerNAS-v0"]}))
    code, out, _ = run("tasks", "--json")
    rows = {row["task"]: row["summary"] for row in json.loads(out)}
    assert code == 0 and "digits-cnn" in rows
    assert rows["mine"].startswith("cannot be used: task='mine' holds a Network")


def test_a_training_that_cannot_begin_leaves_nothing(run, monkeypatch):
    monkeypatch.setenv("COMPRESS_GYM_DATA", "nowhere")
    code, _, errors = run("train", "cifar10-resnet18")
    assert code == 2 and "data set 'cifar10' is not at" in errors and not user_tasks().exists()
    assert run("describe", "cifar10-resnet18")[0] == 0


def test_where_no_device_is_named_multiply_accumulates_are_bounded(run):
    assert new(run)[0] == 0
    problem = gym.make("compress_gym/ChannelPrune-v0", task="mine", budget=0.9).unwrapped.problem
    assert problem.cost == "macs" and problem.origin["device"] is None
    # Bits need a device that knows them, and the kinds name one.
    assert gym.make("compress_gym/MixedQuant-v0", task="mine", budget=0.9).unwrapped.problem.cost == "latency_ms"


def test_what_was_not_collected_is_told(run):
    assert new(run)[0] == 0
    code, _, errors = run("fit", "mine")
    assert code == 2 and "measure strategies first: compress-gym collect mine --env ChannelPrune" in errors


def test_a_name_is_taken_once(run):
    assert new(run)[0] == 0
    before = (user_tasks() / "mine" / "task.json").read_bytes()
    code, _, errors = new(run)
    assert code == 2 and "exists already" in errors
    assert (user_tasks() / "mine" / "task.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 0}, "version=0: should be greater than or equal to 1"),
        ({"kinds": ["ChannelPrune"]}, "kinds.0='ChannelPrune' must be a kind's id with its version"),
        ({"columns": {"loss": {}}}, "must hold 'accuracy'"),
        ({"recoverys": ["none"]}, "field of task.json='recoverys' is not known.*Did you mean 'recoveries'"),
        ({"network": {"build": "os.system"}}, "network.build='os.system' must be 'package.module:name'"),
        ({"network": {}}, "network.build is missing"),
        ({"calibration": {"pictures": 3, "images": 3}}, "'pictures' is not known; legal: 'augmentation', 'images'"),
        ({"options": {"levls": 4}}, "options: key='levls' is not known.*Did you mean 'levels'"),
        ({"recipes": {"train": "hm"}}, "recipes: train='hm' must be a list"),
        ({"recipes": {"finetune": 3}}, "recipes: finetune=3 must be an object"),
        ({"options": {"fixed": "conv1"}}, "options: fixed='conv1' must be a list"),
        ({"name": "other"}, "is not the folder's name"),
        ({"validation_images": "many"}, "validation_images='many': should be a valid integer"),
    ],
)
def test_wrong_fields_are_named(run, change, words):
    assert new(run)[0] == 0
    path = user_tasks() / "mine" / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AssetError, match=rf"task.json: .*{words}"):
        Task.read(path.parent)


def test_nothing_is_written_into_the_package(run):
    for command in (["fit", "digits-cnn"], ["sensitivity", "digits-cnn"]):
        code, _, errors = run(*command)
        assert code == 2 and "is shipped, and nothing is written into the package; give --out" in errors
    code, _, errors = run("train", "digits-cnn")
    assert code == 2 and "has weights already; give --out" in errors
