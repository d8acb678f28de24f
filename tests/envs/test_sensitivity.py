"""`features="sensitivity"`: more columns, the same in both environments, of what was measured of single layers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from compress_gym import CompressionEnv
from compress_gym.kinds import get_case
from compress_gym.making.sensitivity import measure_sensitivities
from compress_gym.problem.network_decisions import BitValues, bit_decisions
from compress_gym.problem.observations import ExtraFeatures
from compress_gym.problem.scores.sensitivity import BITS, CHANNEL_NAMES, KL_AT_0, KL_AT_1, SHARES, Sensitivities
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task, get_task, registry
from tests.helpers import write_tiny_task

MIXED, JOINT = "compress_gym/MixedQuant-v0", "compress_gym/JointPQ-v0"
BOTH = pytest.mark.parametrize(("env_id", "columns"), [(MIXED, 6), (JOINT, 9)])
TASK = get_task("digits-cnn")
CASE = get_case("JointPQ", TASK)


@BOTH
@pytest.mark.parametrize("action_type", ["continuous", "discrete"])
def test_scalar_and_vector_environment_see_the_same_more(env_id, columns, action_type):
    settings = {"action_type": action_type, "features": "sensitivity"}
    env, plain = gym.make(env_id, **settings), gym.make(env_id, action_type=action_type)
    envs = gym.make_vec(env_id, num_envs=2, **settings)
    names = list(env.unwrapped.observation_names)
    at = [n for n, name in enumerate(names) if name.startswith("sensitivity_")]
    assert len(at) == columns and [names[n] for n in range(len(names)) if n not in at] == list(
        plain.unwrapped.observation_names
    )
    assert envs.observation_names == tuple(names) and envs.single_observation_space == env.observation_space
    scalar, less, both = env.reset(seed=0)[0], plain.reset(seed=0)[0], envs.reset(seed=0)[0]
    env.action_space.seed(0)
    seen, ended = [], False
    while not ended:
        assert np.array_equal(both[0], scalar) and np.array_equal(np.delete(scalar, at), less)
        assert env.observation_space.contains(scalar)
        seen.append(scalar[at])
        action = env.action_space.sample()
        scalar, reward, ended, *_ = env.step(action)
        less = plain.step(action)[0]
        both, rewards, *_ = envs.step(np.stack([action, action]))
        assert rewards[0] == reward
    assert len(np.unique(seen, axis=0)) == 5 and not scalar[at].any()  # five layers, and none at the end


@BOTH
def test_the_docstring_lists_the_columns(env_id, columns):
    env = gym.make(env_id, features="sensitivity").unwrapped
    rows = re.findall(r"^ *\| (sensitivity_\w+) ", type(env).__doc__, flags=re.M)
    names = list(env.observation_names)
    at = names.index("share_of_bounded_cost") + 1
    assert rows == names[at : at + columns] and names[at + columns] == "device_is_cpu"


def test_what_is_seen_is_what_was_measured():
    measured = CASE.sensitivities()
    network, decisions = TASK.network(), CASE.decisions()
    features = measured.features(network, decisions)
    columns = dict(zip(features.names, features.values[decisions.names.index("conv3.channels")], strict=True))
    for name, share in zip(CHANNEL_NAMES, measured.channels["conv3"], strict=True):
        assert columns[name] == pytest.approx(np.log(share / KL_AT_0) / np.log(KL_AT_1 / KL_AT_0), abs=1e-6)
    assert np.array_equal(features.values[0], features.values[2])  # decisions about one layer
    # Less of a layer moves the outputs more.
    assert all((np.diff(kl) <= 1e-6).all() for part in (measured.channels, measured.weights) for kl in part.values())


def test_layers_that_decide_no_channels_have_none():
    network = get_task("cifar10-resnet20").network()
    layers = [layer.name for layer in network.layers]
    ones = np.ones(3)
    measured = Sensitivities(dict.fromkeys((g.name for g in network.groups), ones), *[dict.fromkeys(layers, ones)] * 2)
    decisions = get_case("JointPQ", "cifar10-resnet20").decisions()
    features = measured.features(network, decisions)
    first = {g.producers[0] for g in network.groups}
    for decision, row in zip(decisions.decisions, features.values, strict=True):
        assert (row[:3] > 0).all() == (decision.kind == "channels" or decision.subject in first)
        assert (row[3:] > 0).all()
    paired = bit_decisions(network, BitValues((8, 32), paired=True))
    assert measured.features(network, paired).values.shape == (20, 6)
    with pytest.raises(ValueError, match="sensitivities of 'conv1' in .* were not measured"):
        Sensitivities({}, {}, {}).features(network, bit_decisions(network, BitValues((4, 8)), fixed=()))


def test_the_command_measures_them(tmp_path):
    task = write_tiny_task(tmp_path)
    case = get_case("ChannelPrune", task)
    with pytest.raises(AssetError, match="measure them with: compress-gym sensitivity tiny"):
        case.sensitivities()
    measure_sensitivities(task, "a command", task.folder / "sensitivity.npz")
    measured = case.sensitivities()
    assert set(measured.channels) == {"conv1", "conv2"} and set(measured.inputs) == {"conv1", "conv2", "fc"}
    assert all(kl.shape == (3,) and (kl >= 0).all() for kl in measured.channels.values())
    assert measured.channels["conv1"][0] > measured.weights["conv1"][BITS.index(8)]
    # One of them by hand.
    import torch

    compressor, shown = case.compressor(), task.split("train").part(slice(-256, None))
    with torch.no_grad():
        whole, half = (compressor.build(row)(torch.from_numpy(shown.images)).softmax(1) for row in ([2, 2], [2, 1]))
    assert case.decisions().describe([2, 1])["conv2.channels"] >= SHARES[1] * 48
    expected = float((whole * (whole / half).log()).sum(1).mean())
    assert measured.channels["conv2"][1] == pytest.approx(expected, rel=1e-3)


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(TASK.folder, tmp_path / TASK.name)
    return get_case("JointPQ", Task.read(tmp_path / TASK.name))


@pytest.mark.parametrize(
    ("arrays", "card", "words"),
    [
        ({"bits": np.array([2, 4, 6])}, {}, r"measured at shares and bits .*\(2, 4, 6\)"),
        ({"channels_kl": np.full((5, 3), -1.0)}, {}, "negative or not finite"),
        ({"inputs_kl": np.zeros((2, 3))}, {}, "not readable as sensitivities"),
        ({}, {"recovery": "none"}, "made with recovery='none'.*with: compress-gym sensitivity digits-cnn"),
    ],
)
def test_files_that_do_not_fit_are_named(copied, arrays, card, words):
    path = copied.task.folder / "sensitivity.npz"
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **arrays})
    write_card(path, {**json.loads(path.with_suffix(".json").read_text()), **card})
    with pytest.raises(AssetError, match=words):
        copied.sensitivities()


def test_what_is_missing_or_unknown_is_named(copied, monkeypatch):
    monkeypatch.setattr(registry, "ASSETS", copied.task.folder.parent)
    (copied.task.folder / "sensitivity.npz").unlink()
    with pytest.raises(AssetError, match="features='sensitivity'.*with: compress-gym sensitivity digits-cnn"):
        gym.make(JOINT, features="sensitivity")
    with pytest.raises(KeyError, match="features='sensitivities' is not known.*Did you mean 'sensitivity'"):
        gym.make(JOINT, features="sensitivities")


def test_environments_with_and_without_do_not_mix():
    problems = [CASE.problem(features=features) for features in (None, "sensitivity")]
    with pytest.raises(ValueError, match="cannot share spaces.*extra features"):
        CompressionEnv(problems)
    extra = problems[1].extra_features
    with pytest.raises(ValueError, match="extra_features describe 1 decisions, not 15"):
        problems[0].replace(extra_features=ExtraFeatures(extra.names, extra.values[:1]))
    with pytest.raises(ValueError, match="must be within 0 and 1"):
        ExtraFeatures(("a",), np.array([[1.5]], dtype=np.float32))
    with pytest.raises(ValueError, match=r"expected \[T, 2\]"):
        ExtraFeatures(("a", "b"), np.zeros((3, 1), dtype=np.float32))


def test_reading_them_imports_no_torch():
    code = f"import sys, gymnasium, compress_gym; gymnasium.make({JOINT!r}, features='sensitivity')"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
