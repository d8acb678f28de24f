"""The one step kernel: the scalar environment is a batch of one, the vector environment a batch of thousands.

A state is one row `[1 + T]`: the number of the next step, then the choices; what is not decided yet stands at the
reference (the cheapest strategy), so that a row always is a complete strategy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.budgets import CLIP, REPAIR, nearest_legal, repair
from compress_gym.jit import jit

ACTION_TOLERANCE = 1e-6


@jit
def first_bad_action(actions: NDArray[np.float64]) -> int:
    """Returns the index of the first row of `[N, slots]` that is NaN or outside [-1, 1]; -1 if all are fine."""
    for n in range(actions.shape[0]):
        for a in range(actions.shape[1]):
            if not abs(actions[n, a]) <= 1.0 + ACTION_TOLERANCE:
                return n
    return -1


@jit
def choice_of(action: float, size: int) -> int:
    """Returns the bin of an action: `size` bins of equal width over [-1, 1]."""
    return min(max(int(np.floor((action + 1.0) * 0.5 * size)), 0), size - 1)


@jit
def action_of(choice: int, size: int) -> float:
    """Returns the centre of a bin."""
    return (2 * choice + 1) / size - 1.0


@jit
def reset_rows(states: NDArray[np.int64], reference: NDArray[np.int64]) -> None:
    """Starts an episode in every row, in place."""
    for n in range(states.shape[0]):
        states[n, 0] = 0
        states[n, 1:] = reference


@jit
def step_rows(
    slots: NDArray[np.int64],
    sizes: NDArray[np.int64],
    reference: NDArray[np.int64],
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
    limit: float,
    rule: int,
    states: NDArray[np.int64],
    actions: NDArray[np.float64],
    executed: NDArray[np.int64],
    executed_actions: NDArray[np.float32],
) -> None:
    """Executes one action in every row, in place.

    Args:
        slots: Decision made by each action number of each step, -1 where there is none, int64 `[steps, slots]`.
        sizes: Values of each decision, int64 `[T]`.
        reference: The cheapest strategy, int64 `[T]`.
        terms: Cost terms, see `costs/kernels.py`.
        tables: Their tables.
        metric: Column of the bounded cost.
        limit: Budget in its unit, tolerance included.
        rule: Code of the budget rule.
        states: int64 `[N, 1 + T]`, changed in place.
        actions: Checked actions, float64 `[N, slots]`.
        executed: Choices that were made, -1 where there was none, int64 `[N, slots]`, overwritten.
        executed_actions: Centres of their bins, 0 where there was none, float32 `[N, slots]`, overwritten.
    """
    for n in range(states.shape[0]):
        step = states[n, 0]
        choices = states[n, 1:]
        for a in range(slots.shape[1]):
            t = slots[step, a]
            if t < 0:
                continue
            wanted = choice_of(actions[n, a], sizes[t])
            if rule == CLIP:
                wanted = nearest_legal(choices, t, wanted, sizes[t], limit, terms, tables, metric)
            choices[t] = wanted
        states[n, 0] = step + 1
        if rule == REPAIR and step + 1 == slots.shape[0]:
            repair(choices, reference, limit, terms, tables, metric)
        for a in range(slots.shape[1]):
            t = slots[step, a]
            executed[n, a] = choices[t] if t >= 0 else -1
            executed_actions[n, a] = action_of(choices[t], sizes[t]) if t >= 0 else 0.0


@jit
def observe_rows(
    slots: NDArray[np.int64],
    sizes: NDArray[np.int64],
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
    scale: float,
    budget: float,
    features: NDArray[np.float32],
    states: NDArray[np.int64],
    observations: NDArray[np.float32],
) -> None:
    """Writes the observation of every row, in place.

    Args:
        slots: As in `step_rows`.
        sizes: Values of each decision, int64 `[T]`.
        terms: Cost terms.
        tables: Their tables.
        metric: Column of the bounded cost.
        scale: Bounded cost of the uncompressed network.
        budget: Budget as a fraction of it.
        features: What only depends on the step, float32 `[steps + 1, static columns]`.
        states: int64 `[N, 1 + T]`.
        observations: float32 `[N, static columns + 4 + slots]`, overwritten.
    """
    static = features.shape[1]
    for n in range(states.shape[0]):
        step = states[n, 0]
        choices = states[n, 1:]
        decided = 0
        for s in range(step):
            for a in range(slots.shape[1]):
                decided += slots[s, a] >= 0
        # One pass over the terms: what is spent for certain, and the totals if the rest stays at the reference
        # (least) or is left uncompressed (most).
        spent = least = most = 0.0
        for k in range(terms.shape[0]):
            low = high = terms[k, 0]
            certain = True
            for d in range(terms[k, 1]):
                t, stride = terms[k, 2 + 2 * d], terms[k, 3 + 2 * d]
                low += stride * choices[t]
                if t < decided:
                    high += stride * choices[t]
                else:
                    high += stride * (sizes[t] - 1)
                    certain = False
            least += tables[low, metric]
            most += tables[high, metric]
            if certain:
                spent += tables[low, metric]
        row = observations[n]
        row[:static] = features[step]
        row[static] = min(1.0, spent / scale)
        row[static + 1] = min(1.0, least / scale)
        row[static + 2] = min(1.0, most / scale)
        row[static + 3] = budget
        for a in range(slots.shape[1]):
            t = slots[step - 1, a] if step > 0 else -1
            row[static + 4 + a] = (choices[t] + 0.5) / sizes[t] if t >= 0 else 0.0
