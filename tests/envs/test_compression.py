from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress_gym import CompressionEnv, Problem
from compress_gym.devices import Operation
from compress_gym.devices.energy import analytic_energy_mj
from compress_gym.envs.kernels import choice_of
from compress_gym.kinds.channel_prune import ChannelPruneEnv
from compress_gym.problem.costs import Term, pack
from compress_gym.problem.decisions import Decision, DecisionSpace
from compress_gym.problem.scores import MeasuredAccuracy
from tests import reference
from tests.helpers import random_problem, random_terms, seeds


def play(env, actions):
    env.reset()
    infos = [env.step(action)[-1] for action in actions]
    return np.concatenate([info["choice"] for info in infos]), infos[-1]


@pytest.mark.parametrize("rule", ["clip", "repair", "none"])
@given(seed=seeds, labels=st.booleans())
def test_an_episode_equals_plain_python(rule, seed, labels):
    problem, terms = random_terms(seed, labels=labels, budget_rule=rule, reward="mnasnet")
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, size=(len(problem.decisions), 1)).astype(np.float32)
    wanted = [reference.choice(float(a[0]), int(n)) for a, n in zip(actions, problem.decisions.sizes, strict=True)]
    expected = wanted if rule == "none" else getattr(reference, rule)(problem, terms, wanted)
    _, info = play(CompressionEnv(problem), actions)
    assert info["strategy"] == problem.describe(expected)
    assert info["choice"][0] == expected[-1]
    assert choice_of(float(info["executed_action"][0]), int(problem.decisions.sizes[-1])) == expected[-1]


@given(seed=seeds, labels=st.booleans())
def test_observations_equal_plain_python(seed, labels):
    problem, terms = random_terms(seed, labels=labels)
    env = CompressionEnv(problem)
    observation, _ = env.reset()
    made: list[int] = []
    for action in np.random.default_rng(seed).uniform(-1, 1, size=(len(problem.decisions), 1)):
        _equal(env, observation, reference.observed(problem, terms, made))
        observation, *_, info = env.step(action)
        made.append(int(info["choice"][0]))
    _equal(env, observation, reference.observed(problem, terms, made))


@pytest.mark.parametrize("action_type", ["continuous", "discrete"])
@pytest.mark.parametrize("rule", ["clip", "repair", "none"])
@given(seed=seeds, labels=st.booleans())
def test_inactive_decisions_are_skipped(rule, action_type, seed, labels):
    """Of a step's decisions, the active ones are made; a step in which none is active does not happen."""
    problem, terms = random_terms(seed, conditional=True, labels=labels, budget_rule=rule, reward="mnasnet")
    count, rng = len(problem.decisions), np.random.default_rng(seed)
    ends = sorted({*rng.integers(1, count + 1, size=2).tolist(), count})
    steps = tuple(tuple(range(a, b)) for a, b in zip([0, *ends], ends, strict=False))
    wanted = rng.integers(problem.decisions.sizes).tolist()
    expected = (
        reference.canonical(problem, wanted) if rule == "none" else getattr(reference, rule)(problem, terms, wanted)
    )
    assert problem.within_budget(wanted)[0].tolist() == expected
    env = CompressionEnv(problem.replace(steps=steps), action_type)
    left = [[t] for t in range(count)] if action_type == "discrete" else [list(step) for step in steps]
    env.reset()
    terminated, made = False, problem.cheapest.tolist()
    while not terminated:
        while all(reference.inactive(problem, made, t) for t in left[0]):
            for t in left.pop(0):
                made[t] = 0
        if action_type == "discrete":
            assert env.action_masks().any()
            action = wanted[left[0][0]]
        else:
            action = np.zeros(env.action_space.shape)
            for a, t in enumerate(left[0]):
                action[a] = (2 * wanted[t] + 1) / int(problem.decisions.sizes[t]) - 1
        observation, _, terminated, _, info = env.step(action)
        slots = len(info["choice"])
        if terminated and rule == "repair":
            made = list(expected)  # the whole strategy was repaired
        for a, t in enumerate(left.pop(0)):
            inactive = reference.inactive(problem, made, t)
            made[t] = 0 if inactive else int(info["choice"][a])
            assert (info["choice"][a] == -1) == inactive
            seen = observation[len(observation) - slots + a]
            assert seen == (0 if inactive else np.float32((made[t] + 0.5) / problem.decisions.sizes[t]))
    if rule != "repair":  # which may have activated what was skipped
        assert all(reference.inactive(problem, expected, t) for step in left for t in step)
    assert info["strategy"] == problem.describe(expected)
    for name, value in problem.costs(expected).items():
        assert info[name] == value[0]
    assert info["cost_ratio"] == pytest.approx(info["latency_ms"] / problem.baseline_costs["latency_ms"])


def _equal(env, observation, expected):
    seen = dict(zip(env.observation_names, observation.tolist(), strict=True))
    for name, value in expected.items():
        assert seen[name] == pytest.approx(value, abs=1e-6), name


def test_the_layer_columns_of_digits_cnn():
    """By hand: conv3 reads 32 channels of 16x16 pixels, makes 64, kernel 3, stride 2."""
    env = ChannelPruneEnv("digits-cnn")
    env.reset()
    for _ in range(2):
        observation, *_ = env.step([1.0])
    seen = dict(zip(env.observation_names, observation.tolist(), strict=True))
    touched = Operation("conv", 32, 64, 3, 2, 1, 16, 16), Operation("conv", 64, 64, 3, 1, 1, 8, 8)
    touched_energy = sum(map(analytic_energy_mj, touched))
    expected = {
        "layer_is_conv": 1,
        "layer_is_depthwise": 0,
        "in_channels": 5 / 12,
        "out_channels": 6 / 12,
        "kernel": np.log2(3) / 3,
        "stride": 1 / 3,
        "input_pixels": 8 / 16,
        "parameters": np.log2(32 * 64 * 9) / 24,
        "values": 3 / 4,
        # conv3 and conv4 of 6.56 M MACs
        "share_of_macs": (32 * 64 * 9 * 64 + 64 * 64 * 9 * 64) / env.problem.baseline_costs["macs"],
        "share_of_energy_mj": touched_energy / env.problem.baseline_costs["energy_mj"],
        "device_is_cpu": 1,
        "device_is_gpu": 0,
    }
    for name, value in expected.items():
        assert seen[name] == pytest.approx(value, abs=1e-6), name
    throughput = env.problem.baseline_costs["macs"] / env.problem.baseline_costs["latency_ms"] * 1000
    assert seen["device_throughput"] == pytest.approx(np.log2(throughput) / np.log2(1e15), abs=1e-6)


@given(seed=seeds)
def test_discrete_equals_continuous(seed):
    problem = random_problem(seed)
    choices = np.random.default_rng(seed).integers(problem.decisions.sizes)
    centres = ((2 * choices + 1) / problem.decisions.sizes - 1).astype(np.float32)
    discrete, _ = play(CompressionEnv(problem, "discrete"), choices)
    continuous, _ = play(CompressionEnv(problem), centres[:, None])
    assert (discrete == continuous).all() and (discrete == problem.within_budget(choices)[0]).all()


@given(seed=seeds)
@settings(max_examples=30)
def test_several_decisions_a_step_are_made_in_order(seed):
    problem = random_problem(seed)
    count = len(problem.decisions)
    joined = problem.replace(steps=(tuple(range(count)),))
    choices = np.random.default_rng(seed).integers(problem.decisions.sizes)
    action = ((2 * choices + 1) / problem.decisions.sizes - 1).astype(np.float32)
    env = CompressionEnv(joined)
    assert env.action_space.shape == (count,)
    made, _ = play(env, [action])
    assert (made == problem.within_budget(choices)[0]).all()


def test_a_step_with_fewer_decisions_leaves_the_rest_of_the_action_alone():
    problem = next(p for p in map(random_problem, range(100)) if len(p.decisions) == 3)
    env = CompressionEnv(problem.replace(steps=((0, 1), (2,))))
    env.reset()
    env.step(np.float32([0, 0]))
    observation, *_, info = env.step(np.float32([0, 1]))
    assert info["choice"][1] == -1 and info["executed_action"][1] == 0 and observation[-1] == 0


def _bumpy_problem(budget):
    """Eight layers in a chain whose latencies are not monotone in the channel count."""
    rng = np.random.default_rng(0)
    space = DecisionSpace(tuple(Decision(f"c{t}", "channels", tuple(range(4, 36, 4))) for t in range(8)))
    ramp = np.arange(1, 9)[:, None] * np.arange(1, 9)
    terms = [Term(f"l{t}", (t - 1, t), (ramp * rng.uniform(0.4, 1.6, size=(8, 8)))[..., None]) for t in range(1, 8)]
    return Problem(space, pack(space, ("latency_ms",), terms), _Constant(), budget=budget, reward="accuracy")


class _Constant:
    source, baseline = "measured", 0.5

    def __call__(self, strategies):
        return np.full(len(strategies), 0.5)


@pytest.mark.parametrize("rule", ["clip", "repair"])
@pytest.mark.parametrize("budget", [0.1, 0.2, 0.35, 0.5, 0.9])
def test_the_budget_holds_in_random_episodes(budget, rule):
    """10,000 episodes under `clip`, as many under `repair`, on a latency that is not monotone."""
    env = CompressionEnv(_bumpy_problem(budget).replace(budget_rule=rule))
    actions = np.random.default_rng(1).uniform(-1, 1, size=(2000, 8, 1))
    assert all(play(env, episode)[1]["feasible"] for episode in actions)
    assert (env.problem.costs(env.strategy)["latency_ms"] <= env.problem.cost_limit).all()


def test_an_episode_of_labels_is_drawn():
    problem = random_problem(7, labels=True)
    named = [d for d in problem.decisions.decisions if d.has_labels]
    env = CompressionEnv(problem, render_mode="ansi")
    _, info = play(env, np.zeros((len(problem.decisions), 1), dtype=np.float32))
    text = env.render().splitlines()
    assert named and len(named) < len(problem.decisions)
    for line, decision in zip(text, problem.decisions.decisions, strict=False):
        value, reference = info["strategy"][decision.name], decision.values[decision.reference_choice]
        assert line.endswith(f" {value} " + (f"(uncompressed {reference})" if decision in named else f"of {reference}"))
    env.render_mode = "rgb_array"
    assert env.render().ndim == 3


def test_measured_accuracy_checks_its_table():
    space = random_problem(0).decisions
    with pytest.raises(ValueError, match="expected"):
        MeasuredAccuracy(space, np.zeros(space.count + 1), 0.5)
    with pytest.raises(ValueError, match="within 0 and 1"):
        MeasuredAccuracy(space, np.full(space.count, 2.0), 0.5)
