"""The built site: the same bytes twice, its table equal to a recomputation, and nothing of a stranger let through."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from compress_gym.support.cards import sha256
from leaderboard.__main__ import RECORDS, SUBMISSIONS, cli
from leaderboard.live import conditions
from leaderboard.records import counts, read_record
from leaderboard.replay import replay
from leaderboard.site import COLUMNS, build_site, replay_command
from leaderboard.tracks import TRACKS as SHIPPED
from leaderboard.tracks import load_tracks
from tests.helpers import run_here
from tests.leaderboard.examples import CLASS, LATER, SURROGATE, changed, nasty_cases, valid, written
from tests.leaderboard.test_replay import TOML

TRACKS = {"class": CLASS, "surrogate": SURROGATE, "later": LATER}
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The cells of every table of a page, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.links: list[str] = []
        self.tags: list[str] = []
        self._cell = False
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        if tag == "table":
            self._table = attributes.get("id") or f"table {len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self._cell = True
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[self._table][-1][-1] += data


def recorded(folder, path, values, test, track=CLASS):
    """Writes a record with the given test accuracies, one for each result."""
    record = {
        "submission_sha256": sha256(path),
        "conditions": {task: conditions(task) for task in values["origins"]},
        "date": "2026-01-02",
        "processor": "a processor",
        "versions": {"torch": "2.0"},
        "results": [
            {
                "task": r["task"],
                "seed": r["seed"],
                "choices": track.problem(r["task"]).decisions.encode(r["strategy"]).tolist(),
                "validation_accuracy": r["validation_accuracy"],
                "test_accuracy": accuracy,
            }
            for r, accuracy in zip(values["results"], test, strict=True)
        ],
    }
    place = folder / values["track"] / f"{values['name']}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record))


@pytest.fixture
def folders(tmp_path):
    """Two ranked entries, a third without live scores, one by surrogate, two of an earlier version, two refused."""
    submissions, records = tmp_path / "submissions", tmp_path / "verified"
    for name, test in (("good", [0.7, 0.8]), ("better", [0.9, 0.8]), ("unscored", None)):
        values = changed(valid(name=name), "trained_on", to=["digits-cnn"] if name == "good" else [])
        path = written(submissions / "class", values, name)
        if test is not None:
            recorded(records, path, values, test)
    written(submissions / "surrogate", valid(SURROGATE), "mine")
    old = changed(valid(name="old"), "track", to="later")
    recorded(records, written(submissions / "later", old, "old"), old, [0.3, 0.5])
    written(submissions / "later", changed(valid(name="claimed"), "track", to="later"), "claimed")
    written(submissions / "class", nasty_cases()["NaN"][0], "nasty")
    written(submissions / "surrogate", valid(name="stray"), "stray")
    return submissions, records


def built(folders, out, tracks=TRACKS):
    build_site(*folders, tracks, out)
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_building_twice_gives_the_same_bytes(folders, tmp_path):
    assert built(folders, tmp_path / "a") == built(folders, tmp_path / "b")


def test_the_table_ranks_by_test_accuracy_and_lists_the_rest(folders, tmp_path):
    page = Page(built(folders, tmp_path / "site")["index.html"].decode())
    rows = page.tables["table-class"][1:]
    assert [row[:3] for row in rows] == [["1", "better", "85.00"], ["2", "good", "75.00"], ["–", "unscored", "–"]]
    assert [row[-2:] for row in rows] == [
        ["no", "verified live"],
        ["yes", "verified live"],
        ["no", "verified by table"],
    ]
    (surrogate,) = page.tables["table-surrogate"][1:]
    assert surrogate[0] == "–" and surrogate[-1] == "costs verified, accuracy by surrogate only"


def test_what_is_refused_or_retired_is_told_but_not_ranked(folders, tmp_path):
    files = built(folders, tmp_path / "site")
    index, archive = files["index.html"].decode(), files["archive.html"].decode()
    assert "class/nasty.json</code>: malformed; holds NaN" in index
    assert "surrogate/stray.json</code>: malformed; lies in a folder of another name" in index
    assert "later/claimed.json</code>: retired; made for compress_gym/ChannelPrune-v0" in index
    assert "and was never verified" in index and "claimed" not in archive
    assert "old" not in {cell for row in Page(index).tables["table-later"] for cell in row}
    (row,) = Page(archive).tables["table 0"][1:]
    assert row[:5] == ["later", "old", "compress_gym/ChannelPrune-v0", "40.00 %", "2026-01-02"]
    assert "archive/later/old.json" in Page(archive).links
    assert files["archive/later/old.json"] == (folders[0] / "later" / "old.json").read_bytes()


def test_downloads_are_the_bytes_that_were_replayed(tmp_path):
    data = json.dumps(valid(), indent=3).replace("\n", "\r\n").encode()
    written(tmp_path / "submissions" / "class", data)
    files = built((tmp_path / "submissions", tmp_path / "verified"), tmp_path / "site")
    assert files["class/mine.json"] == data


def test_seconds_of_a_run_and_of_training_stand_apart(tmp_path):
    """A learner trains while it is evaluated, or before that: neither makes the seconds of the run less."""
    values = valid()
    for result in values["results"]:
        result |= {"wall_seconds": 2.5, "training_seconds": 4.0}
    written(tmp_path / "submissions" / "class", values)
    files = built((tmp_path / "submissions", tmp_path / "verified"), tmp_path / "site")
    heads, row = Page(files["index.html"].decode()).tables["table-class"]
    told = dict(zip(heads, row, strict=True))
    assert (told["training s†"], told["evaluation run s†"]) == ("4.0", "2.5")


def test_no_page_has_an_id_twice(folders, tmp_path):
    for name, data in built(folders, tmp_path / "site").items():
        ids = re.findall(r'\bid="([^"]*)"', data.decode()) if name.endswith(".html") else []
        assert len(ids) == len(set(ids)), name


def test_the_command_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = SUBMISSIONS / "enumerated-digits" / "uniform.json"
    assert replay_command(path, SHIPPED).endswith(" leaderboard/submissions/enumerated-digits/uniform.json")


def test_a_record_counts_only_for_what_it_scored(folders, tmp_path):
    submissions, _ = folders
    path = submissions / "class" / "better.json"
    path.write_text(path.read_text().replace("Random search", "Better search"))
    rows = Page(built(folders, tmp_path / "site")["index.html"].decode()).tables["table-class"][1:]
    assert [row[:2] for row in rows] == [["1", "good"], ["–", "better"], ["–", "unscored"]]


def test_a_record_of_other_numbers_than_the_tables_counts_for_nothing(folders, tmp_path):
    path = folders[1] / "class" / "better.json"
    record = json.loads(path.read_text())
    for result in record["results"]:
        result |= {"validation_accuracy": 1.0, "test_accuracy": 1.0}
    path.write_text(json.dumps(record))
    rows = Page(built(folders, tmp_path / "site")["index.html"].decode()).tables["table-class"][1:]
    assert [row[:2] for row in rows] == [["1", "good"], ["–", "better"], ["–", "unscored"]]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_record_of_other_numbers_than_the_stated_ones_counts_for_nothing(split, tmp_path):
    values = changed(valid(SURROGATE), "origins", "cifar10-resnet20", "accuracy_source", to="live")
    for result in values["results"]:
        result["test_accuracy"] = 0.5
    path = written(tmp_path / "submissions" / "surrogate", values)
    recorded(tmp_path / "verified", path, values, [0.5, 0.5], SURROGATE)
    replayed = replay(path, TRACKS)
    record = read_record(tmp_path / "verified", replayed)
    assert counts(record, replayed)
    other = record.results[0].model_copy(update={f"{split}_accuracy": 0.4})
    assert not counts(record.model_copy(update={"results": (other, *record.results[1:])}), replayed)


def test_strangers_text_is_escaped_everywhere(tmp_path):
    values = valid()
    for key in ("method", "version", "command"):
        values[key] = SCRIPT
    values |= {"authors": [SCRIPT, '"><img src=x onerror=alert(1)>'], "parameters": {"a": SCRIPT}}
    values |= {"ranges_tried": {"a": SCRIPT}, "link": "https://example.org/<script>'onclick='"}
    written(tmp_path / "submissions" / "class", values)
    files = built((tmp_path / "submissions", tmp_path / "verified"), tmp_path / "site")
    for name, data in files.items():
        if name.endswith(".html"):
            page = Page(data.decode())
            assert "img" not in page.tags and page.tags.count("script") == 1, name
            assert "onclick" not in data.decode().replace("&#39;onclick=&#39;", ""), name


def test_spreadsheets_are_shown_no_formulas(tmp_path):
    written(tmp_path / "submissions" / "class", changed(valid(), "method", to="=1+1"))
    files = built((tmp_path / "submissions", tmp_path / "verified"), tmp_path / "site")
    (row,) = csv.DictReader(files["class.csv"].decode().splitlines())
    assert row["method"] == "'=1+1"


def test_links_lead_somewhere_and_nowhere_else(folders, tmp_path):
    files = built(folders, tmp_path / "site")
    for name, data in files.items():
        for link in Page(data.decode()).links if name.endswith(".html") else []:
            if link.startswith(("#", "data:,", "https://example.org")):
                continue
            target = (tmp_path / "site" / name).parent / link.partition("#")[0]
            assert target.resolve().is_relative_to((tmp_path / "site").resolve()) and target.exists(), (name, link)


def test_a_site_is_renewed_and_nothing_else_is_touched(folders, tmp_path):
    site = tmp_path / "site"
    built(folders, site)
    (folders[0] / "class" / "good.json").unlink()
    assert "class/good.html" not in built(folders, site)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "index.html").write_text("mine")
    with pytest.raises(ValueError, match="no leaderboard"):
        build_site(*folders, TRACKS, foreign)
    assert (foreign / "index.html").read_text() == "mine"


def test_an_empty_folder_is_a_page_of_empty_tables(tmp_path):
    (tmp_path / "submissions").mkdir()
    page = Page(built((tmp_path / "submissions", tmp_path / "verified"), tmp_path / "site")["index.html"].decode())
    assert [row for row in page.tables["table-class"] if row[0] != "rank"] == [["No entries yet"]]
    assert (tmp_path / "site" / "class.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_the_shipped_page_equals_a_recomputation_from_the_files(tmp_path):
    """Here computed in another way: from submission and record, by decision names and plain means."""
    tracks = load_tracks()
    files = built((SUBMISSIONS, RECORDS), tmp_path / "site", tracks)
    page = Page(files["index.html"].decode())
    for name, track in tracks.items():
        rows = {row["name"]: row for row in csv.DictReader(files[f"{name}.csv"].decode().splitlines())}
        assert [row[1] for row in page.tables[f"table-{name}"][1:] if len(row) > 1] == list(rows)
        assert set(rows) == {path.stem for path in (SUBMISSIONS / name).glob("*.json")}
        means = {}
        ratio_column = page.tables[f"table-{name}"][0].index(f"{track.cost} ratio")
        for cells in page.tables[f"table-{name}"][1:] if rows else []:
            submission = json.loads((SUBMISSIONS / name / f"{cells[1]}.json").read_text())
            record = RECORDS / name / f"{cells[1]}.json"
            problem = track.problem(track.tasks[0])
            strategies = np.array([problem.decisions.encode(r["strategy"]) for r in submission["results"]])
            ratios = problem.costs(strategies)[track.cost] / problem.baseline_costs[track.cost]
            assert float(cells[ratio_column]) == pytest.approx(ratios.mean(), abs=5.1e-5)
            assert float(rows[cells[1]]["cost_ratio"]) == pytest.approx(ratios.mean(), abs=1e-6)
            if not record.exists():
                assert cells[0] == cells[2] == "–"
                continue
            scored = json.loads(record.read_text())["results"]
            means[cells[1]] = round(np.mean([r["test_accuracy"] for r in scored]), 9)
            validation = np.mean([r["validation_accuracy"] for r in scored])
            # Rounded first: the mean of ten counts of 400 images lies in the middle between two hundredths.
            assert cells[2] == f"{round(100 * means[cells[1]], 4):.2f}"
            assert cells[4] == f"{round(100 * validation, 4):.2f}"
            low, high = float(rows[cells[1]]["test_low"]), float(rows[cells[1]]["test_high"])
            assert low - 1e-3 <= 100 * means[cells[1]] <= high + 1e-3
        for cells in page.tables[f"table-{name}"][1:] if rows else []:
            if cells[1] in means:
                assert int(cells[0]) == 1 + sum(other > means[cells[1]] for other in means.values())


def test_a_class_builds_its_own_board(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "class.toml").write_text(TOML)
    places = ["--submissions", folders[0], "--records", folders[1], "--tracks", tmp_path / "class.toml"]
    code, out, err = run_here(cli, ["build", *places, "--out", tmp_path / "Klasse 7ä"], monkeypatch, capsys)
    assert code == 0, err
    assert "pages written" in out and (tmp_path / "Klasse 7ä" / "class" / "good.html").exists()


def test_a_damaged_record_is_named(folders, tmp_path):
    path = folders[1] / "class" / "good.json"
    path.write_text(path.read_text().replace("0.7", "7"))
    with pytest.raises(ValueError, match="good.json.*test_accuracy"):
        built(folders, tmp_path / "site")
