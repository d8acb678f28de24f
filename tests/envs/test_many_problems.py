"""Many problems in one environment: what is drawn, what options fix, what is refused."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from compress_gym import CompressionEnv, CompressionVectorEnv, Problem, ProblemDistribution
from tests.envs.parity import assert_equal, looped
from tests.helpers import random_problem, seeds

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


@given(seed=seeds, mode=st.sampled_from(MODES), conditional=st.booleans(), labels=st.booleans())
def test_many_problems_in_one_environment(seed, mode, conditional, labels):
    """Problems of different length: each environment draws its own, as a scalar environment of its seed does."""
    settings = {"budget_slack": 0.2, "reward": "mnasnet", "conditional": conditional, "labels": labels}
    problems = tuple(random_problem(seed // 2 + n, **settings) for n in range(3))
    lowest = max(p.budget for p in problems)
    distribution = ProblemDistribution(problems, (lowest, (1 + lowest) / 2))
    native = CompressionVectorEnv(distribution, 7, autoreset_mode=mode)
    assert_equal(native, looped(distribution, 7, mode), seed=seed, steps=20)


def test_drawn_problems_and_budgets_cover_their_range():
    problems = tuple(random_problem(n, budget_slack=0.05) for n in range(3))
    lowest = max(p.budget for p in problems)
    envs = CompressionVectorEnv(ProblemDistribution(problems, (lowest, 1.0)), 3000)
    _, infos = envs.reset(seed=0)
    shares = np.bincount(envs._episodes.states[:, 0]) / 3000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)
    places = (infos["budget"] - lowest) / (1 - lowest)
    assert np.quantile(places, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.03)
    again = CompressionVectorEnv(ProblemDistribution(problems, (lowest, 1.0)), 3000).reset(seed=1)[1]["budget"]
    assert np.array_equal(again[:-1], infos["budget"][1:])  # environment i is seeded seed + i
    assert not np.array_equal(envs.reset()[1]["budget"], infos["budget"])


def test_episodes_on_several_devices():
    devices = ["xeon-ort-fp32", "bitfusion"]
    env = gym.make("compress_gym/ChannelPrune-v0", task=["digits-cnn"], device=devices, budget=(0.6, 0.9))
    assert {env.reset()[1]["device"] for _ in range(40)} == set(devices)
    _, info = env.reset(options={"device": "bitfusion"})
    assert info["device"] == "bitfusion" and env.unwrapped.problem.budget == info["budget"]


def test_options_may_fix_one_thing_and_leave_another_to_be_drawn():
    problems = [random_problem(n, origin={"task": f"t{n // 2}", "device": f"d{n % 2}"}) for n in range(6)]
    envs = CompressionVectorEnv(problems, 400)
    infos = envs.reset(seed=0, options={"task": "t1"})[1]
    assert set(infos["task"]) == {"t1"}
    assert 150 < np.count_nonzero(infos["device"] == "d0") < 250
    infos = envs.reset(seed=5, options={"device": "d0"})[1]
    assert set(infos["device"]) == {"d0"} and set(infos["task"]) == {"t0", "t1", "t2"}
    env = CompressionEnv(problems)
    for n in range(20):  # as a scalar environment of its seed does
        assert env.reset(seed=5 + n, options={"device": "d0"})[1]["task"] == infos["task"][n]
    assert len({env.reset(options={"device": "d0"})[1]["task"] for _ in range(40)}) == 3


def test_options_choose_problem_and_budget():
    problems = [random_problem(n, origin={"task": f"t{n}"}) for n in range(3)]
    env = CompressionEnv(problems)
    for number, budget in ((2, 0.9), (0, 0.95)):
        _, info = env.reset(options={"task": f"t{number}", "budget": budget})
        assert (info["task"], info["budget"], env.problem.budget) == (f"t{number}", budget, budget)
    envs = CompressionVectorEnv(problems, 4)
    assert envs.reset(options={"task": "t1"})[1]["task"].tolist() == ["t1"] * 4
    with pytest.raises(ValueError, match="fit none of the problems.*Did you mean 't1'"):
        env.reset(options={"task": "t11"})
    with pytest.raises(ValueError, match="below the cheapest strategy"):
        env.reset(options={"budget": 1e-6})
    for refusing in (env, envs):
        with pytest.raises(KeyError, match="options='budgets' is not known.*Did you mean 'budget'"):
            refusing.reset(options={"budgets": 0.9})
    with pytest.raises(ValueError, match="must be a dictionary"):
        envs.reset(options=["t1"])


def test_without_a_rule_any_fraction_is_a_budget():
    problem = random_problem(0, budget_rule="none", reward="mnasnet")
    env = CompressionEnv(ProblemDistribution((problem,), (0.01, 0.02)))
    assert 0.01 <= env.reset(seed=0)[1]["budget"] <= 0.02
    assert env.reset(options={"budget": 0.001})[1]["budget"] == 0.001


def test_origins_of_any_kind():
    """Infos of one's own, of another type in each problem: told as Gymnasium's loop would tell them."""
    origins = ({"task": "a", "tags": ("x", "y"), "n": np.float64(1.5)}, {"task": "b", "tags": None, "n": np.float64(2)})
    problems = [random_problem(n, origin=origin) for n, origin in enumerate(origins)]
    assert_equal(CompressionVectorEnv(problems, 6), looped(problems, 6), seed=0, steps=10)
    mixed = [random_problem(n, origin={"n": value}) for n, value in enumerate((1, "one"))]
    _, infos = CompressionVectorEnv(mixed, 6).reset(seed=0)
    assert set(infos["n"].tolist()) == {1, "one"}


def test_what_is_no_problem_is_refused():
    for source in ([], [1]):
        with pytest.raises(ValueError, match="must hold at least one Problem"):
            CompressionEnv(source)


def test_a_budget_of_ones_own_does_not_compute_everything_anew():
    problem = random_problem(0)
    other = problem.replace(budget=1.0)
    assert other.cheapest is problem.cheapest and other.cost_limit > problem.cost_limit
    assert other.budget == 1.0 and problem.budget != 1.0
    with pytest.raises(ValueError, match="budget=2"):
        problem.replace(budget=2)


def test_seeds_may_be_an_array_where_problems_are_drawn():
    envs, same = (CompressionVectorEnv([random_problem(0), random_problem(1)], num_envs=4) for _ in range(2))
    assert np.array_equal(envs.reset(seed=np.arange(4))[0], same.reset(seed=[0, 1, 2, 3])[0])


def test_the_last_info_names_the_problem_that_was_drawn():
    settings = {"task": "digits-cnn", "device": ["bitfusion", "bismo-edge"], "budget": (0.75, 0.9)}
    env = gym.make("compress_gym/ChannelPrune-v0", **settings)
    for seed in range(4):
        _, begun = env.reset(seed=seed)
        ended = False
        while not ended:
            *_, ended, _, info = env.step(env.action_space.sample())
        assert all(info[key] == begun[key] for key in ("task", "device", "device_hash", "budget"))


def test_problems_that_cannot_share_spaces_are_named():
    table = Problem.from_table({"a": (1, 2)}, [[0], [1]], [0.5, 0.6], {"latency_ms": [1.0, 2.0]})
    with pytest.raises(ValueError, match="problem 1 .* cannot share spaces with problem 0"):
        CompressionEnv([table, gym.make("compress_gym/ChannelPrune-v0").unwrapped.problem])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": (0.5,)}, "must be one fraction, or a pair"),
        ({"budget": (0.5, 0.6, 0.7)}, "must be one fraction, or a pair"),
        ({"budget": (None, 0.5)}, "must be one fraction, or a pair"),
        ({"budget": ("0.4", "0.5")}, "must be one fraction, or a pair"),
        ({"budget": (0.8, 0.5)}, "must be a range"),
        (
            {"budget": (0.05, 0.5), "task": "digits-cnn"},
            r"budget=\(0.05, 0.5\) for task='digits-cnn', device='epyc-milan-ort-fp32': .* below the cheapest strategy",
        ),
        ({"task": []}, r"task=\[\] must name at least one"),
    ],
)
def test_bad_distributions(settings, words):
    with pytest.raises(ValueError, match=words):
        gym.make("compress_gym/ChannelPrune-v0", **settings)
