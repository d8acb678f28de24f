"""Pictures of a suite: regret against evaluations, and performance profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.statistics import curve_interval, performance_profile
from benchmarks.search.scores import Results
from benchmarks.search.suites import CHECKPOINTS, LEARNERS
from compress_gym.support.cards import write_atomically

POINTS = np.unique(np.concatenate([np.arange(1, 20, 2), np.arange(20, CHECKPOINTS[-1] + 1, 5)]))
THRESHOLDS = np.linspace(-0.5, 1.2, 171)
# Drawn beside the learners, so that both columns can be compared.
COMMON = ("random", "evolution")


def plot_curves(results: Results, path: Path) -> None:
    """Draws regret against evaluations: a row a problem, learners on the left and searches on the right."""
    figure, grid = _figure(len(results.problems), 2)
    for axes_row, problem in zip(grid, results.problems, strict=True):
        for axes, methods in zip(axes_row, _columns(results), strict=True):
            for color, method in enumerate(methods):
                _curve(axes, results, problem, method, color)
            axes.set_title(problem, fontsize=9)
            axes.set_xlabel("evaluations")
            axes.set_ylabel("regret, points")
            _legend(axes)
    _save(figure, path)


def plot_profiles(results: Results, evaluations: int, path: Path) -> None:
    """Draws which fraction of runs scores above each normalised score."""
    figure, grid = _figure(1, 2)
    for axes, methods in zip(grid[0], _columns(results), strict=True):
        for color, method in enumerate(methods):
            matrix = results.matrix(method, evaluations)
            if matrix is not None:
                axes.plot(THRESHOLDS, performance_profile(matrix, THRESHOLDS), label=method, **_style(color))
        axes.set_xlabel(f"normalised score at {evaluations} evaluations")
        axes.set_ylabel("fraction of runs above it")
        _legend(axes)
    _save(figure, path)


def _columns(results: Results) -> tuple[list[str], list[str]]:
    learners = [m for m in results.methods if m in LEARNERS]
    common = [m for m in COMMON if m in results.methods]
    return common + learners, common + [m for m in results.methods if m not in (*LEARNERS, *COMMON)]


def _curve(axes: Any, results: Results, problem: str, method: str, color: int) -> None:
    regrets = [results.regret_points(problem, method, int(n)) for n in POINTS]
    known = [(n, regret) for n, regret in zip(POINTS, regrets, strict=True) if regret is not None]
    if not known:
        return
    x = [n for n, _ in known]
    mean, low, high = curve_interval(np.stack([regret for _, regret in known], axis=1))
    axes.plot(x, mean, label=method, **_style(color))
    axes.fill_between(x, low, high, color=f"C{color % 10}", alpha=0.15, linewidth=0)


def _legend(axes: Any) -> None:
    if axes.lines:
        axes.legend(fontsize=7)


def _style(color: int) -> dict[str, Any]:
    return {"color": f"C{color % 10}", "linestyle": "-" if color < 10 else "--", "linewidth": 1.2}


def _figure(rows: int, columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.5 * columns, 4.2 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda p: figure.savefig(p, format="png"))
