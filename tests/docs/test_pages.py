"""Pages: every code block runs, and generated ones say what cards and results say."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from importlib import import_module

import gymnasium as gym
import pytest

pytest.importorskip("mkdocs", reason="the documentation needs: pip install 'compress_gym[docs]'")

from compress_gym.tasks import list_tasks
from docs.generator import cards, environments, fidelity, provenance, reports, standings
from docs.generator.text import RESULTS, below, table, with_fenced_doctests
from tests.code_blocks import ROOT, Block, blocks_of, check_command, look_through, run_blocks
from tests.leaderboard.examples import CLASS

# Modules with examples in their docstrings; those of environments run on the environments' pages.
WITH_EXAMPLES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "compress_gym").rglob("*.py")
    if ">>>" in path.read_text()
}
MODULES = sorted(WITH_EXAMPLES - {gym.spec(name).entry_point.split(":")[0] for name in environments.environment_ids()})
WRITTEN = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_every_block_of_a_written_page_runs(page, tmp_path):
    run_blocks(page.read_text(), tmp_path)


@pytest.mark.parametrize("env_id", environments.environment_ids())
def test_every_block_of_an_environments_page_runs(env_id, tmp_path):
    page = environments.environment_page(env_id)
    assert [block.language for block in blocks_of(page)] == ["pycon"]
    assert ">>>" not in re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    run_blocks(page, tmp_path)


def test_every_environment_has_gymnasiums_schema():
    for env_id in environments.environment_ids():
        headings = re.findall(r"^## (.*)$", environments.environment_page(env_id), flags=re.MULTILINE)
        assert headings == [
            "Description",
            "Action Space",
            "Observation Space",
            "Rewards",
            "Starting State",
            "Episode End",
            "Arguments",
            "Version History",
        ]


def test_other_generated_pages_hold_nothing_to_run():
    pages = [cards.tasks_page(), cards.devices_page(), fidelity.fidelity_page(), provenance.provenance_page()]
    pages += [page for page in reports.stored_reports().values() if isinstance(page, str)]
    assert {block.language for page in pages for block in blocks_of(page)} <= {"text"}


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_the_reference_run(module):
    assert doctest.testmod(import_module(module)).failed == 0


def test_tasks_and_devices_say_what_their_cards_say():
    tasks, devices = cards.tasks_page(), cards.devices_page()
    for name in list_tasks():
        assert f"## {name}" in tasks
    card = json.loads((ROOT / "compress_gym/tasks/assets/cifar10-resnet20/weights.json").read_text())
    assert f"{100 * card['test_accuracy']:.2f} % ± 0.27 (10,000 images)" in tasks
    card = json.loads((ROOT / "compress_gym/devices/tables/epyc-milan-ort-fp32.json").read_text())
    assert f"| {100 * card['stated_error']['median_absolute_error']:.1f} % |" in devices


def test_every_card_names_a_command_that_exists():
    for folder in provenance.GROUPS.values():
        for path, facts in provenance.made(folder):
            assert f"`{facts['command']}`" in provenance.provenance_page(), path
            check_command(shlex.split(provenance.present_command(facts["command"])))


def test_the_table_of_commands_is_on_the_page_and_its_commands_exist():
    table = provenance.every_command()
    assert table in provenance.provenance_page()
    commands = [found for found in re.findall(r"`(python -m [^`]*|compress-gym [^`]*)`", table) if "..." not in found]
    assert len(commands) > 25
    for command in commands:
        check_command(shlex.split(command))


def section(page, title):
    return page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_what_has_no_result_is_said_to_have_none(tmp_path):
    page = fidelity.fidelity_page(tmp_path)
    for title in ("What searches make of the errors", "Before and after fine-tuning", "Simulators"):
        assert "**Not yet measured.**" in section(page, title)
    for name in ("finetuned", "fidelity"):
        (tmp_path / name).mkdir()
    row = {
        "recovery": "adaptive-bn",
        "mean_accuracy": 0.5,
        "kendall_tau": 0.25,
        "interval": [0.125, 0.375],
        "pearson": 0.5,
    }
    facts = {"task": "some-task", "correlations": [row]}
    (tmp_path / "finetuned" / "some-task.json").write_text(json.dumps(facts))
    gap = {"strategies": 30, "signed_mean": 0.0025, "p90_absolute": 0.0125, "loss_from_trusting": 0.005}
    facts = {"searches": ["evolution"], "budgets": [0.4], "seeds": 5, "accuracy": gap}
    (tmp_path / "fidelity" / "translating.json").write_text(json.dumps(facts))
    page = fidelity.fidelity_page(tmp_path)
    assert "| adaptive-bn | 50.0 % | 0.25 [0.12, 0.38] | 0.50 |" in section(page, "Before and after fine-tuning")
    row = "| translating | evolution at 0.4, 5 seeds | 30 | +0.25 | 1.25 | 0.50 |"
    assert row in section(page, "What searches make of the errors")


def test_predictions_of_the_leaderboards_entries_are_set_beside_live_scores(tmp_path, monkeypatch):
    """Two strategies, one found twice, by hand; what was measured and what was not verified is left out."""
    monkeypatch.setattr(fidelity, "SUBMISSIONS", tmp_path / "submissions")
    monkeypatch.setattr(fidelity, "RECORDS", tmp_path / "verified")

    def write(track, name, source, predicted, live, choices):
        rows = [{"task": "x", "seed": n} for n in range(len(predicted))]
        entry = {"origins": {"x": {"accuracy_source": source}}}
        entry["results"] = [row | {"validation_accuracy": p} for row, p in zip(rows, predicted, strict=True)]
        record = {
            "results": [
                row | {"validation_accuracy": v, "choices": c} for row, v, c in zip(rows, live, choices, strict=False)
            ]
        }
        for kind, content in (("submissions", entry), ("verified", record)):
            if content is entry or live:
                (tmp_path / kind / track).mkdir(parents=True, exist_ok=True)
                (tmp_path / kind / track / f"{name}.json").write_text(json.dumps(content))

    write("b-track", "one", "surrogate", [0.5, 0.75, 0.5], [0.48, 0.79, 0.48], [[0], [1], [0]])
    write("b-track", "not-verified", "surrogate", [0.9], [], [])
    write("a-track", "one", "measured", [0.5], [0.5], [[0]])
    assert list(fidelity.leaderboard_rows()) == [("b-track", 2, "-1.00", "3.80", "4.00")]


def test_the_stored_results_are_the_ones_shown():
    facts = json.loads((RESULTS / "fidelity" / "cifar10-resnet20.json").read_text())
    assert f"| {100 * facts['held_out']['broad_sample']['mae']:.2f} |" in fidelity.fidelity_page()


def test_the_page_of_transformers_tells_what_the_report_holds():
    rows = json.loads((RESULTS / "papers" / "hat-multi30k-ende.json").read_text())["rows"]
    page = " ".join((ROOT / "docs/transformers.md").read_text().split())
    by_hand = {row["method"]: row for row in rows if row["method"] in ("largest", "shallower") and "error" not in row}
    inherited = {name: row["inherited_test_bleu"] for name, row in by_hand.items()}
    scratch = {name: row["scratch_test_bleu"] for name, row in by_hand.items()}
    found = [row for row in rows if row["method"] not in ("largest", "shallower", "narrower")]
    half, third = ([row for row in found if abs(row["budget"] - budget) < 1e-3] for budget in (1 / 2, 1 / 3))
    for group, text in (
        (half, "test sentences with {:.1f} to {:.1f} BLEU"),
        (third, "at a third with {:.1f} to {:.1f}"),
    ):
        scores = [row["inherited_test_bleu"] for row in group]
        assert text.format(min(scores), max(scores)) in page
    assert f"the largest has {inherited['largest']:.1f}, " in page
    assert f"of a single decoder layer {inherited['shallower']:.1f}." in page
    lost = inherited["largest"] - max(row["inherited_test_bleu"] for row in third)
    assert f"3 times faster costs {lost:.1f} points" in page
    trained = [next(r["scratch_test_bleu"] for r in group if "scratch_test_bleu" in r) for group in (half, third)]
    assert f"the largest reaches {scratch['largest']:.1f}, the hand-made one {scratch['shallower']:.1f}, " in page
    assert "found at half the latency {:.1f}, and at a third {:.1f}.".format(*trained) in page


@pytest.mark.parametrize("expected", [reports.SPEED, reports.ZOO, reports.PAPERS])
def test_reports_are_shown_or_said_to_be_missing(expected, tmp_path):
    page = reports.reports_page("Title", "Words.", expected)
    for report in expected:
        check_command(shlex.split(report.command))
        there = (RESULTS / f"{report.path}.md").exists()
        assert (f"## {report.title}\n\n{reports.missing(report.command)}" in page) is not there
    assert reports.reports_page("Title", "Words.", expected, tmp_path).count("**Not yet measured.**") == len(expected)


def test_the_leaderboards_page_shows_numbers_and_names_alone():
    row = {"name": "mine", "method": "<script>", "rank": 1, "validation_accuracy": 50.0, "verdict": "verified live"}
    rows = [{**row, "test_accuracy": 51.5, "test_low": 50.25, "test_high": 52.75}]
    page = standings.leaderboard_page({"class": CLASS}, {"class": rows})
    assert "| 1 | [mine](leaderboard/class/mine.html) | 51.50 [50.25, 52.75] | 50.00 | verified live |" in page
    assert "<script>" not in page


def test_a_report_is_found_again_on_its_page(tmp_path):
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "fast.md").write_text(
        "# Fast\n\n## How\n\n![a picture](fast.png)\n\n```sh\n# no heading\n```\n"
    )
    page = reports.reports_page("Speed", "Words.", (reports.Expected("Fast", "speed/fast", "make demo"),), tmp_path)
    assert "### How" in page and "![a picture](../benchmarks/results/speed/fast.png)" in page
    assert "\n# no heading" in page and "# Fast\n\n## How" not in page


def test_cells_and_doctests_are_markdown():
    assert table(("a",), [("x|y",), (None,)]).splitlines()[2:] == ["| x\\|y |", "|  |"]
    assert below("# a\n## b\n", 2) == "### a\n#### b\n"
    assert with_fenced_doctests("a\n\n>>> 1 + 1\n2\n\nb") == "a\n\n```pycon\n>>> 1 + 1\n2\n```\n\nb"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```python\nraise ValueError('of the page')\n```", "of the page"),
        ("```sh\nfalse\n```", "false"),
        ("```python\nprint(1)\n```\n\n```output\n2\n```", "what was printed is"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected"),
        ("    indented\n", "would not be run"),
        ("```json\n{}\n```", "would not be run"),
        ("<!-- not run in tests: because -->\n```sh\ncompress-gym collekt digits-cnn\n```", "collekt"),
        ("<!-- not run in tests: because -->\n```sh\npython -m agents.train --epsiodes 3\n```", "epsiodes"),
        ("<!-- not run in tests: because -->\n```sh\ncompress-gym profile --runtime tf digits-cnn\n```", "tf"),
        ("<!-- not run in tests: because -->\n```sh\nmake tea\n```", "tea"),
        ("<!-- not run in tests: because -->\n```sh\npip install '.[nothing]'\n```", "nothing"),
        ("<!-- not run in tests: because -->\n```python\nfrom compress_gym import Nothing\n```", "Nothing"),
    ],
)
def test_a_block_that_does_not_work_is_found(page, words, tmp_path):
    with pytest.raises(Exception, match=words):
        run_blocks(page, tmp_path)


def test_a_reason_belongs_to_the_next_block_alone(tmp_path):
    text = "<!-- not run in tests: slow -->\n```sh\nmake demo\n```\n\n```sh\ntouch here\n```\n"
    assert [block.not_run for block in blocks_of(text)] == ["slow", ""]
    run_blocks(text, tmp_path)
    assert (tmp_path / "here").exists()
    look_through(Block("sh", "make demo && compress-gym tasks", 1))
