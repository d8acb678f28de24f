"""Pictures as SVG: entries beside the known front, and a strategy's decisions as bars.

Colours are CSS classes, so that pictures follow the page into dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as XML

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.decisions import Decision, DecisionSpace

_WIDTH, _HEIGHT = 960, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 210, 16, 52
# Names stand in a column at the right; those for which there is no room are in the table alone.
_NAME_STEP = 16
_BAR_LABEL, _BAR_WIDTH, _BAR_STEP = 250, 400, 22


@dataclass(frozen=True)
class Point:
    """An entry on a plot.

    Attributes:
        label: Its rank, or "" without one.
        name: What is read out and shown on hovering.
        target: Where its link leads.
        x: Cost ratio of each seed.
        y: Accuracy of each seed, fraction of 1.
    """

    label: str
    name: str
    target: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def front_plot(
    points: Sequence[Point],
    front: tuple[NDArray[np.float64], NDArray[np.float64]],
    budget: float,
    x_label: str,
    y_label: str,
    title: str,
    key: str,
) -> str:
    """Draws entries (each seed small, the mean large), the known front and the budget; zoomed to the entries.

    Args:
        points: The entries.
        front: Cost ratios, ascending, and accuracies of the strategies known to be best.
        budget: The ceiling.
        x_label: What the cost is.
        y_label: What the accuracy is.
        title: Read out by a screen reader.
        key: Tells the picture from others on the same page.
    """
    xs = np.concatenate([*(p.x for p in points), [budget]])
    known = front[1][(front[0] >= xs.min()) & (front[0] <= budget)]
    ys = np.concatenate([*(p.y for p in points), known, [] if points or len(known) else [0.0, 1.0]])
    low_x, high_x = _padded(float(xs.min()), float(xs.max()))
    low_y, high_y = _padded(float(ys.min()), float(ys.max()))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - low_y) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    svg = _svg(_WIDTH, _HEIGHT, title)
    clip = XML.SubElement(XML.SubElement(svg, "clipPath", id=f"inside-{key}"), "rect", x=str(_LEFT), y=str(_TOP))
    clip.attrib |= {"width": str(_WIDTH - _LEFT - _RIGHT), "height": str(_HEIGHT - _TOP - _BOTTOM)}
    for tick in _ticks(low_x, high_x):
        x, _ = at(tick, low_y)
        _line(svg, "grid", (x, _TOP), (x, _HEIGHT - _BOTTOM))
        _text(svg, x, _HEIGHT - _BOTTOM + 18, f"{tick:.4g}", "middle")
    for tick in _ticks(low_y, high_y):
        _, y = at(low_x, tick)
        _line(svg, "grid", (_LEFT, y), (_WIDTH - _RIGHT, y))
        _text(svg, _LEFT - 8, y + 4, f"{100 * tick:.4g}", "end")
    _text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_label, "middle")
    vertical = _text(svg, 0, 0, y_label, "middle")
    vertical.attrib["transform"] = f"translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)"
    _line(svg, "budget", at(budget, low_y), at(budget, high_y))
    steps = _steps(front)
    if steps:
        line = XML.SubElement(svg, "polyline", {"class": "front", "clip-path": f"url(#inside-{key})"})
        line.attrib["points"] = " ".join(f"{a},{b}" for a, b in (at(x, y) for x, y in steps))
    for point in points:
        for x, y in zip(point.x.tolist(), point.y.tolist(), strict=True):
            _circle(svg, "seed", at(x, y), 2.5)
    centres = [at(float(point.x.mean()), float(point.y.mean())) for point in points]
    for n, y in _name_places([centre[1] for centre in centres]):
        _line(svg, "leader", centres[n], (_WIDTH - _RIGHT + 6, y))
        _text(svg, _WIDTH - _RIGHT + 10, y + 4, f"{points[n].label or '–'}  {points[n].name}", "start")
    for point, centre in zip(points, centres, strict=True):
        # For the mouse alone: a picture is one thing to a screen reader, and the table has the same links.
        link = XML.SubElement(svg, "a", {"href": point.target, "class": "point", "tabindex": "-1"})
        XML.SubElement(link, "title").text = f"{point.name}: {100 * point.y.mean():.2f} at {point.x.mean():.4f}"
        _circle(link, "mean" if point.label else "mean unranked", centre, 5)
    return XML.tostring(svg, encoding="unicode")


def strategy_plot(decisions: DecisionSpace, shown: NDArray[np.int64], seeds: NDArray[np.int64], title: str) -> str:
    """Draws one bar a decision: what is kept of the largest value, and a mark for each seed.

    Labels have no size: they stand at their place in the list.

    Args:
        decisions: What is decided.
        shown: The strategy drawn as bars, int64 `[T]`.
        seeds: The strategies of all seeds, int64 `[seeds, T]`.
        title: Read out by a screen reader.
    """
    svg = _svg(_BAR_LABEL + _BAR_WIDTH + 110, _BAR_STEP * len(decisions) + 8, title)
    active = decisions.active(shown)[0]
    for t, decision in enumerate(decisions.decisions):
        lengths = _lengths(decision)
        y = 4 + _BAR_STEP * t
        _text(svg, _BAR_LABEL - 8, y + 14, decision.name, "end")
        if not active[t]:
            _text(svg, _BAR_LABEL, y + 14, "not made: an earlier decision leaves it out", "start")
            continue
        _rectangle(svg, "full", y, _BAR_WIDTH)
        _rectangle(svg, "kept", y, lengths[shown[t]])
        for choice in sorted(set(seeds[:, t].tolist())):
            x = _BAR_LABEL + lengths[choice]
            _line(svg, "mark", (round(x, 1), y), (round(x, 1), y + 16))
        kept = str(decision.values[shown[t]]) + ("" if decision.has_labels else f" of {decision.values[-1]}")
        _text(svg, _BAR_LABEL + _BAR_WIDTH + 8, y + 14, kept, "start")
    return XML.tostring(svg, encoding="unicode")


def _lengths(decision: Decision) -> list[float]:
    """Returns how long the bar of each choice is."""
    sizes = range(1, len(decision.values) + 1) if decision.has_labels else decision.numbers
    return [_BAR_WIDTH * size / sizes[-1] for size in sizes]


def _svg(width: int, height: int, title: str) -> XML.Element:
    svg = XML.Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": title})
    svg.attrib["xmlns"] = "http://www.w3.org/2000/svg"
    return svg


def _name_places(heights: Sequence[float]) -> list[tuple[int, float]]:
    """Returns which points get a name, the first ones where there is no room for all, and at which height it stands."""
    room = (_HEIGHT - _TOP - _BOTTOM) // _NAME_STEP
    places: list[tuple[int, float]] = []
    for n in sorted(range(min(len(heights), room)), key=lambda n: heights[n]):
        places.append((n, max(heights[n], places[-1][1] + _NAME_STEP) if places else heights[n]))
    # Names that would stand below the axis are moved up, and those above them as far as needed.
    lowest = float(_HEIGHT - _BOTTOM)
    for at in range(len(places) - 1, -1, -1):
        places[at] = (places[at][0], min(places[at][1], lowest))
        lowest = places[at][1] - _NAME_STEP
    return places


def _steps(front: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[tuple[float, float]]:
    """A front is a staircase: a strategy stays the best known until a more accurate one is affordable."""
    corners: list[tuple[float, float]] = []
    for x, y in zip(front[0].tolist(), front[1].tolist(), strict=True):
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners


def _padded(low: float, high: float) -> tuple[float, float]:
    room = max(0.06 * (high - low), 0.005)
    return low - room, high + room


def _ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Returns round numbers between two values."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [round(step * n, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(parent: XML.Element, kind: str, a: tuple[float, float], b: tuple[float, float]) -> None:
    ends = {"x1": a[0], "y1": a[1], "x2": b[0], "y2": b[1]}
    XML.SubElement(parent, "line", {"class": kind, **{key: str(value) for key, value in ends.items()}})


def _circle(parent: XML.Element, kind: str, centre: tuple[float, float], radius: float) -> None:
    XML.SubElement(parent, "circle", {"class": kind, "cx": str(centre[0]), "cy": str(centre[1]), "r": str(radius)})


def _rectangle(parent: XML.Element, kind: str, y: float, width: float) -> None:
    place = {"x": str(_BAR_LABEL), "y": str(y), "width": str(round(width, 1)), "height": "16"}
    XML.SubElement(parent, "rect", {"class": kind, **place})


def _text(parent: XML.Element, x: float, y: float, text: str, anchor: str) -> XML.Element:
    element = XML.SubElement(parent, "text", {"x": str(x), "y": str(y), "text-anchor": anchor})
    element.text = text
    return element
