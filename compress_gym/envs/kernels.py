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
    exact_cost_with,
    move,
    to_rows,
)
from compress_gym.problem.decisions import MAX_VALUES
from compress_gym.problem.rewards import named_reward
from compress_gym.problem.scores.batched import FEWEST, predict_batch
from compress_gym.problem.scores.surrogate import predict_row
from compress_gym.support.jit import Bools, Floats, Ints, Singles, inlined, jit, within

ACTION_TOLERANCE = 1e-6
# Rows that are stepped, scored and observed before the next ones: as many as stay in a core's cache.
BLOCK = 256
# Columns of `states`; the choices executed last and a strategy in progress (see `costs/increments.py`) follow. Steps in
# which nothing is active are skipped, so the previous step may lie further back. The key and the number of the episode
# decide which problem is drawn.
PROBLEM, STEP, PREVIOUS, STATUS, KEY, EPISODE, EXECUTED = range(7)
# What a row has just done.
STEPPED, ENDED, WAS_RESET, NOT_BEGUN = range(4)
# What `step_rows` returns where all actions are legal.
NONE_ENDED, SOME_ENDED = -1, -2
# Columns of `amounts`: the budget as a fraction and in the bounded cost's unit, costs in progress, and the outcome of
# an episode that has ended; all its costs follow.
BUDGET, LIMIT, SPENT, LEAST, MOST, ACCURACY, REWARD, COST_RATIO, FEASIBLE, COSTS = range(10)


@within
def choice_of(action: float, size: int) -> int:
    """Returns the bin of an action: `size` bins of equal width over [-1, 1]."""
    return min(max(int(np.floor((action + 1.0) * 0.5 * size)), 0), size - 1)


@within
def action_of(choice: int, size: int) -> float:
    """Returns the centre of a bin."""
    return (2 * choice + 1) / size - 1.0


@within
def mixed(key: int, number: int) -> int:
    """Returns 64 random bits for a key and a number (the finaliser of splitmix64)."""
    z = np.uint64(key) + np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@within
def drawn(key: int, episode: int, count: int) -> int:
    """Returns which of `count` problems an episode of a row draws."""
    return np.int64(mixed(key, 2 * episode) % np.uint64(count))


@within
def first_bad_action(ints: Ints, states: Ints, actions: Singles) -> int:
    """Returns the first row whose action is NaN or out of range; -1 if all are fine.

    Rows that are about to be reset ignore their action; indices of values were checked before.
    """
    for n in range(states.shape[0]):
        header = ints[p.HEADERS + states[n, PROBLEM]]
        if states[n, STATUS] == ENDED:
            continue
        for a in range(actions.shape[1]):
            if ints[header + p.DISCRETE]:
                if not actions[n, a] >= 0.0:
                    return n
            elif not abs(actions[n, a]) <= 1.0 + ACTION_TOLERANCE:
                return n
    return -1


check_actions = jit(first_bad_action)


@within
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


@within
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


@within
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
    sizes, cheapest = ints[header + p.AT_SIZES], ints[header + p.AT_CHEAPEST]
    references, discrete, rule = ints[header + p.AT_REFERENCES], ints[header + p.DISCRETE], ints[header + p.RULE]
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
            without = controller >= 0 and states[n, strategy + controller] < least
            if without:
                choice = np.int64(0)
            else:
                choice = min(int(actions[n, a]), size - 1) if discrete else choice_of(actions[n, a], size)
            certain, limit = without or rule != CLIP, amounts[n, LIMIT]
            # Again where the choice is moved; written once, since every copy of it is compiled.
            while True:
                spent, low, high = sums_with(
                    ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, choice
                )
                # Asked here as well: most choices fit, and the call takes longer than the question.
                if certain or limit - low > MARGIN * limit:
                    break
                cost, certain = amounts[n, LEAST], True
                choice = nearest_legal(
                    ints, layout, floats, costs, places, at, t, size, before, choice, cost, limit, sums
                )
            amounts[n, SPENT], amounts[n, LEAST], amounts[n, MOST] = spent, low, high
            advance(ints, layout, places, at, t, size, choice)
            states[n, strategy + t] = choice
            states[n, EXECUTED + a] = -1 if without else choice
            observations[n, told + a] = 0.0 if without else action_of(choice, size)
    status = STEPPED if step + 1 < ints[header + p.STEPS] else ENDED
    for n in range(first, stop):
        states[n, STEP], states[n, PREVIOUS], states[n, STATUS] = step + 1, step, status


@within
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
    features = ints[header + p.AT_FEATURES] + step * static
    scale = floats[ints[header + p.AT_CONSTANTS] + p.BASELINE_COST]
    for n in range(first, stop):
        for i in range(static):
            observations[n, i] = singles[features + i]
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
def skip_inactive(
    ints: Ints, floats: Floats, singles: Singles, states: Ints, amounts: Floats, observations: Singles
) -> int:
    """Moves all rows that have stepped on to where something is active; what is not takes its first choice on the way.

    Returns:
        `SOME_ENDED` if any row has, else `NONE_ENDED`.
    """
    slots, places, outcome = ints[p.SLOTS], states.reshape(-1), NONE_ENDED
    strategy, none = EXECUTED + slots, np.int64(0)
    for n in range(states.shape[0]):
        header, step = ints[p.HEADERS + states[n, PROBLEM]], states[n, STEP]
        layout, costs, sizes = ints[header + p.AT_STAGES], ints[header + p.AT_STAGED], ints[header + p.AT_SIZES]
        references, conditions = ints[header + p.AT_REFERENCES], ints[header + p.AT_CONDITIONS]
        at = n * states.shape[1] + strategy + ints[header + p.DECISIONS]
        while states[n, STATUS] == STEPPED:
            decided, active = ints[header + p.AT_SLOTS] + step * slots, False
            for a in range(slots):
                t = ints[decided + a]
                if t >= 0:
                    controller = ints[conditions + 2 * t]
                    active |= controller < 0 or states[n, strategy + controller] >= ints[conditions + 2 * t + 1]
            if active:
                break
            for a in range(slots):
                t = ints[decided + a]
                if t >= 0:
                    size, before, whole = ints[sizes + t], states[n, strategy + t], ints[references + t]
                    amounts[n, SPENT], amounts[n, LEAST], amounts[n, MOST] = sums_with(
                        ints, layout, floats, costs, places, at, amounts, n, t, size, before, whole, none
                    )
                    advance(ints, layout, places, at, t, size, none)
                    states[n, strategy + t] = 0
            step += 1
            if step == ints[header + p.STEPS]:
                states[n, STATUS] = ENDED
        if states[n, STATUS] == ENDED:
            outcome = SOME_ENDED
        if step != states[n, STEP]:
            states[n, STEP] = step
            observe_run(ints, floats, singles, states, amounts, observations, n, n + 1)
    return outcome


@jit
def repair_rows(ints: Ints, floats: Floats, states: Ints, amounts: Floats, observations: Singles) -> None:
    """Repairs the strategies of all rows that have ended, where that is the rule; their places become rows."""
    slots, rows = ints[p.SLOTS], states.reshape(-1)
    strategy, told = EXECUTED + slots, observations.shape[1] - slots
    for n in range(states.shape[0]):
        header = ints[p.HEADERS + states[n, PROBLEM]]
        if states[n, STATUS] != ENDED or ints[header + p.RULE] != REPAIR:
            continue
        decisions, sizes = ints[header + p.DECISIONS], ints[header + p.AT_SIZES]
        layout, costs = ints[header + p.AT_STAGES], ints[header + p.AT_STAGED]
        cheapest = ints[ints[header + p.AT_CHEAPEST] :][:decisions]
        decided = ints[header + p.AT_SLOTS] + states[n, PREVIOUS] * slots
        conditions = ints[ints[header + p.AT_CONDITIONS] :][: 2 * decisions].reshape(-1, 2)
        at, choices = n * states.shape[1] + strategy + decisions, states[n, strategy : strategy + decisions]
        seen = ints[header + p.FEATURES] + 4
        to_rows(ints, layout, rows, at)
        repair(ints, layout, floats, costs, rows, at, choices, cheapest, amounts[n, LIMIT])
        for t in range(decisions):
            if inactive(conditions, t, choices):
                move(ints, layout, rows, at, t, -choices[t])
                choices[t] = 0
        for a in range(slots):
            t = ints[decided + a]
            if t >= 0:
                size, without = ints[sizes + t], inactive(conditions, t, choices)
                states[n, EXECUTED + a] = -1 if without else choices[t]
                observations[n, told + a] = 0.0 if without else action_of(choices[t], size)
                observations[n, seen + a] = 0.0 if without else (choices[t] + 0.5) / size


@jit
def predict_each(ints: Ints, singles: Singles, states: Ints, amounts: Floats) -> None:
    """Writes the accuracies of all rows that have ended and have a surrogate, one by one."""
    strategy = EXECUTED + ints[p.SLOTS]
    for n in range(states.shape[0]):
        header = ints[p.HEADERS + states[n, PROBLEM]]
        if states[n, STATUS] == ENDED and ints[header + p.ACCURACY] == p.SURROGATE:
            choices = states[n, strategy : strategy + ints[header + p.DECISIONS]]
            units = np.empty((2, ints[header + p.HIDDEN]), dtype=np.float32)
            weights = singles[ints[header + p.AT_ACCURACY] :]
            amounts[n, ACCURACY] = predict_row(
                weights, ints[header + p.MEMBERS], ints[header + p.VALUES], choices, units
            )


@jit
def predict_together(ints: Ints, singles: Singles, states: Ints, amounts: Floats) -> None:
    """Does what `predict_each` does, and takes half its time where many rows have ended."""
    strategy, count, first = EXECUTED + ints[p.SLOTS], states.shape[0], 0
    while first < count:
        stop, header = end_of_run(states, first, min(first + BLOCK, count)), ints[p.HEADERS + states[first, PROBLEM]]
        if states[first, STATUS] == ENDED and ints[header + p.ACCURACY] == p.SURROGATE:
            weights, hidden = singles[ints[header + p.AT_ACCURACY] :], ints[header + p.HIDDEN]
            members, values = ints[header + p.MEMBERS], ints[header + p.VALUES]
            strategies = states[first:stop, strategy : strategy + ints[header + p.DECISIONS]]
            if stop - first < FEWEST:
                units = np.empty((2, hidden), dtype=np.float32)
                for n in range(first, stop):
                    choices = states[n, strategy : strategy + ints[header + p.DECISIONS]]
                    amounts[n, ACCURACY] = predict_row(weights, members, values, choices, units)
            else:
                predict_batch(weights, members, values, hidden, strategies, amounts[first:stop, ACCURACY])
        first = stop


@jit
def end_rows(ints: Ints, floats: Floats, states: Ints, amounts: Floats, observations: Singles) -> None:
    """Writes costs and reward of all rows that have ended, and observes them.

    Accuracies are looked up, or known already.
    """
    strategy, places, first, count = EXECUTED + ints[p.SLOTS], states.reshape(-1), np.int64(0), states.shape[0]
    while first < count:
        stop, header = end_of_run(states, first, count), ints[p.HEADERS + states[first, PROBLEM]]
        begin, end, first = first, stop if states[first, STATUS] == ENDED else first, stop
        metrics, terms, decisions = ints[header + p.METRICS], ints[header + p.TERMS], ints[header + p.DECISIONS]
        tables, layout, bounded = ints[header + p.AT_TABLES], ints[header + p.AT_STAGES], ints[header + p.BOUNDED]
        source, known, strides = ints[header + p.ACCURACY], ints[header + p.AT_ACCURACY], ints[header + p.AT_STRIDES]
        repaired, static = ints[header + p.RULE] == REPAIR, ints[header + p.FEATURES]
        scale = floats[ints[header + p.AT_CONSTANTS] + p.BASELINE_COST]
        for n in range(begin, end):
            at = n * states.shape[1] + strategy + decisions
            if not repaired:  # `repair_rows` has done so
                to_rows(ints, layout, places, at)
            for m in range(metrics):
                amounts[n, COSTS + m] = 0.0
            for k in range(at, at + terms):
                row = tables + metrics * places[k]
                for m in range(metrics):
                    amounts[n, COSTS + m] += floats[row + m]
            cost = amounts[n, COSTS + bounded]
            amounts[n, SPENT] = amounts[n, LEAST] = amounts[n, MOST] = cost
            amounts[n, COST_RATIO] = cost / scale
            amounts[n, FEASIBLE] = cost <= amounts[n, LIMIT]
            for i in range(static, static + 3):  # spent, least and most
                observations[n, i] = min(1.0, cost / scale)
            if source == p.MEASURED:
                index = known
                for t in range(decisions):
                    index += ints[strides + t] * states[n, strategy + t]
                amounts[n, ACCURACY] = floats[index]
            elif source == p.ELSEWHERE:
                amounts[n, ACCURACY] = np.nan
            reward_row(ints, floats, states, amounts, n)


@within
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


# For Python, which kernels would have to wait for.
reward_of_row = jit(reward_row)
draw = jit(drawn)


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
        `NONE_ENDED`; or `SOME_ENDED`, and then `Episodes.end` has to score and observe what has ended; or the first row
        whose action is illegal, and then nothing was done.
    """
    bad = first_bad_action(ints, states, actions)
    if bad >= 0:
        return bad
    # A literal would be a type of its own: everything below would be compiled twice.
    first, drawn, outcome = np.int64(0), np.int64(-1), NONE_ENDED
    while first < states.shape[0]:
        stop = end_of_run(states, first, min(first + BLOCK, states.shape[0]))
        begins = states[first, STATUS] == ENDED
        for n in range(first, stop):
            amounts[n, REWARD] = 0.0
        if begins:
            for n in range(first, stop):
                reset_row(ints, floats, states, amounts, n, drawn, np.nan)
        else:
            step_run(ints, floats, states, amounts, observations, actions, first, stop)
            if states[first, STATUS] == ENDED:
                outcome = SOME_ENDED
        while first < stop:  # what begins may be of several problems, what has stepped is a run still
            until = first + 1 if begins and ints[p.PROBLEMS] > 1 else stop
            observe_run(ints, floats, singles, states, amounts, observations, first, until)
            first = until
    return outcome


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
