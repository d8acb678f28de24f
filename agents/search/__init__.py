"""Searches without learning, one readable file each.

A method is a generator: it yields strategies `[n, T]` and is sent their rewards `[n]`. It may end; the runner stops it
when the allowance of evaluations is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from agents.runs import Scored
from agents.search.aging_evolution import aging_evolution
from agents.search.annealing import annealing
from agents.search.bayesian import gaussian_process, tpe
from agents.search.cma_es import cma_es
from agents.search.evolution import evolution, hat_evolution
from agents.search.hand_made import deep_heavy, shallow_heavy
from agents.search.hill_climb import hill_climb
from agents.search.integer_program import integer_program
from agents.search.method import SearchMethod
from agents.search.netadapt import netadapt
from agents.search.random_search import random_search
from agents.search.uniform import uniform
from compress_gym.problem import Problem
from compress_gym.support.errors import unknown_name

METHODS: dict[str, Callable[[Problem, np.random.Generator], SearchMethod]] = {
    "uniform": uniform,
    "shallow-heavy": shallow_heavy,
    "deep-heavy": deep_heavy,
    "random": random_search,
    "hill-climb": hill_climb,
    "evolution": evolution,
    "hat-evolution": hat_evolution,
    "annealing": annealing,
    "aging-evolution": aging_evolution,
    "tpe": tpe,
    "gaussian-process": gaussian_process,
    "cma-es": cma_es,
    "netadapt": netadapt,
    "integer-program": integer_program,
}


def search(problem: Problem, method: str, evaluations: int, seed: int) -> Iterator[Scored]:
    """Runs a method for at most `evaluations` evaluations, duplicates included.

    Args:
        problem: What is searched.
        method: A name of `METHODS`.
        evaluations: The allowance; kept exactly.
        seed: Of the method's random generator.

    Yields:
        Each evaluation, in order.

    Raises:
        KeyError: Unknown method.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    running = METHODS[method](problem, np.random.default_rng(seed))
    left = evaluations
    try:
        asked = next(running)
        while left > 0:
            result = problem.evaluate(asked[:left])
            yield from Scored.of(problem, asked[:left], result)
            left -= len(result.reward)
            if left > 0:
                asked = running.send(result.reward)
    except StopIteration:
        return
