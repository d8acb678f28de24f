from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from compress_gym import CompressionEnv, Problem
from compress_gym.accuracy import MeasuredAccuracy
from compress_gym.costs import Term, pack
from compress_gym.decisions import Decision, DecisionSpace
from tests import reference
from tests.helpers import random_problem, seeds


def play(env, actions):
    env.reset()
    infos = [env.step(action)[-1] for action in actions]
    return np.concatenate([info["choice"] for info in infos]), infos[-1]


@pytest.mark.parametrize("rule", ["clip", "repair", "none"])
@given(seed=seeds)
def test_an_episode_equals_plain_python(rule, seed):
    problem = random_problem(seed, budget_rule=rule, reward="mnasnet")
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, size=(len(problem.decisions), 1)).astype(np.float32)
    wanted = [reference.choice(float(a[0]), int(n)) for a, n in zip(actions, problem.decisions.sizes, strict=True)]
    expected = wanted if rule == "none" else getattr(reference, rule)(problem, wanted)
    _, info = play(CompressionEnv(problem), actions)
    assert info["strategy"] == problem.describe(expected)


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


def test_measured_accuracy_checks_its_table():
    space = random_problem(0).decisions
    with pytest.raises(ValueError, match="expected"):
        MeasuredAccuracy(space, np.zeros(space.count + 1), 0.5)
    with pytest.raises(ValueError, match="within 0 and 1"):
        MeasuredAccuracy(space, np.full(space.count, 2.0), 0.5)
