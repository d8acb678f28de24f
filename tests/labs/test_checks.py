"""Checks find the mistakes that students make, and say which."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym import Problem
from labs.notebooks import all_labs

CHECKS = {name: check for lab in all_labs().values() for name, check in lab.checks.items()}


def told(name: str, **variables) -> str | None:
    """Returns what a check says of a student's variables."""
    found = []
    exec(CHECKS[name].source, {"run_check": found.append})
    (check,) = found
    assert set(inspect.signature(check).parameters) == set(variables), name
    return check(**variables)


def at_random(observation):
    return [np.random.default_rng().uniform(-1, 1)]


def play_two_episodes(env, policy):
    for _ in range(2):
        observation, info = env.reset()
        terminated = False
        while not terminated:
            observation, _, terminated, _, info = env.step(policy(observation))
    return info


def play_blindly(env, policy):
    first, info = env.reset()
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(policy(first))
    return info


def front_with_doubles(cost, accuracy):
    return [i for i in np.argsort(cost) if not ((cost < cost[i]) & (accuracy >= accuracy[i])).any()]


@pytest.mark.parametrize(
    "name, variables, words",
    [
        ("1.1", {"room": lambda o: None}, "returns nothing"),
        ("1.1", {"room": lambda o: o[25] - o[22]}, "Which two numbers"),
        ("1.2", {"play": lambda env, policy: env.reset()[1]}, "without an accuracy"),
        ("1.2", {"play": lambda env, policy: policy(env.reset()[0])}, "must return the info"),
        ("1.2", {"play": play_two_episodes}, "was asked 10 times"),
        ("1.2", {"play": play_blindly}, "must see the newest observation"),
        ("1.3", {"action_of": lambda choice, count: -1 + 2 * choice / count}, "its centre is -0.500"),
        ("1.3", {"action_of": lambda choice, count: -1 + 2 * choice / (count - 1)}, "its centre"),
        ("1.4", {"policy": lambda o: [1.0]}, "on average; reach 0.80"),
        ("1.4", {"policy": at_random}, "two different episodes"),
        ("1.5", {"front": lambda cost, accuracy: np.argsort(cost)}, "the front is"),
        ("1.5", {"front": lambda cost, accuracy: cost}, "must return indices"),
        ("1.5", {"front": front_with_doubles}, "the front is"),
        ("1.6", {"regret": lambda budget: 0.0, "policy": lambda o: [0.0]}, "points; `regret` returns 0.0"),
    ],
)
def test_lab_1(name, variables, words):
    assert words in told(name, **variables)


def actor_of(*last, start=0.003):
    def make(inputs, outputs):
        linear = nn.Linear(8, outputs)
        nn.init.uniform_(linear.weight, -start, start)
        nn.init.uniform_(linear.bias, -start, start)
        return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), linear, *last)

    return make


def critic_of(*last):
    return lambda inputs, outputs: nn.Sequential(
        nn.Linear(inputs + outputs, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1), *last
    )


def targets_without_end(rewards, following, ended, returns, actor, critic):
    return torch.maximum(rewards + critic(torch.cat([following, actor(following)], 1)), returns).detach()


def targets_of_rewards(rewards, following, ended, returns, actor, critic):
    return torch.maximum(rewards, returns)


def targets_of_one_step(rewards, following, ended, returns, actor, critic):
    return (rewards + (1 - ended) * critic(torch.cat([following, actor(following)], 1))).detach()


def swapped(target, online, tau):
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.data.lerp_(fast.data, 1 - tau)


def train_by_playing(env, seed, episodes=200):
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        env.reset()
        while not env.step(rng.uniform(-1, 1, 1).astype(np.float32))[2]:
            pass


@pytest.mark.parametrize(
    "name, variables, words",
    [
        ("2.1", {"make_actor": actor_of()}, "whose last module is `nn.Tanh()`"),
        ("2.1", {"make_actor": actor_of(nn.Tanh(), start=1.0)}, "must start near 0"),
        ("2.1", {"make_actor": actor_of(nn.Tanh(), start=0.0)}, "ignores what it sees"),
        ("2.2", {"make_critic": critic_of(nn.Tanh())}, "value is bounded"),
        ("2.2", {"make_critic": lambda inputs, outputs: nn.Linear(inputs, 1)}, "must read 29 numbers"),
        ("2.3", {"explore": lambda rng, m, s: np.clip(m + s * rng.normal(size=m.shape), -1, 1)}, "clipped?"),
        ("2.3", {"explore": lambda rng, m, s: m + s * rng.normal(size=m.shape)}, "was drawn"),
        ("2.3", {"explore": lambda rng, m, s: rng.uniform(-0.999, 0.999, m.shape)}, "should have mean"),
        ("2.4", {"move_target": swapped}, "exchange tau and 1 - tau"),
        ("2.4", {"move_target": lambda target, online, tau: None}, "has not moved"),
        ("2.5", {"critic_targets": targets_without_end}, "nothing follows"),
        ("2.5", {"critic_targets": targets_of_rewards}, "a step is worth what follows"),
        ("2.5", {"critic_targets": targets_of_one_step}, "must be what it reached"),
        ("2.6", {"train": train_by_playing}, "does not learn"),
        ("2.6", {"train": lambda env, seed: train_by_playing(env, seed, 201)}, "played 201 episodes"),
    ],
)
def test_lab_2(name, variables, words):
    assert words in told(name, **variables)


def wrong_pairs_of_all(macs, latency):
    return (np.sign(macs[:, None] - macs) * np.sign(latency[:, None] - latency) < 0).mean()


def wrong_pairs_with_ties(macs, latency):
    pairs = np.sign(macs[:, None] - macs) * np.sign(latency[:, None] - latency)
    return (pairs[np.triu_indices(len(macs), 1)] < 0).mean()


def uniform_on(problems, budget):
    return {name: problem.uniform(budget) for name, problem in problems.items()}


def transposed(problems, budget):
    strategies = [problem.optimum(budget) for problem in problems.values()]
    return [p.costs(strategies)["latency_ms"] / p.baseline_costs["latency_ms"] for p in problems.values()]


@pytest.mark.parametrize(
    "name, variables, words",
    [
        ("3.1", {"latency_ms": lambda d, ops: d.network_us + sum(map(d.latency_us, ops))}, "not microseconds?"),
        ("3.1", {"latency_ms": lambda d, ops: sum(map(d.latency_us, ops)) / 1000}, "beyond them?"),
        ("3.2", {"misjudged": wrong_pairs_of_all}, "everything is in the wrong order"),
        ("3.2", {"misjudged": wrong_pairs_with_ties}, "do not count"),
        ("3.3", {"fewer_macs": [7] * 5, "faster": [7] * 5, "table": "xeon-ort-fp32"}, "at most 0.80"),
        ("3.3", {"fewer_macs": [0] * 5, "faster": [7] * 5, "table": "xeon-ort-fp32"}, "`faster` takes"),
        ("3.4", {"best_on": uniform_on}, "is possible within"),
        ("3.4", {"best_on": lambda problems, budget: {name: [7] * 5 for name in problems}}, "the budget is 0.5"),
        ("3.5", {"transfer": transposed}, "rows and columns are exchanged"),
        ("3.6", {"robust": lambda problems, budget: problems["bismo-edge"].optimum(budget)}, "more than the budget"),
        ("3.6", {"robust": lambda problems, budget: [0] * 5}, "is possible"),
    ],
)
def test_lab_3(name, variables, words):
    assert words in told(name, **variables)


def bootstrap(draw):
    def interval(scores, statistic, resamples=1000, seed=0):
        rng = np.random.default_rng(seed)
        return tuple(np.quantile([statistic(draw(rng, scores)) for _ in range(resamples)], [0.025, 0.975]))

    return interval


def over_all(rng, scores):
    return rng.choice(scores.ravel(), scores.shape)


def half_of_the_runs(rng, scores):
    return scores[rng.integers(len(scores), size=(3, scores.shape[1])), np.arange(scores.shape[1])]


def wins(first, second):
    return (first[:, None] > second[None]).mean()


def bold_verdict(first, second):
    return "first" if wins(first, second) > 0.5 else "second"


def fair(evaluations=200):
    from compress_gym.kinds import get_case

    case, columns = get_case("ChannelPrune-v0", "digits-cnn"), {"fair_ours": [], "fair_random": []}
    for cost, budget in (("latency_ms", 0.5), ("latency_ms", 0.6), ("latency_ms", 0.7), ("macs", 0.4)):
        problem = case.problem("xeon-ort-fp32", cost=cost, budget=budget, reward="accuracy")
        low, high = problem.accuracy([problem.uniform(), problem.optimum()])
        for name, offset in (("fair_ours", 20_000), ("fair_random", 0)):
            rngs = [np.random.default_rng(offset + seed) for seed in range(20)]
            best = [problem.accuracy(problem.random(rng, evaluations)).max() for rng in rngs]
            columns[name].append((np.array(best) - low) / (high - low))
    return {name: np.stack(scores, axis=1) for name, scores in columns.items()}


@pytest.mark.parametrize(
    "name, variables, words",
    [
        ("4.1", {"score": lambda a, n, low, high: (a[:n][-1] - low) / (high - low)}, "the score is"),
        ("4.1", {"score": lambda a, n, low, high: (max(a) - low) / (high - low)}, "only the first"),
        ("4.2", {"iqm": np.mean}, "are left out on either side"),
        ("4.3", {"interval": bootstrap(over_all)}, "Draw runs within each column"),
        ("4.3", {"interval": bootstrap(half_of_the_runs)}, "too wide"),
        ("4.3", {"interval": lambda scores, statistic, **_: 2 * (statistic(scores),)}, "too narrow"),
        ("4.4", {"improvement": wins}, "equal scores count half"),
        ("4.5", {"verdict": bold_verdict}, "between two equal methods"),
        ("4.5", {"verdict": lambda first, second: "undecided"}, "better by 1.5 standard deviations"),
        ("4.5", {"verdict": lambda first, second: 1}, "it must be 'first'"),
        ("4.6", {"flaws": "AB"}, "B: that is not what makes it unfair"),
        ("4.6", {"flaws": {"A"}}, "you found 1; there are more"),
        ("4.6", {"flaws": 3}, "must be a set of letters"),
        ("4.7", {**fair(600), "fair_verdict": "undecided"}, "Equal evaluations"),
        ("4.7", {**fair(), "fair_verdict": "first"}, "Both methods do the same"),
    ],
)
def test_lab_4(name, variables, words):
    assert words in told(name, **variables)


def toy():
    return Problem.from_table({"width": (1, 2)}, [[0], [1]], [0.8, 0.9], {"latency_ms": [1.0, 2.0]})


def greedy_over_budget(problem, evaluations, rng):
    return problem.decisions.uncompressed


def insatiable(problem, evaluations, rng):
    asked = problem.random(rng, evaluations + 1)
    return asked[problem.accuracy(asked).argmax()]


def easily_content(problem, evaluations, rng):
    return problem.cheapest


@pytest.mark.parametrize(
    "name, variables, words",
    [
        ("5.1", {"draw": lambda genes, rng: {name: max(values) for name, values in genes.items()}}, "equal chances"),
        ("5.1", {"draw": lambda genes, rng: [rng.choice(values) for values in genes.values()]}, "must return a dict"),
        ("5.1", {"draw": lambda genes, rng: dict.fromkeys(genes, 33)}, "which is not one of"),
        ("5.2", {"inherited": lambda w, b, inputs, outputs: (w[:inputs, :outputs], b[:outputs])}, "Rows are outputs"),
        ("5.2", {"inherited": lambda w, b, inputs, outputs: (w[-outputs:, :inputs], b[:outputs])}, "not the leading"),
        ("5.3", {"search": greedy_over_budget}, "more than the budget"),
        ("5.3", {"search": insatiable}, "91 accuracies; 90 were allowed"),
        ("5.3", {"search": easily_content}, "less than the uniform strategy's"),
        ("5.3", {"search": lambda problem, evaluations, rng: 0}, "must return one strategy"),
        ("5.4", {"translator_of": lambda strategy: "Hund", "problem": toy(), "validation": None}, "must return a `Tr"),
    ],
)
def test_lab_5(name, variables, words):
    assert words in told(name, **variables)


def test_every_check_finds_a_mistake():
    tested = {row[0] for mark in MARKS for row in mark.args[1]}
    assert tested == set(CHECKS)


MARKS = [mark for test in (test_lab_1, test_lab_2, test_lab_3, test_lab_4, test_lab_5) for mark in test.pytestmark]
