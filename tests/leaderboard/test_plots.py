from __future__ import annotations

from xml.etree import ElementTree as XML

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.problem.decisions import Decision, DecisionSpace
from leaderboard.plots import Point, front_plot, strategy_plot

NOTHING = (np.zeros(0), np.zeros(0))
numbers = st.floats(0, 1)


def parsed(svg: str) -> XML.Element:
    return XML.fromstring(svg.replace('xmlns="http://www.w3.org/2000/svg"', ""))


@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.lists(st.tuples(numbers, numbers), max_size=5), numbers)
def test_any_entries_and_any_front_are_drawn_within_the_picture(entries, known, budget):
    points = [Point(str(n + 1), f"n{n}", "x.html", np.array([x]), np.array([y])) for n, (x, y) in enumerate(entries)]
    front = (np.array([x for x, _ in known]), np.array([y for _, y in known]))
    svg = parsed(front_plot(points, front, budget, "cost", "accuracy", "title", "key"))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    circles = svg.findall(".//circle")
    assert len(circles) == 2 * len(points)
    assert all(0 <= float(c.attrib["cx"]) <= width and 0 <= float(c.attrib["cy"]) <= height for c in circles)
    names = [float(t.attrib["y"]) for t in svg.findall("text") if t.text and " n" in t.text]
    assert len(set(names)) == len(names) and all(0 <= y <= height for y in names)
    assert all(b - a > 10 for a, b in zip(sorted(names), sorted(names)[1:], strict=False))


def test_text_is_escaped_and_a_title_is_read_out():
    point = Point("1", "<script>", "javascript-is-no-name.html", np.array([0.4]), np.array([0.5]))
    text = front_plot([point], NOTHING, 0.5, "<cost>", "accuracy", 'a "title"', "key")
    assert "<script>" not in text and "<cost>" not in text
    assert parsed(text).attrib["aria-label"] == 'a "title"'


def test_bars_are_as_long_as_what_is_kept():
    space = DecisionSpace((Decision("a", "channels", (4, 8, 16)), Decision("b", "channels", (8, 32))))
    svg = parsed(strategy_plot(space, np.array([1, 1]), np.array([[1, 1], [2, 0]]), "title"))
    full = [float(r.attrib["width"]) for r in svg.findall("rect[@class='full']")]
    kept = [float(r.attrib["width"]) for r in svg.findall("rect[@class='kept']")]
    assert kept == pytest.approx([full[0] / 2, full[1]])
    assert len(svg.findall("line[@class='mark']")) == 4


def test_labels_are_written_and_stand_at_their_places():
    space = DecisionSpace((Decision("a", "other", ("dense", "2:4", "block-4x8", "none")),))
    svg = parsed(strategy_plot(space, np.array([1]), np.array([[1], [3]]), "title"))
    full, kept = (float(svg.find(f"rect[@class='{kind}']").attrib["width"]) for kind in ("full", "kept"))
    assert kept == pytest.approx(full / 2)
    assert "2:4" in [text.text for text in svg.findall("text")]


def test_decisions_that_are_not_made_have_no_bar():
    space = DecisionSpace(
        (Decision("depth", "other", (1, 2)), Decision("width", "other", (8, 16), requires=("depth", 2)))
    )
    svg = parsed(strategy_plot(space, np.array([0, 0]), np.array([[0, 0]]), "title"))
    assert len(svg.findall("rect[@class='kept']")) == 1
    assert any("not made" in (text.text or "") for text in svg.findall("text"))
