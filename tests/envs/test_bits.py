"""`MixedQuant-v0` and `JointPQ-v0`: bits come from devices, and what does not fit is named."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import compress_gym
from compress_gym import CompressionEnv
from compress_gym.devices import load_device
from compress_gym.kinds import get_case
from compress_gym.problem.decisions import steps_by_layer
from compress_gym.problem.network_decisions import BitValues, bit_decisions, joint_decisions
from compress_gym.problem.scores import MeasuredAccuracy
from compress_gym.tasks import get_task
from tests.helpers import two_precisions

MIXED, JOINT = "compress_gym/MixedQuant-v0", "compress_gym/JointPQ-v0"


def task_problem(env, task, device="auto", **settings):
    return get_case(env, task).problem(device, **settings)


NETWORK, RESNET = get_task("digits-cnn").network(), get_task("cifar10-resnet20").network()


class Half:
    """Accuracies of one's own."""

    source, baseline = "own", 0.9

    def __call__(self, strategies):
        return np.full(len(strategies), 0.5)


def test_both_ids_work_from_gym_make():
    for env_id, slots, steps in ((MIXED, 2, 5), (JOINT, 3, 5)):
        problem = gym.make(env_id).unwrapped.problem
        assert gym.make(env_id).action_space.shape == (slots,) and len(problem.steps) == steps
        assert problem.accuracy_model.source in ("measured", "surrogate") and problem.origin["device"] == "bismo-edge"


@pytest.mark.parametrize(("device", "bits"), [("bitfusion", (2, 4, 8)), ("bismo-edge", tuple(range(2, 9)))])
def test_values_come_from_the_device(device, bits):
    decisions = bit_decisions(RESNET, load_device(device).bit_values)
    assert {d.values for d in decisions.decisions} == {bits}
    assert {d.kind for d in decisions.decisions} == {"weight_bits", "activation_bits"}


def test_the_first_and_the_last_layer_stay_at_8_bits():
    names = {d.subject for d in bit_decisions(RESNET, BitValues((4, 8))).decisions}
    assert "conv1" not in names and "fc" not in names and len(names) == 20
    joint = joint_decisions(RESNET, BitValues((4, 8)))
    assert [d.values for d in joint.decisions[:2]] == [(8,), (8,)] and joint.decisions[2].name == "conv1.channels"
    assert not any(d.subject == "fc" for d in joint.decisions)


def test_channels_are_decided_at_their_groups_first_layer():
    decisions = joint_decisions(RESNET, BitValues((4, 8)))
    steps = steps_by_layer(decisions)
    kinds = [tuple(decisions.decisions[t].kind for t in step) for step in steps]
    bits = ("weight_bits", "activation_bits")
    assert len(steps) == 21 and set(kinds) == {bits, (*bits, "channels")}
    assert kinds.count((*bits, "channels")) == len(RESNET.groups)
    problem = get_case("JointPQ", "cifar10-resnet20").assembled(decisions, Half(), None, {}, cost="bops", budget=0.3)
    env = CompressionEnv(problem)
    env.reset(seed=0)
    for kind in kinds:
        *_, info = env.step(env.action_space.sample())
        assert (info["choice"] >= 0).tolist() == [True, True, "channels" in kind]
    assert info["feasible"] and info["strategy"]["conv1.weight_bits"] == 8


def test_bits_can_be_fewer():
    small = task_problem("MixedQuant", "digits-cnn", bits=(8, 4))
    whole = task_problem("MixedQuant", "digits-cnn")
    assert {d.values for d in small.decisions.decisions} == {(4, 8)}
    rows = np.random.default_rng(0).integers(2, size=(20, 10))
    assert np.array_equal(small.accuracy(rows), whole.accuracy(rows + 1))
    joint = task_problem("JointPQ", "digits-cnn", bits=(4, 8))
    row = joint.decisions.uncompressed
    assert joint.accuracy(row) == pytest.approx(
        task_problem("JointPQ", "digits-cnn").accuracy(task_problem("JointPQ", "digits-cnn").decisions.uncompressed)
    )


def test_a_part_of_a_table():
    space = bit_decisions(NETWORK, BitValues((2, 4, 8)), fixed=("conv1", "conv2", "conv3", "fc"))
    part = bit_decisions(NETWORK, BitValues((4, 8)), fixed=("conv1", "conv2", "conv3", "fc"))
    model = MeasuredAccuracy(space, np.linspace(0, 1, space.count), 0.9)
    rows = part.enumerate()
    assert np.array_equal(model.restricted(part)(rows), model(rows + 1))
    with pytest.raises(ValueError, match=r"conv4.weight_bits can be \[16\]"):
        model.restricted(bit_decisions(NETWORK, BitValues((8, 16)), fixed=("conv1", "conv2", "conv3", "fc")))


def test_one_decision_a_layer_where_bits_come_in_pairs():
    device = two_precisions(NETWORK)
    decisions = bit_decisions(NETWORK, device.bit_values, fixed=())
    problem = get_case("MixedQuant", "digits-cnn").assembled(decisions, Half(), device, {}, cost="bops", budget=0.3)
    env = CompressionEnv(problem)
    assert env.action_space.shape == (1,) and len(problem.steps) == 6
    env.reset(seed=0)
    for _ in range(6):
        *_, info = env.step([1.0])
    assert info["feasible"] and set(info["strategy"].values()) == {8, 32} and 0.2 < info["cost_ratio"] <= 0.3


@pytest.mark.parametrize("env_id", [MIXED, JOINT])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": (2, 6), "device": "bitfusion"}, r"bits=\(2, 6\) must be two or more of \[2, 4, 8\].*'bitfusion'"),
        ({"bits": ()}, r"bits=\(\) must be two or more of"),
        ({"bits": 8}, r"bits=8 must be two or more of \[2, 3, 4"),
        ({"bits": (8,)}, r"bits=\(8,\) must be two or more.*with one there is nothing to choose"),
        ({"bits": (1, 8)}, r"bits=\(1, 8\) must be two or more of \[2, 3, 4"),
        ({"bits": (3, 8), "accuracy": "shipped"}, r"can be \[3\].*use accuracy='live'"),
        ({"device": "xeon-ort-fp32"}, "device='xeon-ort-fp32' leaves no choice of bits.*'bismo-edge'.*'bitfusion'"),
        ({"budget": 0.01}, "budget=0.01 is below the cheapest strategy"),
        ({"device": None}, "device=None has no latency_ms; give a device, or .* cost='macs'"),
        ({"task": "cifar10-plain20", "accuracy": "measured"}, "accuracy='measured': task 'cifar10-plain20' has none"),
    ],
)
def test_bad_input_is_named(env_id, settings, words):
    if settings.get("accuracy") == "shipped":
        settings = {**settings, "accuracy": "measured" if env_id == MIXED else "surrogate"}
    with pytest.raises(ValueError, match=words):
        gym.make(env_id, **settings)


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        (("conv9",), r"fixed=\['conv9'\]: 'conv9' has no weights"),
        (("pool",), "'pool' has no weights"),
        (tuple(f"conv{n}" for n in range(1, 6)) + ("fc",), "leaves no layer of 'digits-cnn'"),
    ],
)
def test_fixed_layers_are_checked(fixed, words):
    with pytest.raises(ValueError, match=words):
        bit_decisions(NETWORK, BitValues((4, 8)), fixed)


def test_costs_alone_need_no_device():
    problem = task_problem("MixedQuant", "digits-cnn", None, bits=(2, 4, 8), cost="bops", budget=0.2)
    assert "latency_ms" not in problem.cost_terms.metrics
    assert problem.evaluate(problem.uniform()).feasible.all()


def test_two_environments_of_different_kinds_do_not_mix():
    problems = [task_problem(env, "digits-cnn") for env in ("MixedQuant", "JointPQ")]
    with pytest.raises(ValueError, match="cannot share spaces"):
        compress_gym.CompressionEnv(problems)
