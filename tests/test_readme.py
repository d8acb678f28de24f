from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
import scipy.stats
import yaml

from benchmarks.fidelity.report import GAPS
from benchmarks.search.references import reference
from benchmarks.search.report import write_report
from benchmarks.search.suites import DIGITS, Suite
from compress_gym.kinds import get_case
from compress_gym.support.cards import read_card, read_json
from docs.generator.readme import DOCUMENTS, RESULTS, SIGNALS_PAGE, demo_section, signals_section, with_sections
from docs.generator.shipped import shipped_cases
from tests.benchmarks.examples import record
from tests.code_blocks import blocks_of, look_through, run_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_is_that_of_the_results():
    assert demo_section() in README


def test_what_is_said_to_be_measured_is_on_the_cards():
    assert signals_section() in SIGNALS_PAGE.read_text()


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
    problem = get_case("ChannelPrune-v0", "digits-cnn").problem(reward="accuracy", budget=0.5)
    said = [
        f"{problem.baseline_costs['macs'] / 1e6:.1f} million multiply-accumulates",
        f"All {problem.decisions.count:,} ways",
        f"the optimum is {problem.accuracy(problem.optimum())[0]:.4f}",
        f"uniform pruning {problem.accuracy(problem.uniform())[0]:.4f}",
    ]
    text = " ".join(README.split())
    for words in said:
        assert words in text, words


def test_the_figures_of_policies_are_those_of_the_results():
    rows = read_json(ROOT / "benchmarks/results/search/generalisation.json")["rows"]
    below = sum(scipy.stats.trim_mean(row["policy"], 0.25) < row["uniform"] for row in rows)
    beyond = sum(row["evaluations_to_match"] is None for row in rows)
    text = " ".join(README.split())
    assert f"more than 400 evaluations of random search on {beyond} of {len(rows)} unseen problems" in text
    assert f"fall below the uniform strategy on {below}]" in text


def test_the_figures_of_integer_programming_are_those_of_the_results():
    report = (ROOT / "benchmarks/results/search/standard.md").read_text()
    rows = re.findall(r"^\| integer-program \| (\d+) \| \S+ .*?\| (\S+) \[", report, re.MULTILINE)
    evaluations, regrets = [int(n) for n, _ in rows], sorted(float(points) for _, points in rows)
    text = " ".join(README.split())
    assert f"needs only {min(evaluations)} to {max(evaluations)} evaluations" in text
    assert len(regrets) == 5 and regrets[2] < 0.2
    said = (
        f"within 0.2 points of the best known on three of five problems, {regrets[3]:g} and {regrets[4]:g} points away"
    )
    assert said in text


def test_the_figures_of_bitfusions_cheapest_strategies_are_on_the_cards():
    gaps = []
    for case in shipped_cases():
        if case.kind.id == "JointPQ-v0" and case.best_signal() == "surrogate":
            stated = read_card(case.asset("surrogate"))["stated_error"]
            gaps.append(100 * max(stated[key]["signed_mean"] for key in GAPS if key in stated))
    said = f"`JointPQ-v0`'s surrogates promise {min(gaps):.0f} to {max(gaps):.0f} points too much"
    assert said in " ".join(README.split())


def test_the_figures_of_fine_tuning_are_those_of_the_results():
    rows = read_json(ROOT / "benchmarks/results/papers/amc-cifar10-plain20.json")["rows"]
    found = {row["method"]: row for row in rows}

    def lead(column):
        return 100 * (found["ddpg-amc"][column] - found["uniform"][column])

    said = f"by {lead('validation_accuracy'):.1f} validation points before training and by "
    said += f"{lead('finetuned_test_accuracy'):.1f} test points after"
    assert said in " ".join(README.split())


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
    lines = README.splitlines()
    assert len(lines) <= 180 and "```python" in lines[:45]
    cells = [cell.strip() for line in lines if line.startswith("|") for cell in line.split("|")]
    assert max(map(len, cells)) <= 200


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["version"] == metadata.version("compress_gym") and citation["license"] == "MIT"
