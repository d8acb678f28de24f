"""Pictures of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.runs import Scored
from compress_gym.problem import Problem
from compress_gym.support.cards import write_atomically


def plot_curve(runs: Mapping[str, Sequence[Scored]], path: Path, optimum: float | None = None) -> None:
    """Draws the best reward so far over evaluations, one line a run; a single run shows its evaluations too."""
    figure, axes = _figure()
    for color, (name, scored) in enumerate(runs.items()):
        rewards = np.array([s.reward for s in scored])
        x = np.arange(1, len(rewards) + 1)
        if len(runs) == 1:
            axes.plot(x, rewards, ".", color="#bbbbbb", markersize=3, label="each evaluation")
        best = np.maximum.accumulate(rewards)
        style = "o" if len(x) == 1 else "-"
        axes.plot(x, best, style, color=f"C{color}", drawstyle="steps-post", label=f"{name}: best so far")
    if optimum is not None:
        axes.axhline(optimum, color="black", linestyle=":", label="true optimum")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("reward")
    axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def plot_pareto(problem: Problem, found: Mapping[str, Scored], path: Path) -> None:
    """Draws every strategy of an enumerated problem, the front, the budget, and what each method found."""
    strategies, accuracy = problem.enumerate()
    ratio = problem.costs(strategies)[problem.cost] / problem.baseline_costs[problem.cost]
    figure, axes = _figure()
    axes.plot(ratio, accuracy, ",", color="#9ecae1")
    axes.plot([], [], "s", color="#9ecae1", label=f"all {len(ratio):,} strategies")
    x, y = front(ratio, accuracy)
    axes.plot(x, y, color="#08519c", drawstyle="steps-post", label="front")
    axes.axvline(problem.budget, color="black", linestyle="--", linewidth=1, label="budget")
    markers = "os^Dvp*X"
    for i, (name, scored) in enumerate(found.items()):
        axes.plot(
            scored.cost_ratio,
            scored.accuracy,
            markers[i % len(markers)],
            color=f"C{i + 1}",
            markeredgecolor="black",
            label=name,
        )
    axes.set_xlabel(f"{problem.cost} as a fraction of the uncompressed network's")
    axes.set_ylabel("validation accuracy")
    axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def front(cost: NDArray[np.float64], accuracy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns costs and accuracies of the strategies that no other one beats in both."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    new = np.concatenate([[True], best[1:] > best[:-1]])
    return cost[order][new], accuracy[order][new]


def _figure():  # type: ignore[no-untyped-def]
    figure = Figure(figsize=(7.0, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda p: figure.savefig(p, format="png"))
