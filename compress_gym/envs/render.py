"""An episode drawn: what each decision keeps, cost against budget, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from compress_gym.problem import Problem
from compress_gym.problem.budgets import TOLERANCE

_WIDTH = 32


@dataclass(frozen=True)
class Frame:
    """One picture of an episode.

    Attributes:
        names: Names of the decisions.
        values: Value of each decision that was made; `None` for the others.
        uncompressed: Reference of each decision.
        highest: Highest value of each decision that has numbers; `None` where it has labels, which have no height.
        cost: Name of the bounded cost.
        cost_ratio: Cost of the strategy so far, the rest at the cheapest, as a fraction of the uncompressed cost.
        budget: The budget, as the same fraction.
        accuracy: Accuracy of the finished network; `None` before.
        baseline_accuracy: Accuracy of the uncompressed network.
    """

    names: tuple[str, ...]
    values: tuple[int | str | None, ...]
    uncompressed: tuple[int | str, ...]
    highest: tuple[int | None, ...]
    cost: str
    cost_ratio: float
    budget: float
    accuracy: float | None
    baseline_accuracy: float

    @classmethod
    def of(cls, problem: Problem, strategy: NDArray[np.int64], decided: int, info: Mapping[str, Any]) -> Frame:
        """Builds the frame of a problem's strategy of which the first `decided` decisions are made."""
        values = list(problem.describe(strategy).values())
        cost = float(problem.costs(strategy)[problem.cost][0])
        return cls(
            problem.decisions.names,
            tuple(v if t < decided else None for t, v in enumerate(values)),
            tuple(d.values[d.reference_choice] for d in problem.decisions.decisions),
            tuple(None if d.has_labels else d.numbers[-1] for d in problem.decisions.decisions),
            problem.cost,
            cost / problem.baseline_costs[problem.cost],
            problem.budget,
            info.get("accuracy"),
            problem.accuracy_model.baseline,
        )


def write(frame: Frame) -> str:
    """Returns a frame as text."""
    width = max(len(name) for name in (*frame.names, frame.cost, "accuracy"))
    lines = []
    rows = zip(frame.names, frame.values, frame.uncompressed, frame.highest, strict=True)
    for name, value, uncompressed, highest in rows:
        bar = " " * _WIDTH if highest is None else _bar(_height(value) / highest)
        whole = f"(uncompressed {uncompressed})" if highest is None else f"of {uncompressed}"
        lines.append(f"{name:<{width}} |{bar}| {'-' if value is None else value} {whole}")
    over = "" if frame.cost_ratio <= frame.budget * (1 + TOLERANCE) else " (over budget)"
    lines.append(f"{frame.cost:<{width}} |{_bar(frame.cost_ratio)}| {frame.cost_ratio:.3f} of {frame.budget:.3f}{over}")
    shown = "-" if frame.accuracy is None else f"{frame.accuracy:.4f}"
    lines.append(
        f"{'accuracy':<{width}} |{_bar(frame.accuracy or 0)}| {shown} (uncompressed {frame.baseline_accuracy:.4f})"
    )
    return "\n".join(lines)


def draw(frame: Frame) -> NDArray[np.uint8]:
    """Returns a frame as a uint8 image `[height, width, 3]`.

    Raises:
        DependencyNotInstalled: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyNotInstalled(
            "render_mode='rgb_array' needs matplotlib; install it with: pip install 'compress_gym[render]'"
        ) from error
    figure = Figure(figsize=(6.4, 4.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    bars, totals = figure.subplots(1, 2, width_ratios=[max(2, len(frame.names) / 3), 1])
    positions = range(len(frame.names))
    bars.bar(positions, list(map(_height, frame.uncompressed)), color="#dddddd", label="uncompressed")
    bars.bar(positions, list(map(_height, frame.values)), color="#1f77b4", label="kept")
    for x, value in zip(positions, frame.values, strict=True):
        if value is not None:
            turned = 90 if isinstance(value, str) else 0
            bars.text(x, _height(value), str(value), ha="center", va="bottom", fontsize=8, rotation=turned)
    bars.set_xticks(list(positions), _labels(frame.names), rotation=60, fontsize=8)
    bars.set_ylim(0, max((highest for highest in frame.highest if highest is not None), default=1) * 1.2)
    bars.legend(fontsize=8, loc="upper left", ncols=2)
    fits = frame.cost_ratio <= frame.budget * (1 + TOLERANCE)
    totals.bar([0], [frame.cost_ratio], color="#2ca02c" if fits else "#d62728")
    totals.bar([1], [frame.accuracy or 0], color="#9467bd")
    totals.hlines(frame.budget, -0.45, 0.45, color="black", linestyle="--")
    totals.hlines(frame.baseline_accuracy, 0.55, 1.45, color="black", linestyle=":")
    totals.text(0, frame.budget, "budget", ha="center", va="bottom", fontsize=8)
    shown = "" if frame.accuracy is None else f"{frame.accuracy:.3f}"
    totals.text(1, (frame.accuracy or 0) / 2, shown, ha="center", va="center", fontsize=8, color="white")
    totals.set_xticks([0, 1], [frame.cost, "accuracy"], rotation=60, fontsize=8)
    totals.set_ylim(0, 1.08)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _labels(names: tuple[str, ...]) -> list[str]:
    """Leaves out what kind a decision is of, where each layer has one decision alone."""
    layers = [name.rsplit(".", 1)[0] for name in names]
    return layers if len(set(layers)) == len(names) else list(names)


def _height(value: int | str | None) -> int:
    """Returns how high a value is drawn: a label, or none, has no height."""
    return 0 if value is None or isinstance(value, str) else value


def _bar(fraction: float) -> str:
    filled = round(min(1.0, max(0.0, fraction)) * _WIDTH)
    return "#" * filled + "." * (_WIDTH - filled)
