"""How many strategies a second the cost kernels evaluate, and how long cost terms take to compile."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from compress_gym.devices import load_device
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.kinds import Case
from compress_gym.problem.costs.kernels import strategy_cost
from compress_gym.support.jit import jit

REPETITIONS = 7
STRATEGIES = 200_000


@jit
def bounded_costs(terms, tables, metric, strategies, costs):  # type: ignore[no-untyped-def]
    """Evaluates one metric of strategies `[N, T]` into `costs` `[N]`, as a budget check does."""
    for n in range(strategies.shape[0]):
        costs[n] = strategy_cost(terms, tables, metric, strategies[n])


def measure(case: Case, device: str | None) -> list[dict[str, Any]]:
    """Times cost evaluation on one thread.

    Args:
        case: A task, pruned.
        device: A device that was profiled for it; `None`: the case's.

    Returns:
        Strategies a second (median and p10 of the time) for the bounded cost alone and for all costs, and the seconds
        that compiling the cost terms takes.
    """
    network, decisions = case.task.network(), case.decisions()
    compile_seconds = []
    for _ in range(REPETITIONS):
        hardware = load_device(device or case.default_device() or "")
        network_cost_terms.cache_clear()  # as the first environment of a process finds it
        started = time.perf_counter()
        terms = network_cost_terms(network, decisions, hardware)
        compile_seconds.append(time.perf_counter() - started)
    rows = np.random.default_rng(0).integers(decisions.sizes, size=(STRATEGIES, len(decisions)))
    costs, latency = np.empty(STRATEGIES), terms.column("latency_ms")
    cases = {
        "bounded cost": lambda: bounded_costs(terms.terms, terms.tables, latency, rows, costs),
        "all costs": lambda: terms.evaluate(rows),
    }
    found: list[dict[str, Any]] = []
    for name, run in cases.items():
        run()
        seconds = []
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        found.append(
            {
                "case": name,
                "strategies_per_second": round(STRATEGIES / float(np.median(seconds))),
                "best": round(STRATEGIES / float(np.quantile(seconds, 0.1))),
            }
        )
    found.append({"case": "compiling the cost terms, seconds", "median": round(float(np.median(compile_seconds)), 4)})
    return found
