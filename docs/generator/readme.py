"""Puts results into README and other pages: `python -m docs.generator.readme runs/demo_1`.

Without a folder the demonstration stays as it is.
"""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import click

from agents.demo import markdown, speed_note
from agents.search import METHODS
from agents.statistics import LEAST_GAP
from benchmarks.search.report import aggregate_table
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.commands import run_command
from docs.generator.fidelity import SIGNALS_WORDS, signals_table
from docs.generator.pictures import animation

# What README's table has: the best searches, each family of learners, and what everything is compared with.
SHOWN = ("hill-climb", "annealing", "evolution", "sac", "ppo", "ddpg", "integer-program", "random")
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "demo"
SIGNALS_PAGE = ROOT / "benchmarks" / "results" / "fidelity" / "signals.md"
DOCUMENTS = (ROOT / "README.md", ROOT / "agents" / "README.md", SIGNALS_PAGE)
EPISODE = ROOT / "docs" / "assets" / "episode.gif"


def _marked(begin: str, end: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {begin} -->.*?<!-- {end} -->", re.DOTALL)


DEMO = _marked("demo table: benchmarks/results/demo/results.json", "end of demo table")
SIGNALS = _marked("signals", "end of signals")
# These markers name the suite's report, so that a page can show another one.
SEARCH = _marked(r"search table: (\S+\.json)", "end of search table")
SPEED = _marked("speed: benchmarks/results/speed/environments.json", "end of speed")
SEARCHES_OF = _marked(r"results of searches: (\S+\.json)", "end of results of searches")
RESULT = _marked(r"result of (\S+): (\S+\.json)", "end of result")


def demo_section() -> str:
    """Returns what README shows between its markers, from the stored results."""
    results = json.loads((RESULTS / "results.json").read_text())
    seconds, evaluations = results["total_seconds"], results["evaluations"]
    return (
        "<!-- demo table: benchmarks/results/demo/results.json -->\n"
        f"{markdown(results)}\n"
        f"One seed of each, {evaluations} evaluations, {seconds:.0f} s in all. Predicted with the table of "
        f"`{results['predicted_on']}`, measured on {results['measured_on']}.\n"
        f"{speed_note(results)}\n<!-- end of demo table -->"
    )


def search_section(path: str) -> str:
    """Returns what README shows of the search benchmark: some of its methods.

    Args:
        path: Of the suite's stored report, below the repository's root.
    """
    facts = read_json(ROOT / path)
    ends = facts["references"]
    problems = [problem for problem, end in ends.items() if end["best"] - end["uniform"] >= LEAST_GAP]
    lines = [
        f"<!-- search table: {path} -->",
        *aggregate_table([row for row in facts["rows"] if row["method"] in SHOWN]),
        "",
        f"Interquartile means with 95 % intervals over {facts['runs']} runs of each method on {len(problems)} problems "
        "at equal numbers of evaluations; 0 is the uniform strategy, 1 the best known. "
        f"[All methods, each problem]({path.removesuffix('.json')}.md).",
        "<!-- end of search table -->",
    ]
    return "\n".join(lines)


def signals_section() -> str:
    """Returns the table of every accuracy signal with its error, and what its columns mean."""
    return f"<!-- signals -->\n{SIGNALS_WORDS}\n\n{signals_table()}\n<!-- end of signals -->"


def speed_section() -> str:
    """Returns what README says of steps a second beside CartPole's, in the same run."""
    rows = read_json(ROOT / "benchmarks" / "results" / "speed" / "environments.json")["rows"]
    said = []
    for kind, words in (("unwrapped", "one environment"), ("vector of 4,096", "4,096 at a time")):
        chosen = [row for row in rows if row["kind"] == kind and row["threads"] == 1 and row["copies"]]
        cart_pole = next(row for row in chosen if row["environment"] == "CartPole-v1")
        own = next(row for row in chosen if row["task"] == "cifar10-resnet20")
        said.append(
            f"{words}: {own['steps_a_second']:,} steps a second (Gymnasium's CartPole: {cart_pole['steps_a_second']:,})"
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
    text = SIGNALS.sub(lambda found: signals_section(), text)
    text = SEARCH.sub(lambda found: search_section(found[1]), text)
    text = SEARCHES_OF.sub(lambda found: searches_section(found[1]), text)
    return RESULT.sub(lambda found: method_section(found[1], found[2]), text)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--picture", is_flag=True, help="Draw the moving picture of an episode, too.")
def main(folder: Path | None, picture: bool) -> None:
    """Copies table and pictures of the demonstration in FOLDER, if given, and renews the documents' sections."""
    if picture:
        EPISODE.write_bytes(animation("compress_gym/ChannelPrune-v0", task="digits-cnn", budget=0.5, reward="accuracy"))
    RESULTS.mkdir(parents=True, exist_ok=True)
    if folder is not None:
        for name in ("results.json", "curve.png", "pareto.png"):
            shutil.copy(folder / name, RESULTS / name)
    for path in DOCUMENTS:
        text = with_sections(path.read_text())
        write_atomically(path, partial(Path.write_text, data=text))


if __name__ == "__main__":
    run_command(main, "docs.generator.readme")
