"""The one step kernel: the scalar environment is a batch of one, the vector environment a batch of thousands.

What does not change is a `Program`. An episode is one row of three arrays, whose columns are named below: `states`
(int64), `amounts` (float64) and `observations` (float32). All loops are over rows; no row reads another.
"""

from __future__ import annotations

import numpy as np

from compress_gym.envs import packing as p
from compress_gym.problem.budgets import CLIP, REPAIR, TOLERANCE, inactive, nearest_legal, repair
from compress_gym.problem.costs.increments import (
    AT,
    LAST,
    MARGIN,
    STARTS,
    TERM,
    TOUCH,
    advance,
    exact_cost,
    exact_cost_with,
    move,
    to_rows,
)
from compress_gym.problem.decisions import MAX_VALUES
from compress_gym.problem.rewards import named_reward
from compress_gym.problem.scores.batched import FEWEST, predict_batch
from compress_gym.problem.scores.surrogate import predict_row
from compress_gym.support.jit import Bools, Floats, Ints, Singles, inlined, jit

ACTION_TOLERANCE = 1e-6
# Rows that are stepped, scored and observed before the next ones: as many as stay in a core's cache.
BLOCK = 256
# Columns of `states`; the choices executed last and a strategy in progress (see `costs/increments.py`) follow. Steps in
# which nothing is active are skipped, so the previous step may lie further back. The key and the number of the episode
# decide which problem is drawn.
PROBLEM, STEP, PREVIOUS, STATUS, KEY, EPISODE, EXECUTED = range(7)
# What a row has just done.
STEPPED, ENDED, WAS_RESET, NOT_BEGUN = range(4)
# Columns of `amounts`: the budget as a fraction and in the bounded cost's unit, costs in progress, and the outcome of
# an episode that has ended; all its costs follow.
BUDGET, LIMIT, SPENT, LEAST, MOST, ACCURACY, REWARD, COST_RATIO, FEASIBLE, COSTS = range(10)


@jit
def choice_of(action: float, size: int) -> int:
    """Returns the bin of an action: `size` bins of equal width over [-1, 1]."""
    return min(max(int(np.floor((action + 1.0) * 0.5 * size)), 0), size - 1)


@jit
def action_of(choice: int, size: int) -> float:
    """Returns the centre of a bin."""
    return (2 * choice + 1) / size - 1.0


@jit
def mixed(key: int, number: int) -> int:
    """Returns 64 random bits for a key and a number (the finaliser of splitmix64)."""
    z = np.uint64(key) + np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def drawn(key: int, episode: int, count: int) -> int:
    """Returns which of `count` problems an episode of a row draws."""
    return np.int64(mixed(key, 2 * episode) % np.uint64(count))


@jit
def first_bad_action(ints: Ints, states: Ints, actions: Singles) -> int:
    """Returns the first row whose action is NaN or out of range; -1 if all are fine.

    Rows that are about to be reset ignore their action; indices of values were checked before.
    """
    for n in range(states.shape[0]):
        header = ints[p.HEADERS + states[n, PROBLEM]]
        if states[n, STEP] >= ints[header + p.STEPS]:
            continue
        for a in range(actions.shape[1]):
            if ints[header + p.DISCRETE]:
                if not actions[n, a] >= 0.0:
                    return n
            elif not abs(actions[n, a]) <= 1.0 + ACTION_TOLERANCE:
                return n
    return -1


@jit
def part(ints: Ints, at: int, length: int) -> Ints:
    """Returns a stretch of `ints`."""
    return ints[at : at + length]


@jit
def end_of_run(states: Ints, first: int, end: int) -> int:
    """Returns where, before `end`, the rows stop that are at the same step of the same problem as the first.

    They came there by the same step. Such rows are handled together, so that what they share is looked up once.
    """
    stop = first + 1
    while (
        stop < end
        and states[stop, STEP] == states[first, STEP]
        and states[stop, PREVIOUS] == states[first, PREVIOUS]
        and states[stop, PROBLEM] == states[first, PROBLEM]
    ):
        stop += 1
    return stop


@jit
def reset_row(ints: Ints, floats: Floats, states: Ints, amounts: Floats, n: int, problem: int, budget: float) -> None:
    """Starts an episode in a row: of the given problem and budget, drawn where they are -1 and NaN."""
    if problem < 0:
        problem = drawn(states[n, KEY], states[n, EPISODE], ints[p.PROBLEMS]) if ints[p.PROBLEMS] > 1 else 0
    header = ints[p.HEADERS + problem]
    constants = ints[header + p.AT_CONSTANTS]
    if np.isnan(budget):
        budget = floats[constants + p.BUDGET]
        if floats[p.HIGHEST_BUDGET] > 0.0:
            place = (mixed(states[n, KEY], 2 * states[n, EPISODE] + 1) >> np.uint64(11)) * 2.0**-53
            budget = floats[p.LOWEST_BUDGET] + place * (floats[p.HIGHEST_BUDGET] - floats[p.LOWEST_BUDGET])
    states[n, PROBLEM], states[n, STEP], states[n, PREVIOUS], states[n, STATUS] = problem, 0, -1, WAS_RESET
    states[n, EPISODE] += 1
    first, decisions, terms = EXECUTED + ints[p.SLOTS], ints[header + p.DECISIONS], ints[header + p.TERMS]
    for t in range(decisions):
        states[n, first + t] = ints[ints[header + p.AT_CHEAPEST] + t]
    for k in range(terms):
        states[n, first + decisions + k] = 0
    amounts[n, BUDGET] = budget
    amounts[n, LIMIT] = budget * floats[constants + p.BASELINE_COST] * (1 + TOLERANCE)
    amounts[n, SPENT] = floats[constants + p.CERTAIN]
    amounts[n, LEAST] = floats[constants + p.LEAST]
    amounts[n, MOST] = floats[constants + p.MOST]


@inlined
def sums_with(
    ints: Ints,
    layout: int,
    floats: Floats,
    costs: int,
    places: Ints,
    at: int,
    amounts: Floats,
    n: int,
    t: int,
    size: int,
    before: int,
    whole: int,
    choice: int,
) -> tuple[float, float, float]:
    """Returns the costs in progress if decision `t` is made: spent, least and most.

    It stood at its choice `before` of the cheapest strategy and, for the most, at its reference, the choice `whole`.
    """
    spent, least, most = amounts[n, SPENT], amounts[n, LEAST], amounts[n, MOST]
    for i in range(layout + ints[layout + STARTS + t], layout + ints[layout + STARTS + t + 1], TOUCH):
        base = costs + ints[i + AT] + 2 * size * places[at + ints[i + TERM]]
        cost = floats[base + choice]
        least += cost - floats[base + before]
        most += floats[base + size + choice] - floats[base + size + whole]
        spent += ints[i + LAST] * cost
    return spent, least, most


@inlined
def decide(
    ints: Ints,
    layout: int,
    floats: Floats,
    costs: int,
    places: Ints,
    at: int,
    amounts: Floats,
    n: int,
    t: int,
    size: int,
    before: int,
    whole: int,
    choice: int,
) -> None:
    """Makes decision `t`, see `sums_with`; places and costs in progress follow."""
    amounts[n, SPENT], amounts[n, LEAST], amounts[n, MOST] = sums_with(
        ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, choice
    )
    advance(ints, layout, places, at, t, size, choice)


@jit
def step_run(
    ints: Ints,
    floats: Floats,
    states: Ints,
    amounts: Floats,
    observations: Singles,
    actions: Singles,
    first: int,
    stop: int,
) -> None:
    """Executes one action in each row of a run."""
    header, step, slots = ints[p.HEADERS + states[first, PROBLEM]], states[first, STEP], actions.shape[1]
    decisions, layout, costs = ints[header + p.DECISIONS], ints[header + p.AT_STAGES], ints[header + p.AT_STAGED]
    sizes, cheapest, references = (
        ints[header + p.AT_SIZES],
        ints[header + p.AT_CHEAPEST],
        ints[header + p.AT_REFERENCES],
    )
    discrete, rule = ints[header + p.DISCRETE], ints[header + p.RULE]
    decided = ints[header + p.AT_SLOTS] + step * slots
    strategy, conditions = EXECUTED + slots, ints[header + p.AT_CONDITIONS]
    told, sums = observations.shape[1] - slots, np.empty(MAX_VALUES)
    places, width = states.reshape(-1), states.shape[1]
    for a in range(slots):
        t = ints[decided + a]
        if t < 0:
            for n in range(first, stop):
                states[n, EXECUTED + a], observations[n, told + a] = -1, 0.0
            continue
        size, before, whole = ints[sizes + t], ints[cheapest + t], ints[references + t]
        controller, least = ints[conditions + 2 * t], ints[conditions + 2 * t + 1]
        for n in range(first, stop):
            at = n * width + strategy + decisions
            if controller >= 0 and states[n, strategy + controller] < least:
                decide(ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, np.int64(0))
                states[n, strategy + t], states[n, EXECUTED + a], observations[n, told + a] = 0, -1, 0.0
                continue
            choice = min(int(actions[n, a]), size - 1) if discrete else choice_of(actions[n, a], size)
            spent, low, high = sums_with(
                ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, choice
            )
            limit = amounts[n, LIMIT]
            # Asked here as well: most choices fit, and the call takes longer than the question.
            if rule == CLIP and limit - low <= MARGIN * limit:
                cost = amounts[n, LEAST]
                choice = nearest_legal(
                    ints, layout, floats, costs, places, at, t, size, before, choice, cost, limit, sums
                )
                spent, low, high = sums_with(
                    ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, choice
                )
            amounts[n, SPENT], amounts[n, LEAST], amounts[n, MOST] = spent, low, high
            advance(ints, layout, places, at, t, size, choice)
            states[n, strategy + t] = states[n, EXECUTED + a] = choice
            observations[n, told + a] = action_of(choice, size)
    steps = ints[header + p.STEPS]
    for n in range(first, stop):
        following = step + 1
        if ints[header + p.CONDITIONAL]:
            following = skip_inactive(ints, floats, header, states, amounts, n, following)
        states[n, STEP], states[n, PREVIOUS], states[n, STATUS] = (
            following,
            step,
            STEPPED if following < steps else ENDED,
        )


@jit
def skip_inactive(ints: Ints, floats: Floats, header: int, states: Ints, amounts: Floats, n: int, step: int) -> int:
    """Returns the next step in which something is active; what is not takes its first choice on the way."""
    slots, places, sizes = ints[p.SLOTS], states.reshape(-1), ints[header + p.AT_SIZES]
    layout, costs, references = ints[header + p.AT_STAGES], ints[header + p.AT_STAGED], ints[header + p.AT_REFERENCES]
    conditions, strategy = ints[header + p.AT_CONDITIONS], EXECUTED + slots
    at = n * states.shape[1] + strategy + ints[header + p.DECISIONS]
    while step < ints[header + p.STEPS]:
        decided = ints[header + p.AT_SLOTS] + step * slots
        for a in range(slots):
            t = ints[decided + a]
            if t >= 0:
                controller = ints[conditions + 2 * t]
                if controller < 0 or states[n, strategy + controller] >= ints[conditions + 2 * t + 1]:
                    return step
        for a in range(slots):
            t = ints[decided + a]
            if t >= 0:
                size, before, whole = ints[sizes + t], states[n, strategy + t], ints[references + t]
                decide(ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, np.int64(0))
                states[n, strategy + t] = 0
        step += 1
    return step


@jit
def finish_run(
    ints: Ints, floats: Floats, states: Ints, amounts: Floats, observations: Singles, first: int, stop: int
) -> None:
    """Turns places into rows, repairs strategies where that is the rule, and sums anew what was carried along."""
    header, slots = ints[p.HEADERS + states[first, PROBLEM]], ints[p.SLOTS]
    decisions, sizes = ints[header + p.DECISIONS], ints[header + p.AT_SIZES]
    layout, costs = ints[header + p.AT_STAGES], ints[header + p.AT_STAGED]
    cheapest = part(ints, ints[header + p.AT_CHEAPEST], decisions)
    decided = ints[header + p.AT_SLOTS] + states[first, PREVIOUS] * slots
    conditions = part(ints, ints[header + p.AT_CONDITIONS], 2 * decisions).reshape(-1, 2)
    strategy, told, rows = EXECUTED + slots, observations.shape[1] - slots, states.reshape(-1)
    for n in range(first, stop):
        at = n * states.shape[1] + strategy + decisions
        to_rows(ints, layout, rows, at)
        if ints[header + p.RULE] == REPAIR:
            choices = states[n, strategy : strategy + decisions]
            repair(ints, layout, floats, costs, rows, at, choices, cheapest, amounts[n, LIMIT])
            for t in range(decisions):
                if inactive(conditions, t, choices):
                    move(ints, layout, rows, at, t, -choices[t])
                    choices[t] = 0
            for a in range(slots):
                t = ints[decided + a]
                if t >= 0:
                    without = inactive(conditions, t, choices)
                    states[n, EXECUTED + a] = -1 if without else choices[t]
                    observations[n, told + a] = 0.0 if without else action_of(choices[t], ints[sizes + t])
        amounts[n, SPENT] = amounts[n, LEAST] = amounts[n, MOST] = exact_cost(ints, layout, floats, costs, rows, at)


@jit
def observe_run(
    ints: Ints,
    floats: Floats,
    singles: Singles,
    states: Ints,
    amounts: Floats,
    observations: Singles,
    first: int,
    stop: int,
) -> None:
    """Writes observations of a run: what the step determines, the costs in progress, the choices executed last."""
    header, step, slots = ints[p.HEADERS + states[first, PROBLEM]], states[first, STEP], ints[p.SLOTS]
    previous = states[first, PREVIOUS]
    static, sizes = ints[header + p.FEATURES], ints[header + p.AT_SIZES]
    features = singles[ints[header + p.AT_FEATURES] + step * static :][:static]
    scale = floats[ints[header + p.AT_CONSTANTS] + p.BASELINE_COST]
    for n in range(first, stop):
        for i in range(static):
            observations[n, i] = features[i]
        observations[n, static] = min(1.0, amounts[n, SPENT] / scale)
        observations[n, static + 1] = min(1.0, amounts[n, LEAST] / scale)
        observations[n, static + 2] = min(1.0, amounts[n, MOST] / scale)
        observations[n, static + 3] = amounts[n, BUDGET]
    for a in range(slots):
        t = ints[ints[header + p.AT_SLOTS] + previous * slots + a] if previous >= 0 else -1
        size = ints[sizes + t] if t >= 0 else 1
        for n in range(first, stop):
            made = t >= 0 and states[n, EXECUTED + a] >= 0
            observations[n, static + 4 + a] = (states[n, EXECUTED + slots + t] + 0.5) / size if made else 0.0


@jit
def score_run(
    ints: Ints, floats: Floats, singles: Singles, states: Ints, amounts: Floats, first: int, stop: int
) -> None:
    """Writes the costs of finished strategies, and accuracy and reward where the kernel knows them."""
    header = ints[p.HEADERS + states[first, PROBLEM]]
    metrics, terms, decisions = ints[header + p.METRICS], ints[header + p.TERMS], ints[header + p.DECISIONS]
    strategy, source = EXECUTED + ints[p.SLOTS], ints[header + p.ACCURACY]
    constants, at, hidden = ints[header + p.AT_CONSTANTS], ints[header + p.AT_ACCURACY], ints[header + p.HIDDEN]
    tables = floats[ints[header + p.AT_TABLES] :][: ints[header + p.TABLE_ROWS] * metrics].reshape(-1, metrics)
    strides = part(ints, ints[header + p.AT_STRIDES], decisions)
    for n in range(first, stop):
        costs, rows = amounts[n, COSTS : COSTS + metrics], states[n, strategy + decisions :]
        for m in range(metrics):
            costs[m] = 0.0
        for k in range(terms):
            for m in range(metrics):
                costs[m] += tables[rows[k], m]
        bounded = costs[ints[header + p.BOUNDED]]
        amounts[n, COST_RATIO] = bounded / floats[constants + p.BASELINE_COST]
        amounts[n, FEASIBLE] = bounded <= amounts[n, LIMIT]
    if source == p.MEASURED:
        for n in range(first, stop):
            index = 0
            for t in range(decisions):
                index += strides[t] * states[n, strategy + t]
            amounts[n, ACCURACY] = floats[at + index]
    elif source == p.SURROGATE:
        members, values = ints[header + p.MEMBERS], ints[header + p.VALUES]
        strategies = states[first:stop, strategy : strategy + decisions]
        if stop - first < FEWEST:
            units = np.empty((2, hidden), dtype=np.float32)
            for n in range(first, stop):
                amounts[n, ACCURACY] = predict_row(singles[at:], members, values, strategies[n - first], units)
        else:
            predict_batch(singles[at:], members, values, hidden, strategies, amounts[first:stop, ACCURACY])
    else:
        for n in range(first, stop):
            amounts[n, ACCURACY] = np.nan
    for n in range(first, stop):
        reward_row(ints, floats, states, amounts, n)


@jit
def reward_row(ints: Ints, floats: Floats, states: Ints, amounts: Floats, n: int) -> None:
    """Writes the named reward of an outcome whose accuracy is known."""
    header = ints[p.HEADERS + states[n, PROBLEM]]
    macs = ints[header + p.MACS]
    amounts[n, REWARD] = named_reward(
        ints[header + p.REWARD],
        amounts[n, ACCURACY],
        floats[ints[header + p.AT_CONSTANTS] + p.BASELINE_ACCURACY],
        amounts[n, COST_RATIO],
        amounts[n, BUDGET],
        amounts[n, COSTS + macs] if macs >= 0 else np.nan,
    )


@jit
def reset_rows(
    ints: Ints,
    floats: Floats,
    singles: Singles,
    states: Ints,
    amounts: Floats,
    observations: Singles,
    chosen: Bools,
    problem: int,
    budget: float,
) -> None:
    """Starts an episode in every chosen row and writes its observation, in place.

    A problem of number -1 is drawn; a budget that is NaN is drawn, or the problem's own.
    """
    for n in range(states.shape[0]):
        if chosen[n]:
            reset_row(ints, floats, states, amounts, n, problem, budget)
            observe_run(ints, floats, singles, states, amounts, observations, n, n + 1)


@jit
def step_rows(
    ints: Ints, floats: Floats, singles: Singles, states: Ints, amounts: Floats, observations: Singles, actions: Singles
) -> int:
    """Executes one action in every row, in place; rows whose episode is over start the next one instead.

    Args:
        ints: Of the `Program`, as are the next two.
        floats: The program's.
        singles: The program's.
        states: int64 `[N, EXECUTED + slots + width]`.
        amounts: float64 `[N, COSTS + metrics]`; only what has ended has a reward that is not 0.
        observations: float32 `[N, columns + slots]`, overwritten: the observation, and the centres of the executed bins
            (0 where a slot makes no decision).
        actions: Numbers within [-1, 1], or indices of values, float32 `[N, slots]`.

    Returns:
        -1, or the first row whose action is illegal; then nothing was done.
    """
    bad = first_bad_action(ints, states, actions)
    if bad >= 0:
        return bad
    # A literal would be a type of its own: everything below would be compiled twice.
    begin, drawn = np.int64(0), np.int64(-1)
    while begin < states.shape[0]:
        end = min(begin + BLOCK, states.shape[0])
        first = begin
        while first < end:
            stop, ended = end_of_run(states, first, end), states[first, STATUS] == ENDED
            for n in range(first, stop):
                amounts[n, REWARD] = 0.0
            if ended:
                for n in range(first, stop):
                    reset_row(ints, floats, states, amounts, n, drawn, np.nan)
            else:
                step_run(ints, floats, states, amounts, observations, actions, first, stop)
            first = stop
        first = begin
        while first < end:
            stop = end_of_run(states, first, end)
            if states[first, STATUS] == ENDED:
                finish_run(ints, floats, states, amounts, observations, first, stop)
                score_run(ints, floats, singles, states, amounts, first, stop)
            observe_run(ints, floats, singles, states, amounts, observations, first, stop)
            first = stop
        begin = end
    return -1


@jit
def first_columns(rows: Singles, columns: int) -> Singles:
    """Returns a contiguous copy of the first columns of rows (NumPy takes twice as long)."""
    copied = np.empty((rows.shape[0], columns), dtype=np.float32)
    for n in range(rows.shape[0]):
        for i in range(columns):
            copied[n, i] = rows[n, i]
    return copied


@jit
def mask_rows(ints: Ints, floats: Floats, states: Ints, amounts: Floats, masks: Bools) -> None:
    """Writes which choices of each row's next decision are executed as they are, bool `[N, most values]`, in place."""
    masks[:] = False
    for n in range(states.shape[0]):
        header, step = ints[p.HEADERS + states[n, PROBLEM]], states[n, STEP]
        if step >= ints[header + p.STEPS]:
            continue
        t = ints[ints[header + p.AT_SLOTS] + step]
        size = ints[ints[header + p.AT_SIZES] + t]
        if ints[header + p.RULE] == CLIP:
            layout, costs = ints[header + p.AT_STAGES], ints[header + p.AT_STAGED]
            places, at = states[n], EXECUTED + ints[p.SLOTS] + ints[header + p.DECISIONS]
            for choice in range(size):
                cost = exact_cost_with(ints, layout, floats, costs, places, at, t, choice)
                masks[n, choice] = cost <= amounts[n, LIMIT]
        else:
            masks[n, :size] = True
