"""What strangers send is verified or refused with a reason, never a traceback."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard.replay import replay
from leaderboard.site import build_site
from leaderboard.verdicts import Verdict
from tests.leaderboard.examples import TRACKS, changed, nasty_cases, valid, written

NASTY = nasty_cases()


@pytest.mark.parametrize("case", NASTY)
def test_nasty_files_are_malformed(case, tmp_path):
    data, words = NASTY[case]
    replayed = replay(written(tmp_path / "class", data), TRACKS)
    assert replayed.verdict is Verdict.MALFORMED
    told = "; ".join(replayed.reasons)
    assert words in told and told.isascii() and told.isprintable() and len(told) < 2000


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "missing"])
def test_only_regular_files_are_read(kind, tmp_path):
    path = tmp_path / "mine.json"
    if kind == "link":
        path.symlink_to(written(tmp_path / "elsewhere", valid()))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    replayed = replay(path, TRACKS)
    assert replayed.verdict is Verdict.MALFORMED and replayed.reasons


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../x", "<script>", "digits-cnn", "live", 10**30, -1, 0.5, 8])
)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from(["a", "seed"]), scalars, max_size=2)
changes = st.tuples(
    st.lists(st.integers(0, 30), max_size=4), st.sampled_from(["replace", "remove", "add", "double"]), values
)


def mutate(submission, path, how, value):
    """Changes one node, found by walking down as far as the path leads."""
    parent, key, node = None, None, submission
    for step in path:
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            break
        parent, key = node, keys[step % len(keys)]
        node = parent[key]
    if parent is None:
        return value if how == "replace" else submission
    if how == "remove":
        del parent[key]
    elif how == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(node))
    elif how == "add" and isinstance(parent, dict):
        parent[str(value)[:50]] = value
    else:
        parent[key] = value
    return submission


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@given(st.lists(changes, min_size=1, max_size=3), st.sampled_from(sorted(TRACKS)))
@settings(max_examples=1200, suppress_health_check=list(HealthCheck))
def test_mutated_values(folder, mutations, track):
    submission = copy.deepcopy(GOOD[track])
    for path, how, value in mutations:
        submission = mutate(submission, path, how, value)
    check(folder / track, json.dumps(submission).encode())


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 8)), min_size=1, max_size=4))
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
def test_mutated_bytes(folder, edits):
    data = json.dumps(GOOD["class"]).encode()
    for position, inserted, removed in edits:
        at = position % len(data)
        data = data[:at] + inserted + data[at + removed :]
    check(folder / "class", data)


@given(st.lists(st.lists(changes, min_size=1, max_size=2), min_size=8, max_size=8))
@settings(max_examples=7, suppress_health_check=list(HealthCheck), deadline=None)
def test_a_site_is_built_of_mutated_files(tmp_path_factory, mutated):
    """Some 50 files: each has a page or is told to be refused."""
    folder = tmp_path_factory.mktemp("site")
    for n, mutations in enumerate(mutated):
        submission = copy.deepcopy(valid(name=f"m{n}"))
        for path, how, value in mutations:
            submission = mutate(submission, path, how, value)
        written(folder / "submissions" / "class", submission, f"m{n}")
    build_site(folder / "submissions", folder / "verified", {"class": TRACKS["class"]}, folder / "out")
    index = (folder / "out" / "index.html").read_text()
    for n in range(len(mutated)):
        assert (folder / "out" / "class" / f"m{n}.html").exists() is not (f"class/m{n}.json</code>: " in index)


GOOD = {name: valid(track) for name, track in TRACKS.items()}


def check(folder: Path, data: bytes) -> None:
    replayed = replay(written(folder, data), TRACKS)
    assert replayed.verdict.listed or replayed.reasons
    told = "; ".join(replayed.reasons)
    assert told.isascii() and told.isprintable() and len(told) < 3000


@pytest.mark.parametrize(
    "name", ["Änne Ångström", "Дмитрий Иванов", "Γιώργος Σεφέρης", "Nguyễn Văn A", "ฟ้า น้ำ", "李明"]
)
def test_people_may_be_called_as_they_are(name, tmp_path):
    replayed = replay(written(tmp_path / "class", changed(valid(), "authors", to=[name])), TRACKS)
    assert replayed.verdict is Verdict.BY_TABLE, replayed.reasons


@pytest.mark.parametrize(
    "link", ["https://Example.org/a?b=c#d", "https://a-b.example.co.uk:8443/x", "https://x.xn--p1ai"]
)
def test_usual_links_are_taken(link, tmp_path):
    replayed = replay(written(tmp_path / "class", changed(valid(), "link", to=link)), TRACKS)
    assert replayed.verdict is Verdict.BY_TABLE, replayed.reasons


@pytest.mark.parametrize("track", TRACKS)
def test_what_is_mutated_is_valid(track, tmp_path):
    replayed = replay(written(tmp_path / track, valid(TRACKS[track])), TRACKS)
    assert replayed.verdict.listed, replayed.reasons
