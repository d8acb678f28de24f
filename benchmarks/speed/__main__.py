"""`python -m benchmarks.speed`: how fast environments are, or with an option evaluation, or learning."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from compress_gym.kinds import get_case
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.processor import one_thread

RESULTS = Path(__file__).parents[1] / "results" / "speed"
KIND = "ChannelPrune-v0"
A_STEP = """A step of a compression environment checks the action, moves it to the nearest choice that keeps the
budget, follows what the choice changes of the bounded cost, and writes the observation; the last step of an episode
sums every cost and finds accuracy (a table's entry, or a surrogate's forward pass) and reward. Episodes are started
anew where they end, which is counted. A step of CartPole is one step of a differential equation: the comparison is of
rates at which an agent can be fed, not of like with like. `unwrapped` is the class itself, `gym.make` adds Gymnasium's
checks. A step of a vector environment also makes the infos of every environment and copies the observations, unless
views are asked for (copies 0); the reset that `NEXT_STEP` puts between two episodes counts as a step, as CartPole's
does."""
LIVE = """One thread. A strategy is scored from nothing: channels removed, recovered on the calibration images, images
classified. `plain` is what a user would write: float32, channels first, batches of 256, batch norms not folded, and
removed channels multiplied by zero at full cost, as in AMC's release; it re-estimates batch norms alone. `live` is the
task's evaluator with its recovery, in float32 or bfloat16: channels really removed, batch norms folded, additions and
ReLUs fused into convolutions, batches that fit the cache."""

START_UP = """A new process imports the package, makes an environment with its defaults and plays one episode: cold with
an empty cache of kernels, as after an installation, warm with a filled one. Seconds are by the clock and include
Python's own start; processor seconds, of user and system, say less of what else runs. Medians of several turns."""


@click.command()
@click.option("--live", is_flag=True, help="Live evaluation against the plain way and AMC's.")
@click.option("--costs", is_flag=True, help="Strategies a second whose costs are evaluated.")
@click.option("--learners", is_flag=True, help="Steps a second that Stable-Baselines3's learners train.")
@click.option("--start-up", "starting", is_flag=True, help="Seconds of a first episode in a new process.")
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="For --start-up: another checkout, to compare with.",
)
@click.option("--task", "name", default="cifar10-resnet20", show_default=True, help="For --live and --costs.")
@click.option("--device", help="For --costs: a device profiled for the task [default: the task's].")
@click.option("--images", type=click.IntRange(1), default=5000, show_default=True, help="For --live: images to score.")
def main(
    live: bool,
    costs: bool,
    learners: bool,
    starting: bool,
    before: Path | None,
    name: str,
    device: str | None,
    images: int,
) -> None:
    """Measures the speed of every environment, or of what is asked for; run it alone on the machine."""
    if live + costs + learners + starting > 1:
        raise click.UsageError("say what to measure: --live, --costs, --learners or --start-up")
    if live:
        from benchmarks.speed.live import compare

        case = get_case(KIND, name)
        seen = case.task.declared.calibration
        title = f"Live evaluation of {name}, {images:,} images and {seen.images if seen else 'all'} for calibration"
        with one_thread():
            _report(f"live-{name}", title, LIVE, {"rows": compare(case, images)}, ["torch"])
    elif costs:
        from benchmarks.speed.costs import measure

        rows = measure(get_case(KIND, name), device)
        _report(f"costs-{name}", f"Cost evaluation of {name}", "One thread.", {"rows": rows}, ["numba"])
    elif learners:
        from benchmarks.speed.learners import LEARNING, compare_learners

        with one_thread():
            rows = compare_learners()
        _report("learners", "Steps a second while learning", LEARNING, {"rows": rows}, ["stable_baselines3", "torch"])
    elif starting:
        from benchmarks.speed import start_up

        facts = {"rows": start_up.measure(before)}
        _report("start-up", "Seconds until a first episode has ended", START_UP, facts, ["gymnasium", "numba"])
    else:
        _environments()


def _environments() -> None:
    from benchmarks.speed.environments import draw, measure, start_up

    facts = {"rows": measure(), "start_up": start_up()}
    _report("environments", "Steps a second", A_STEP, facts, ["gymnasium", "numba"])
    write_atomically(RESULTS / "environments.png", lambda p: draw(facts["rows"], p))
    for stem, rows in (("environments", facts["rows"]), ("start-up", facts["start_up"])):
        write_atomically(RESULTS / f"{stem}.csv", partial(_write_csv, rows))


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _report(stem: str, title: str, words: str, facts: dict[str, Any], packages: Sequence[str]) -> None:
    """Writes JSON and Markdown of one measurement, each table of its facts, and shows them."""
    command = shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]])
    made = provenance(command, ["numpy", *packages])
    versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
    lines = [f"# {title}", "", words, "", f"On {made['hardware']}, {made['cores']} cores; {versions}.", ""]
    for rows in facts.values():
        lines += [*_table(rows), ""]
    text = "\n".join(lines)
    for ending, content in ((".json", json.dumps({**facts, **made}, indent=1) + "\n"), (".md", text)):
        write_atomically(RESULTS / f"{stem}{ending}", partial(Path.write_text, data=content))
    click.echo(text)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        values = (row.get(column, "") for column in columns)
        lines.append(f"| {' | '.join(f'{v:,}' if isinstance(v, int) else str(v) for v in values)} |")
    return lines


if __name__ == "__main__":
    run_command(main, "benchmarks.speed")
