"""The native vector environment against Gymnasium's loop over scalar ones, bit for bit; and its conventions."""

from __future__ import annotations

import os
import pickle
import re
import signal
import tracemalloc

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, NormalizeReward, RecordEpisodeStatistics
from hypothesis import given
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys

from compress_gym import CompressionVectorEnv, Problem, ProblemDistribution
from compress_gym.envs import kernels
from compress_gym.kinds import scored_tasks
from tests.envs.parity import assert_equal, looped, plain
from tests.helpers import random_problem, random_terms, seeds

IDS = sorted(name for name in gym.registry if name.startswith("compress_gym/"))
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
every_env = pytest.mark.parametrize("env_id", IDS)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
@pytest.mark.parametrize("action_type", ["continuous", "discrete"])
@pytest.mark.parametrize("rule", ["clip", "repair"])
@pytest.mark.parametrize(("env_id", "task"), [(env_id, task) for env_id in IDS for task in scored_tasks(env_id)])
def test_every_task_equals_its_scalar_environment(env_id, mode, action_type, rule, task):
    settings = {"task": task, "action_type": action_type, "budget_rule": rule, "budget": 0.6}
    # Fewer than are predicted at once, and more.
    for count, seed in ((5, 3), (20, 4)):
        compare_task(env_id, mode, count, seed, settings)


def compare_task(env_id, mode, count, seed, settings):
    native = gym.make_vec(env_id, num_envs=count, autoreset_mode=mode.value, **settings)
    scalar = SyncVectorEnv(
        [lambda: gym.make(env_id, disable_env_checker=True, **settings)] * count, autoreset_mode=mode
    )
    assert type(native) is CompressionVectorEnv
    assert native.metadata["autoreset_mode"] is mode
    assert native.single_observation_space == scalar.single_observation_space
    assert native.action_space == scalar.action_space
    assert_equal(native, scalar, seed=seed, steps=4 * (native._episodes.program.steps + 1))


@every_mode
def test_hundreds_of_environments_equal_their_scalar_ones(mode):
    """More rows than a block of the kernel; episodes of different length, one of a surrogate, one of a table."""
    tasks = ["cifar10-resnet20", "digits-cnn"]
    one = gym.make("compress_gym/ChannelPrune-v0", task=tasks, device="bitfusion", budget=(0.7, 0.9))
    problems = ProblemDistribution(tuple(one.unwrapped._episodes.distribution.problems), (0.7, 0.9))
    native = CompressionVectorEnv(problems, 600, autoreset_mode=mode, num_threads=2)
    assert_equal(native, looped(problems, 600, mode), seed=8, steps=15)


@given(seed=seeds, count=st.integers(1, 6), rule=st.sampled_from(["clip", "repair", "none"]), labels=st.booleans())
def test_random_problems_equal_their_scalar_environment(seed, count, rule, labels):
    problem = random_problem(seed, labels=labels, budget_rule=rule, reward="mnasnet")
    assert_equal(CompressionVectorEnv(problem, count), looped(problem, count), seed=seed, steps=15)


@given(seed=seeds, count=st.integers(1, 6), rule=st.sampled_from(["clip", "repair", "none"]), labels=st.booleans())
def test_environments_that_skip_equal_their_scalar_ones(seed, count, rule, labels):
    problem, _ = random_terms(seed, conditional=True, labels=labels, budget_rule=rule, reward="mnasnet")
    assert_equal(CompressionVectorEnv(problem, count), looped(problem, count), seed=seed, steps=15)


@every_mode
def test_threads_change_nothing(mode, monkeypatch):
    """Every row is stepped once, by several threads, of several problems; a bad action anywhere changes nothing."""
    problems = tuple(random_problem(n, budget_slack=0.2, reward="mnasnet") for n in range(3))
    distribution = ProblemDistribution(problems, (max(p.budget for p in problems), 1.0))
    threaded = CompressionVectorEnv(distribution, 33, autoreset_mode=mode, num_threads=3)
    shares, step_rows = [], kernels.step_rows

    def counted(*arguments):
        shares.append(len(arguments[3]))
        return step_rows(*arguments)

    with monkeypatch.context() as context:
        context.setattr(kernels, "step_rows", counted)
        assert_equal(threaded, CompressionVectorEnv(distribution, 33, autoreset_mode=mode), seed=0, steps=20)
    assert shares.count(11) == 3 * 20 and shares.count(33) == 20 + 2  # both are reset by it, too
    threaded.reset(seed=1)
    before = threaded._episodes.states.copy()
    bad = np.zeros((33, 1))
    bad[30] = np.nan
    with pytest.raises(ValueError, match=re.escape("actions[30]")):
        threaded.step(bad)
    assert np.array_equal(threaded._episodes.states, before)


def test_labels_are_objects_and_none_where_no_episode_has_ended():
    rows, costs = list(np.ndindex(3, 2)), {"macs": np.arange(6) + 1}
    short, long = (
        Problem.from_table({"a": values, "b": (1, 2)}, rows, np.full(6, 0.5), costs)
        for values in (("dense", "2:4", "block"), (4, 8, 16))
    )
    envs = CompressionVectorEnv(short.replace(steps=((0, 1),)), 3)
    envs.reset(seed=0)
    *_, infos = envs.step(np.float32([[1, -1], [0, 0], [-1, 1]]))
    assert infos["strategy"]["a"].dtype == object and infos["strategy"]["b"].dtype == np.int64
    assert infos["strategy"]["a"].tolist() == [short.decisions.decisions[0].values[n] for n in infos["choice"][:, 0]]
    # Of two problems, one ends; and labels beside numbers.
    mixed = CompressionVectorEnv([short, long], 6)
    mixed.reset(seed=0)
    for _ in range(2):
        *_, infos = mixed.step(np.full((6, 1), -1.0, dtype=np.float32))
    assert set(infos["strategy"]["a"].tolist()) == {"dense", 4}
    masked = CompressionVectorEnv([short, short.replace(steps=((0,), (1,)))], 3)
    masked.reset(seed=0)
    masked.step(np.full((3, 1), -1.0, dtype=np.float32))
    masked.reset(options={"reset_mask": np.array([True, False, False])})
    *_, infos = masked.step(np.full((3, 1), -1.0, dtype=np.float32))
    assert infos["strategy"]["a"].tolist() == [None, "dense", "dense"]


def test_accuracies_and_rewards_of_ones_own():
    class Halves:
        source, baseline = "own", 0.9

        def __call__(self, strategies):
            return 0.5 / (1 + strategies.sum(1))

    problem = random_problem(4, reward=lambda o: o.accuracy - o.cost_ratio).replace(accuracy_model=Halves())
    assert_equal(CompressionVectorEnv(problem, 4), looped(problem, 4), seed=0, steps=15)


@every_mode
def test_what_ended_in_an_error_is_not_taken_for_scored(mode):
    class Broken:
        source, baseline = "own", 0.9

        def __call__(self, strategies):
            raise OSError("the network's file is gone")

    envs = CompressionVectorEnv(random_problem(4).replace(accuracy_model=Broken()), 3, autoreset_mode=mode)
    envs.reset(seed=0)
    with pytest.raises(OSError, match="is gone"):
        for _ in range(20):
            envs.step(envs.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded, match="an error ended them"):
        envs.step(envs.action_space.sample())
    envs.reset(seed=0)


@every_env
def test_determinism_across_the_number_of_environments(env_id):
    few, many = (gym.make_vec(env_id, num_envs=n, budget=(0.5, 0.9)) for n in (3, 50))
    assert np.array_equal(few.reset(seed=9)[0], many.reset(seed=9)[0][:3])
    for _ in range(20):
        actions = many.action_space.sample()
        first, second = few.step(actions[:3]), many.step(actions)
        for ours, theirs in zip(first[:4], second[:4], strict=True):
            assert np.array_equal(ours, theirs[:3])
        if "accuracy" in first[4]:
            assert np.array_equal(first[4]["accuracy"], second[4]["accuracy"][:3])


@every_env
@every_mode
def test_a_pickled_copy_goes_on_the_same(env_id, mode):
    envs = gym.make_vec(env_id, num_envs=4, autoreset_mode=mode.value, num_threads=2)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    copy = pickle.loads(pickle.dumps(envs))
    for _ in range(8):
        actions = envs.action_space.sample()
        assert data_equivalence(plain(envs.step(actions)), plain(copy.step(actions)), exact=True)


@every_env
def test_episode_statistics(env_id):
    wrapped, plain = (gym.make_vec(env_id, num_envs=4, reward="accuracy") for _ in range(2))
    wrapped = RecordEpisodeStatistics(wrapped)
    wrapped.reset(seed=0)
    plain.reset(seed=0)
    lengths, ended = np.zeros(4, dtype=int), np.zeros(4, dtype=bool)
    for _ in range(30):
        actions = plain.action_space.sample()
        lengths = np.where(ended, 0, lengths + 1)  # an environment that has ended starts anew instead of stepping
        _, rewards, ended, _, infos = plain.step(actions)
        *_, wrapped_ended, _, wrapped_infos = wrapped.step(actions)
        assert np.array_equal(ended, wrapped_ended)
        if ended.any():
            assert wrapped_infos["episode"]["r"].tolist() == pytest.approx(rewards.tolist())
            assert np.array_equal(wrapped_infos["episode"]["l"][ended], lengths[ended])
            assert np.array_equal(infos["accuracy"], wrapped_infos["accuracy"])


@every_env
@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward])
def test_normalisers_see_what_they_see_of_scalar_environments(env_id, wrapper):
    native = wrapper(gym.make_vec(env_id, num_envs=4))
    scalar = wrapper(SyncVectorEnv([lambda: gym.make(env_id)] * 4))
    assert np.array_equal(native.reset(seed=0)[0], scalar.reset(seed=0)[0])
    for _ in range(15):
        actions = native.action_space.sample()
        (observations, rewards, *_), (others, other_rewards, *_) = native.step(actions), scalar.step(actions)
        assert np.array_equal(observations, others) and np.array_equal(rewards, other_rewards)


@every_env
def test_views_and_copies(env_id):
    for copy in (True, False):
        envs = gym.make_vec(env_id, num_envs=3, copy=copy)
        before, _ = envs.reset(seed=0)
        kept = before.copy()
        envs.step(envs.action_space.sample())
        assert np.array_equal(before, kept) == copy
        assert before.flags.c_contiguous == copy


@every_env
def test_a_mask_resets_some(env_id):
    envs = gym.make_vec(env_id, num_envs=4)
    with pytest.raises(ValueError, match="all of them the first time"):
        envs.reset(options={"reset_mask": np.array([True, False, True, False])})
    envs.reset(seed=0)
    before, *_ = envs.step(envs.action_space.sample())
    after, infos = envs.reset(options={"reset_mask": np.array([True, False, True, False])})
    assert (after[:, 0] == 0).tolist() == [True, False, True, False] == infos["_task"].tolist()
    assert np.array_equal(after[1], before[1])
    for bad in (np.array([True]), np.zeros(4, dtype=bool), [True] * 4):
        with pytest.raises(ValueError, match="reset_mask"):
            envs.reset(options={"reset_mask": bad})


@every_env
def test_masks_equal_those_of_scalar_environments(env_id):
    envs = gym.make_vec(env_id, num_envs=6, action_type="discrete", budget=0.4)
    scalar = [gym.make(env_id, action_type="discrete", budget=0.4).unwrapped for _ in range(6)]
    envs.reset(seed=0)
    for env in scalar:
        env.reset()
    over = np.zeros(6, dtype=bool)
    for _ in range(2 * len(envs.problems[0].decisions)):
        assert np.array_equal(envs.action_masks(), np.stack([env.action_masks() for env in scalar]))
        assert np.array_equal(envs.action_masks().any(axis=1), ~over)
        actions = envs.action_space.sample()
        envs.step(actions)
        for n, env in enumerate(scalar):
            if over[n]:
                env.reset()
            over[n] = not over[n] and env.step(actions[n])[2]
    with pytest.raises(ValueError, match="needs action_type='discrete'"):
        gym.make_vec(env_id, num_envs=2).action_masks()


@every_env
def test_rendering(env_id):
    envs = gym.make_vec(env_id, num_envs=2, render_mode="ansi")
    with pytest.raises(gym.error.ResetNeeded):
        envs.render()
    envs.reset(seed=0)
    for _ in envs.problems[0].steps:
        envs.step(envs.action_space.sample())
    assert all("uncompressed" in frame for frame in envs.render())
    images = gym.make_vec(env_id, num_envs=2, render_mode="rgb_array")
    images.reset(seed=0)
    assert [frame.ndim for frame in images.render()] == [3, 3]


@every_env
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a[:2], "actions have shape (2, {slots}); expected (4, {slots})"),
        (lambda a: a[:, 0], "actions have shape (4,)"),
        (lambda a: np.where(np.arange(4)[:, None] == 2, np.nan, a), "actions[2]=array([nan"),
        (lambda a: np.where(np.arange(4)[:, None] == 1, 1.5, a), "actions[1]=array([1.5"),
        (lambda a: np.where(np.arange(4)[:, None] == 3, 1e300, a), "actions[3]=array([1.e+300"),
        (lambda a: "left", "actions have shape ()"),
        (lambda a: a.astype(str), "actions of dtype <U"),
        (lambda a: a.astype(complex), "actions of dtype complex128"),
    ],
)
def test_bad_actions_are_named(env_id, spoil, words):
    slots = gym.make(env_id).action_space.shape[0]
    envs = gym.make_vec(env_id, num_envs=4)
    envs.reset(seed=0)
    good = envs.action_space.sample()
    with pytest.raises(ValueError, match=re.escape(words.format(slots=slots))):
        envs.step(spoil(good.astype(np.float64)))
    before = envs.step(good)[0]
    envs.reset(seed=0)
    assert np.array_equal(envs.step(good)[0], before)  # the bad action had changed nothing


@every_env
@pytest.mark.parametrize("bad", [-1, 99])
def test_bad_discrete_actions_are_named(env_id, bad):
    envs = gym.make_vec(env_id, num_envs=3, action_type="discrete")
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=rf"actions\[1\]=np.int64\({bad}\) is not in Discrete"):
        envs.step(np.array([0, bad, 0]))
    with pytest.raises(ValueError, match="are not in MultiDiscrete"):
        envs.step(np.array([0.0, 0.5, 0.0]))


@every_env
def test_an_ended_environment_ignores_its_action(env_id):
    envs = gym.make_vec(env_id, num_envs=2)
    envs.reset(seed=0)
    ended = np.zeros(2, dtype=bool)
    while not ended.any():
        *_, ended, _, _ = envs.step(envs.action_space.sample())
    actions = envs.action_space.sample()
    actions[ended] = np.nan
    observations, rewards, again, _, infos = envs.step(actions)
    assert (observations[ended, 0] == 0).all() and not rewards[ended].any() and not again[ended].any()
    assert not infos.get("_choice", np.zeros(2, dtype=bool))[ended].any()
    discrete = gym.make_vec(env_id, num_envs=2, action_type="discrete")
    discrete.reset(seed=0)
    ended = np.zeros(2, dtype=bool)
    while not ended.any():
        *_, ended, _, _ = discrete.step(discrete.action_space.sample())
    observations = discrete.step(np.where(ended, (-1, 99), 0))[0]
    assert (observations[ended, 0] == 0).all()


@every_env
def test_stepping_before_reset_is_refused(env_id):
    with pytest.raises(gym.error.ResetNeeded, match="have not begun"):
        gym.make_vec(env_id, num_envs=2).step(np.zeros((2, 1), dtype=np.float32))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_envs": 0}, "num_envs=0 must be"),
        ({"num_threads": 0}, "num_threads=0 must be"),
        ({"seed": [1, 2]}, "seed has 2 entries; expected one for each of 4"),
        ({"seed": "abcd"}, r"seed\[0\]='a' must be None or a whole number"),
        ({"seed": [1, 2, -1, 3]}, r"seed\[2\]=-1 must be None or a whole number"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number, or a list"),
        ({"seed": {1, 2, 3, 4}}, "must be a whole number, or a list"),
        ({"num_envs": True}, "num_envs=True must be"),
        ({"seed": -1}, r"seed\[0\]=-1 must be None or a whole number"),
    ],
)
def test_bad_numbers(settings, words):
    seed = settings.pop("seed", None)
    with pytest.raises(ValueError, match=words):
        CompressionVectorEnv(random_problem(0), **{"num_envs": 4, **settings}).reset(seed=seed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_environment_steps_with_threads_of_its_own():
    envs = CompressionVectorEnv(random_problem(0), num_envs=8, num_threads=2)
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    envs.step(actions)
    child = os.fork()
    if not child:
        signal.alarm(30)  # a step that waits for the parent's threads would wait for ever
        envs.step(actions)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_unknown_modes():
    with pytest.raises(KeyError, match="autoreset_mode='Disabled' is not known.*'NextStep', 'SameStep'"):
        CompressionVectorEnv(random_problem(0), autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(KeyError, match="render_mode='human'"):
        CompressionVectorEnv(random_problem(0), render_mode="human")


def test_many_live_environments_are_refused():
    class Live:
        source, baseline = "live", 0.9

    problem = random_problem(0).replace(accuracy_model=Live())
    CompressionVectorEnv(problem, 16)
    with pytest.raises(ValueError, match="num_envs=17 with accuracy='live'.*use at most 16"):
        CompressionVectorEnv(problem, 17)


@every_env
def test_memory_does_not_grow(env_id):
    envs = gym.make_vec(env_id, num_envs=1000)
    envs.reset(seed=0)
    actions = envs.action_space.sample()

    def walk(steps):
        for _ in range(steps):
            envs.step(actions)

    walk(100)
    _nrt_python.memsys_enable_stats()  # what kernels allocate is not seen by tracemalloc
    tracemalloc.start()
    walk(50)
    before, arrays = tracemalloc.get_traced_memory()[0], rtsys.get_allocation_stats()
    walk(1000)  # a million steps
    grown, later = tracemalloc.get_traced_memory()[0] - before, rtsys.get_allocation_stats()
    tracemalloc.stop()
    _nrt_python.memsys_disable_stats()
    assert later.alloc > arrays.alloc  # something was counted
    assert grown < 100_000 and later.alloc - later.free <= arrays.alloc - arrays.free


def test_refused_arguments_leave_nothing_to_close():
    """Older releases of Gymnasium close an environment when it is deleted, built or not."""
    CompressionVectorEnv.__new__(CompressionVectorEnv).close()
