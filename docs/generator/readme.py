"""Puts results into README and the zoo's pages: `python -m docs.generator.readme runs/demo_1`.

Without a folder the demonstration stays as it is.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from agents.demo import markdown, speed_note
from agents.search import METHODS
from agents.statistics import LEAST_GAP
from benchmarks.fidelity.stated import stated
from benchmarks.search.report import aggregate_table
from compress_gym.devices import Device, SimulatedDevice, TransformerDevice, list_devices
from compress_gym.kinds import cases_of
from compress_gym.support.cards import read_card, read_json, write_atomically
from compress_gym.support.commands import run_command
from docs.generator.fidelity import leaderboard_rows
from docs.generator.shipped import device_cards, shipped_tasks
from docs.generator.text import percent, table

HOW_MADE = {"measured": "every strategy scored live", "surrogate": "surrogate of live scores"}
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "demo"
DOCUMENTS = (ROOT / "README.md", ROOT / "agents" / "README.md")


def _marked(begin: str, end: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {begin} -->.*?<!-- {end} -->", re.DOTALL)


DEMO = _marked("demo table: benchmarks/results/demo/results.json", "end of demo table")
MEASURED = _marked("measured table", "end of measured table")
# These markers name the suite's report, so that a page can show another one.
SEARCH = _marked(r"search table: (\S+\.json)", "end of search table")
SPEED = _marked("speed: benchmarks/results/speed/environments.json", "end of speed")
SEARCHES_OF = _marked(r"results of searches: (\S+\.json)", "end of results of searches")
RESULT = _marked(r"result of (\S+): (\S+\.json)", "end of result")


def demo_section() -> str:
    """Returns what README shows between its markers, from the stored results."""
    results = json.loads((RESULTS / "results.json").read_text())
    seconds, evaluations = results["total_seconds"], results["evaluations"]
    methods = [row for row in results["rows"] if row["regret_points"] is not None]
    order = ", ".join(
        f"{row['method']} {row['validation_accuracy']:.4f}" for row in sorted(methods, key=lambda r: r["regret_points"])
    )
    return (
        "<!-- demo table: benchmarks/results/demo/results.json -->\n"
        f"{markdown(results)}\n"
        f"From best to worst in this run: {order}.\n"
        f"One seed of each, {evaluations} evaluations, {seconds:.0f} s in all. Predicted with the table of "
        f"`{results['predicted_on']}`, measured on {results['measured_on']}.\n"
        f"{speed_note(results)}\n<!-- end of demo table -->"
    )


def search_section(path: str) -> str:
    """Returns what README shows of the search benchmark.

    Args:
        path: Of the suite's stored report, below the repository's root.
    """
    facts = read_json(ROOT / path)
    ends = facts["references"]
    in_points = [problem for problem, end in ends.items() if end["best"] - end["uniform"] < LEAST_GAP]
    problems = ", ".join(f"`{problem}`" for problem in ends if problem not in in_points)
    left_out = f" ({', '.join(f'`{p}`' for p in in_points)}: in points only, in the report)" if in_points else ""
    # The table has the probabilities.
    said = [re.sub(r" \(probability[^)]*\)", "", answer) for answer in facts["answers"]]
    lines = [
        f"<!-- search table: {path} -->",
        *aggregate_table(facts["rows"]),
        "",
        f"{facts['runs']} runs of each method at equal evaluations on {problems}{left_out}; 0 is the uniform strategy, "
        f"1 the best known. Interquartile means with 95 % intervals; {facts['processor_hours']:.1f} hours of processor "
        "time. " + " ".join(said),
        "<!-- end of search table -->",
    ]
    return "\n".join(lines)


def measured_section() -> str:
    """Returns what README says of the shipped numbers, from their cards."""
    heads = ("number", "how it was made", "stated error")
    return f"<!-- measured table -->\n{table(heads, _measured_rows())}\n<!-- end of measured table -->"


def _measured_rows() -> Iterator[tuple[object, ...]]:
    for task in shipped_tasks():
        signals = [(case, signal) for case in cases_of(task) if (signal := case.best_signal()) != "live"]
        metrics = " and ".join(dict.fromkeys(case.kind.metric for case, _ in signals))
        made = (f"{case.kind.name}: {HOW_MADE[signal]}" for case, signal in signals)
        errors = (f"{case.kind.name}: {stated(read_card(case.asset(signal)))}" for case, signal in signals)
        if signals:
            yield f"{metrics} of `{task.name}`", "; ".join(made), ". ".join(errors)
    said = (f"{track}: {mean} points on average, 9 of 10 within {p90}" for track, _, mean, p90, _ in leaderboard_rows())
    yield "surrogates on the leaderboard", "predicted less live, each distinct strategy of its entries", "; ".join(said)
    cards = device_cards(Device)
    several = {name: card for name, card in cards.items() if len(card["tasks"]) > 1}
    names = ", ".join(f"`{name}`" for name in several)
    yield f"latency on {names}", "fastest call of many visits in random order", _worst_errors(several.values())
    for name in sorted(cards.keys() - several.keys()):
        error = cards[name]["stated_error"]
        yield f"latency on `{name}`", cards[name]["statistic"], _latency_error(error, error)
    for name, card in device_cards(TransformerDevice).items():
        if "latency_ms" in card["stated_error"]:  # measured by this project
            error = card["stated_error"]
            yield f"latency on `{name}`", card["statistic"], _latency_error(error, error["latency_ms"])
    yield (
        "latency on `hat-*`",
        "fitted to HAT's published measurements",
        "[report](benchmarks/results/papers/hat-latency.md)",
    )
    simulated = ", ".join(f"`{name}`" for name in list_devices(SimulatedDevice))
    yield f"latency and energy on {simulated}", "simulated", "[report](benchmarks/results/simulators/simulators.md)"
    yield "MACs, parameters, bytes, bit operations", "counted", "none"


def _worst_errors(cards: Iterable[Mapping[str, Any]]) -> str:
    """Says the errors of devices that were measured for several tasks, each that of its worst task."""
    errors = [card["stated_error"] for card in cards]
    medians, most = (
        ", ".join(percent(error[key]) for error in errors) for key in ("median_absolute_error", "p95_absolute_error")
    )
    taus = ", ".join(f"{error['kendall_tau']:.2f}" for error in errors)
    return f"of the worst task of each: median {medians}; 95 % within {most}; Kendall tau {taus}"


def _latency_error(stated_error: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    median, most = percent(error["median_absolute_error"]), percent(error["p95_absolute_error"])
    checked_on = stated_error["checked_on"].split(",")[0]
    return f"median {median}, 95 % within {most}, Kendall tau {error['kendall_tau']:.2f} on {checked_on}"


def speed_section() -> str:
    """Returns what README says of steps a second beside CartPole's, in the same run."""
    rows = read_json(ROOT / "benchmarks" / "results" / "speed" / "environments.json")["rows"]
    said = []
    for kind, words in (("unwrapped", "one environment"), ("vector of 4,096", "4,096 at a time, one thread")):
        chosen = [row for row in rows if row["kind"] == kind and row["threads"] == 1 and row["copies"]]
        cart_pole = next(row for row in chosen if row["environment"] == "CartPole-v1")
        own = next(row for row in chosen if row["task"] == "cifar10-resnet20")
        said.append(
            f"{words}: {own['steps_a_second']:,} steps/s, {own['times_cartpole']:.2f} times Gymnasium's CartPole "
            f"({cart_pole['steps_a_second']:,})"
        )
    begin, end = "<!-- speed: benchmarks/results/speed/environments.json -->", "<!-- end of speed -->"
    return f"{begin}\nResNet-20 with its surrogate, {'; '.join(said)}.\n{end}"


def method_section(method: str, path: str) -> str:
    """Returns what the zoo's page of a method shows of the search benchmark.

    Args:
        method: Its name.
        path: Of the suite's stored report, below the repository's root.
    """
    facts = read_json(ROOT / path)
    row = next(row for row in facts["rows"] if row["method"] == method)
    said = [answer for answer in facts["answers"] if answer.startswith(f"{method} ")]
    lines = [
        f"<!-- result of {method}: {path} -->",
        *aggregate_table([row]),
        "",
        " ".join([*said, f"Made by `{facts['provenance']['command']}`."]),
        "<!-- end of result -->",
    ]
    return "\n".join(lines)


def searches_section(path: str) -> str:
    """Returns what the zoo's page shows of all searches; arguments as of `method_section`."""
    facts = read_json(ROOT / path)
    rows = [row for row in facts["rows"] if row["method"] in METHODS]
    lines = [
        f"<!-- results of searches: {path} -->",
        *aggregate_table(rows),
        "",
        f"Made by `{facts['provenance']['command']}`.",
        "<!-- end of results of searches -->",
    ]
    return "\n".join(lines)


def with_sections(text: str) -> str:
    """Returns a document's text with those sections renewed whose markers it has."""
    text = DEMO.sub(lambda found: demo_section(), text)
    text = SPEED.sub(lambda found: speed_section(), text)
    text = MEASURED.sub(lambda found: measured_section(), text)
    text = SEARCH.sub(lambda found: search_section(found[1]), text)
    text = SEARCHES_OF.sub(lambda found: searches_section(found[1]), text)
    return RESULT.sub(lambda found: method_section(found[1], found[2]), text)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
def main(folder: Path | None) -> None:
    """Copies table and pictures of the demonstration in FOLDER, if given, and renews the documents' sections."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    if folder is not None:
        for name in ("results.json", "curve.png", "pareto.png"):
            shutil.copy(folder / name, RESULTS / name)
    for path in DOCUMENTS:
        text = with_sections(path.read_text())
        write_atomically(path, partial(Path.write_text, data=text))


if __name__ == "__main__":
    run_command(main, "docs.generator.readme")
