"""Every registered environment, as Gymnasium tests its own."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import warnings

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import compress_gym

UNITS = {"macs", "params", "size_bytes", "bops", "latency_ms", "latency_30_ms", "energy_mj"}

IDS = sorted(name for name in gym.registry if name.startswith("compress_gym/"))
ACTION_TYPES = ["continuous", "discrete"]
every_env = pytest.mark.parametrize("env_id", IDS)
every_action_type = pytest.mark.parametrize("action_type", ACTION_TYPES)


def roll_out(env, seed, episodes=3):
    env.action_space.seed(seed)
    rows = []
    for episode in range(episodes):
        rows.append(env.reset(seed=seed + episode))
        terminated = False
        while not terminated:
            rows.append(env.step(env.action_space.sample()))
            terminated = rows[-1][2]
    return rows


def test_something_is_registered():
    assert "compress_gym/ChannelPrune-v0" in IDS


@every_env
@every_action_type
def test_gymnasiums_checker_has_nothing_to_say(env_id, action_type):
    env = gym.make(env_id, action_type=action_type, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


@every_env
@every_action_type
def test_sb3s_checker_has_nothing_to_say(env_id, action_type):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(gym.make(env_id, action_type=action_type).unwrapped)


@every_env
@every_action_type
def test_same_seed_same_episodes(env_id, action_type):
    first, second = (roll_out(gym.make(env_id, action_type=action_type), seed=3) for _ in range(2))
    assert data_equivalence(first, second, exact=True)


@every_env
@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_a_pickled_copy_goes_on_the_same(env_id, pickler):
    env = gym.make(env_id)
    env.reset(seed=0)
    env.step(np.float32([0.2] * env.action_space.shape[0]))
    copy = pickler.loads(pickler.dumps(env))
    action = np.float32([-0.3] * env.action_space.shape[0])
    assert data_equivalence(env.step(action), copy.step(action), exact=True)


@every_env
def test_spec_survives_json(env_id):
    env = gym.make(env_id, budget=0.4, reward="accuracy")
    copy = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert copy.unwrapped.problem.budget == 0.4
    assert data_equivalence(roll_out(env, 1), roll_out(copy, 1), exact=True)


@every_env
def test_subprocesses_spawned_by_sb3(env_id):
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    # the prefix makes the new process import the package, which registers the id
    envs = make_vec_env(
        f"compress_gym:{env_id}", 2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "spawn"}
    )
    try:
        observations = envs.reset()
        assert observations.shape == (2, *envs.observation_space.shape)
        envs.step(np.zeros((2, *envs.action_space.shape), dtype=np.float32))
    finally:
        envs.close()


@every_env
def test_gymnasiums_vector_environment(env_id):
    envs = gym.make_vec(env_id, num_envs=3, vectorization_mode="sync")
    envs.reset(seed=0)
    for _ in range(20):
        *_, infos = envs.step(envs.action_space.sample())
    assert len(infos["executed_action"]) == 3


@every_env
@every_action_type
@pytest.mark.parametrize("rule", ["clip", "repair", "none"])
def test_the_info_of_every_step(env_id, action_type, rule):
    env = gym.make(env_id, action_type=action_type, budget_rule=rule)
    _, info = env.reset(seed=0)
    assert {"baseline", "task", "task_version", "asset_hash", "device"} <= set(info)
    assert set(info["baseline"]) <= UNITS
    problem = env.unwrapped.problem
    terminated, strategy = False, []
    while not terminated:
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        strategy += [c for c in info["choice"].tolist() if c >= 0]
        assert not truncated and (terminated or reward == 0.0)
        assert env.action_space.contains(info["executed_action"])
    made = problem.decisions.encode(info["strategy"])
    if rule == "repair":  # the last info says what became of earlier steps
        assert problem.decisions.conditional or made[-1] == strategy[-1]
    else:  # inactive decisions are not made
        assert made[problem.decisions.active(made).ravel()].tolist() == strategy
    expected = problem.evaluate([made])
    assert info["strategy"] == problem.describe(made)
    assert info["accuracy"] == expected.accuracy[0] and reward == expected.reward[0]
    assert info["feasible"] == (info["cost_ratio"] <= problem.budget * (1 + 1e-6))
    assert info["feasible"] or rule == "none"
    assert all(info[name] == values[0] for name, values in expected.costs.items())
    assert info["accuracy_source"] in ("measured", "surrogate") and 0 < info["baseline_accuracy"] <= 1
    json.dumps(info["strategy"])


@every_env
@pytest.mark.parametrize("rule", ["clip", "none"])
def test_executed_actions_repeat_the_episode(env_id, rule):
    env = gym.make(env_id, budget_rule=rule)
    env.reset(seed=0)
    executed, infos = [], []
    for repeat in range(2):
        env.reset()
        terminated, t = False, 0
        while not terminated:
            action = executed[t] if repeat else env.action_space.sample()
            *_, terminated, _, info = env.step(action)
            executed.append(info["executed_action"])
            t += 1
        infos.append(info)
    assert infos[0]["strategy"] == infos[1]["strategy"]


@every_env
def test_masks_are_what_is_executed(env_id):
    env = gym.make(env_id, action_type="discrete", budget=0.4)
    rng, illegal = np.random.default_rng(0), 0
    for _ in range(20):
        env.reset(seed=0)
        terminated = False
        while not terminated:
            mask = env.unwrapped.action_masks()
            assert mask.any()
            action = int(rng.choice(env.action_space.n))
            *_, terminated, _, info = env.step(action)
            assert mask[info["choice"][0]]
            assert (info["choice"][0] == action) == mask[action]
            illegal += not mask[action]
        assert not env.unwrapped.action_masks().any()
    assert illegal > 10


@every_env
def test_continuous_has_no_masks(env_id):
    with pytest.raises(ValueError, match="needs action_type='discrete'"):
        gym.make(env_id).unwrapped.action_masks()


@every_env
def test_the_docstring_lists_the_observation(env_id):
    env = gym.make(env_id)
    doc = type(env.unwrapped).__doc__
    rows = re.findall(r"^ *\| (\d+) +\| (\w+) ", doc, flags=re.M)
    assert tuple(name for _, name in rows) == env.unwrapped.observation_names
    assert [int(number) for number, _ in rows] == list(range(env.observation_space.shape[0]))
    for heading in (
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
        "Arguments",
        "Version History",
    ):
        assert f"## {heading}" in doc


@pytest.mark.parametrize(
    "module",
    ["compress_gym", "compress_gym.envs.compression"]
    + sorted({gym.spec(name).entry_point.split(":")[0] for name in IDS}),
)
def test_doctests(module):
    import doctest

    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


@every_env
def test_rendering(env_id):
    text_env = gym.make(env_id, render_mode="ansi")
    text_env.reset(seed=0)
    before = text_env.render()
    text_env.step(text_env.action_space.sample())
    assert before != text_env.render() and "latency_ms" in before
    roll_out(text_env, 0, episodes=1)
    assert "uncompressed" in text_env.render()
    image_env = gym.make(env_id, render_mode="rgb_array")
    image_env.reset(seed=0)
    first = image_env.render()
    roll_out(image_env, 0, episodes=1)
    last = image_env.render()
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape == last.shape and (first != last).any()


@every_env
def test_rendering_before_reset_is_refused(env_id):
    with pytest.raises(gym.error.ResetNeeded):
        gym.make(env_id, render_mode="ansi").unwrapped.render()


@every_env
def test_observations_stay_within_bounds_and_follow_the_episode(env_id):
    env = gym.make(env_id, budget=0.4)
    names = list(env.unwrapped.observation_names)
    for step, row in enumerate(roll_out(env, 5)):
        observation = row[0]
        assert env.observation_space.contains(observation), step
        assert observation[names.index("budget")] == np.float32(0.4)
        assert observation[names.index("least_total")] <= 0.4 + 1e-6
        assert observation[names.index("spent")] <= observation[names.index("least_total")] + 1e-6
    assert observation[names.index("position")] == 1.0


@every_env
@pytest.mark.parametrize("bad", [np.nan, 1.1, -1.00001, None, "0.5", 1j, "one too many", "no list"])
def test_bad_actions_are_refused(env_id, bad):
    env = gym.make(env_id, disable_env_checker=True).unwrapped
    env.reset()
    count = env.action_space.shape[0]
    whole = {"one too many": [0.0] * (count + 1), "no list": 0.5}
    action = whole[bad] if isinstance(bad, str) and bad in whole else [*[0.0] * (count - 1), bad]
    with pytest.raises(ValueError, match="^action"):
        env.step(action)
    env.step(env.action_space.sample())  # and the episode goes on


@every_env
def test_an_action_within_the_tolerance_is_accepted(env_id):
    env = gym.make(env_id, disable_env_checker=True).unwrapped
    env.reset()
    env.step(np.full(env.action_space.shape, 1 + 5e-7))


@every_env
@pytest.mark.parametrize(
    "action", [-1, 99, 0.5, "one", np.float32([-3]), np.float32([0.7]), np.float32([np.nan]), np.array([-1]), [1]]
)
def test_bad_discrete_actions_are_refused(env_id, action):
    env = gym.make(env_id, action_type="discrete", disable_env_checker=True).unwrapped
    env.reset()
    with pytest.raises(ValueError, match="action="):
        env.step(action)


@every_env
@every_action_type
def test_stepping_out_of_turn_is_refused(env_id, action_type):
    env = gym.make(env_id, action_type=action_type, disable_env_checker=True).unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="has not begun"):
        env.step(env.action_space.sample())
    roll_out(env, 0, episodes=1)
    with pytest.raises(gym.error.ResetNeeded, match="is over"):
        env.step(env.action_space.sample())


@every_env
@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("task", "misspelt", "Did you mean"),
        ("device", "misspelt", "Did you mean"),
        ("device", "nowhere/mine.csv", "device='nowhere/mine.csv' is not known"),
        ("cost", "latency", "Did you mean 'latency_ms'"),
        ("reward", "mnas", "Did you mean 'mnasnet'"),
        ("accuracy", "lives", "Did you mean 'live'"),
        ("budget_rule", "clips", "Did you mean 'clip'"),
        ("action_type", "discret", "Did you mean 'discrete'"),
    ],
)
def test_unknown_names(env_id, argument, value, words):
    if value == "misspelt":  # the environment's own default, without its last letter
        known = gym.make(env_id).unwrapped.problem.origin[argument]
        value, words = known[:-1], f"{words} '{known}'"
    with pytest.raises(KeyError, match=re.escape(words)):
        gym.make(env_id, **{argument: value})


def test_an_unknown_render_mode_is_refused():
    env = compress_gym.CompressionEnv
    problem = gym.make(IDS[0]).unwrapped.problem
    with pytest.raises(KeyError, match="render_mode='human'"):
        env(problem, render_mode="human")


@every_env
@pytest.mark.parametrize("budget", [0, -0.5, 1.5, float("nan"), 1e-6])
def test_bad_budgets(env_id, budget):
    with pytest.raises(ValueError, match="budget="):
        gym.make(env_id, budget=budget)


@every_env
@pytest.mark.parametrize("reward", ["accuracy", "haq"])
def test_a_reward_without_cost_needs_a_budget_rule(env_id, reward):
    with pytest.raises(ValueError, match="ignores cost"):
        gym.make(env_id, reward=reward, budget_rule="none")


def test_closest_ids_are_suggested():
    with pytest.raises(gym.error.UnregisteredEnv, match="Did you mean: `ChannelPrune`"):
        gym.make("compress_gym/ChannelPrun-v0")
