from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from benchmarks.search.references import reference
from benchmarks.search.report import write_report
from benchmarks.search.suites import DIGITS, Suite
from compress_gym.kinds import get_case
from docs.generator.readme import DOCUMENTS, RESULTS, demo_section, measured_section, with_sections
from tests.benchmarks.examples import record
from tests.code_blocks import blocks_of, look_through, run_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_is_that_of_the_results():
    assert demo_section() in README


def test_what_is_said_to_be_measured_is_on_the_cards():
    assert measured_section() in README


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.parent.name)
def test_what_is_generated_is_that_of_the_results(path):
    assert with_sections(path.read_text()) == path.read_text()


def test_a_figure_that_differs_from_the_results_is_found(tmp_path):
    suite = Suite((DIGITS,), ("random", "uniform"), seeds=2)
    ends = reference(DIGITS)
    middling = ends.uniform + 0.37 * (ends.best - ends.uniform)
    runs = [record(method, seed, {1: ends.uniform, 50: middling}) for method in suite.methods for seed in range(2)]
    write_report("tiny", suite, runs, tmp_path, "python -m benchmarks.search --suite tiny")
    marker = f"<!-- search table: {tmp_path / 'tiny.json'} -->"
    of_all = f"<!-- results of searches: {tmp_path / 'tiny.json'} -->\n<!-- end of results of searches -->"
    of_one = f"<!-- result of random: {tmp_path / 'tiny.json'} -->"
    text = f"{README}\n{marker}\nto be renewed\n<!-- end of search table -->\n{of_one}\n<!-- end of result -->\n"
    text += f"{of_all}\n"
    text = with_sections(text)
    assert "Made by `python -m benchmarks.search --suite tiny`." in text
    assert text.count("| random | 0.37 [0.37, 0.37] |") == 3 and "to be renewed" not in text
    assert with_sections(text) == text
    changed = text.replace("| random | 0.37", "| random | 0.47")
    assert with_sections(changed) == text != changed


def test_the_results_are_those_of_the_shipped_assets():
    results = json.loads((RESULTS / "results.json").read_text())
    problem = get_case("ChannelPrune-v0", "digits-cnn").problem(reward="accuracy", budget=results["budget"])
    for row in results["rows"]:
        strategy = problem.decisions.encode(row["strategy"])
        assert row["validation_accuracy"] == problem.accuracy(strategy)[0]
        assert row["predicted_ms"] == pytest.approx(problem.costs(strategy)["latency_ms"][0], rel=1e-12)


def test_the_figures_in_the_text_are_those_of_the_assets():
    problem = get_case("ChannelPrune-v0", "digits-cnn").problem(reward="accuracy")
    uncompressed = problem.accuracy(problem.decisions.uncompressed)[0]
    smallest = problem.costs(problem.cheapest)["latency_ms"][0] / problem.baseline_costs["latency_ms"]
    macs = problem.costs(problem.cheapest)["macs"][0] / problem.baseline_costs["macs"]
    said = [
        f"{problem.baseline_costs['macs'] / 1e6:.1f} million multiply-accumulates",
        f"All {problem.decisions.count:,} ways",
        f"has {100 * macs:.0f} % of the multiply-accumulates and takes {100 * smallest:.0f} % of the time",
        f"from {problem.accuracy_model.baseline:.4f} (as trained) to {uncompressed:.4f}",
    ]
    text = " ".join(README.split())
    for words in said:
        assert words in text, words


def test_python_blocks_run():
    names: dict = {}
    for block in blocks_of(README):
        if block.language == "python":
            run_python(block, names)


def test_commands_exist():
    for block in blocks_of(README):
        if block.language == "":
            look_through(block)


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["version"] == metadata.version("compress_gym") and citation["license"] == "MIT"
