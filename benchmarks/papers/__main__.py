"""`python -m benchmarks.papers amc`: a paper's table, measured here, beside the published one."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path

import click

from benchmarks.papers import amc, hat, hat_latency
from compress_gym.cards import provenance, write_atomically
from compress_gym.commands import run_command

RESULTS = Path(__file__).parents[1] / "results" / "papers"


@click.group()
def main() -> None:
    """Papers' tables."""


@main.command("amc")
@click.option("--task", "tasks", multiple=True, default=tuple(amc.RECALLED), show_default=True)
@click.option("--finetune/--no-finetune", default=True, help="Fine-tune what was found (20 epochs each).")
@click.option("--only-best", type=click.IntRange(1), help="Fine-tune only so many, the best on validation images.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-amc"), show_default=True)
def amc_command(tasks: tuple[str, ...], finetune: bool, only_best: int | None, work: Path) -> None:
    """AMC's CIFAR-10 table. Killed, it goes on with the row it was at."""
    for task in tasks:
        settings = [amc.Setting(task, method) for method in (*amc.SEARCHES, *amc.LEARNERS)]
        folders = {s: work / task / s.method for s in settings}
        found = {}
        for setting in settings:
            found[setting] = amc.find(setting, folders[setting])
            click.echo(f"{task} {setting.method}: {json.dumps(found[setting])}")
        ranked = sorted(settings, key=lambda s: -found[s]["validation_accuracy"])
        rows = []
        for setting in settings:
            wanted = finetune and setting in ranked[: only_best or len(ranked)]
            scores = amc.score(setting, found[setting], folders[setting], wanted)
            rows.append({"method": setting.method, **found[setting], **scores})
            click.echo(f"{task} {setting.method}: {json.dumps(scores)}")
        command = shlex.join(["python", "-m", "benchmarks.papers", *sys.argv[1:]])
        facts = {"task": task, "rows": rows, **provenance(command, ["torch", "numpy", "stable_baselines3"])}
        text = amc.table(rows, task)
        for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
            write_atomically(RESULTS / f"amc-{task}{ending}", partial(Path.write_text, data=content))
        click.echo(text)


@main.command("hat")
@click.option("--task", default="multi30k-ende", show_default=True)
@click.option("--device", default="auto", show_default=True, help="A name, or the path of a latency table.")
@click.option("--evaluations", type=click.IntRange(1), default=hat.EVALUATIONS, show_default=True)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=15.0, show_default=True)
@click.option(
    "--winners", type=click.IntRange(0), default=1, show_default=True, help="Searched ones to train a budget."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-hat"), show_default=True)
def hat_command(task: str, device: str, evaluations: int, minutes: float, winners: int, work: Path) -> None:
    """HAT's comparison at 1/2, 1/2.7 and 1/3 of the latency. Killed, it goes on with the row it was at.

    The hand-made transformers and the --winners (by predicted accuracy) of each budget are trained from scratch too.
    """
    rows = []
    for budget in hat.BUDGETS:
        methods = (*hat.HAND_MADE, *hat.SEARCHES, *hat.LEARNERS)
        settings = [hat.Setting(task, device, method, budget, evaluations) for method in methods]
        folders = {s: work / task / f"{budget:.3f}" / s.method for s in settings}
        found = {s: hat.find(s, folders[s]) for s in settings}
        searched = [s for s in settings if s.method not in hat.HAND_MADE]
        best = sorted(searched, key=lambda s: -found[s]["predicted_accuracy"])[:winners]
        for s in settings:
            row = {"method": s.method, "budget": budget, **found[s]}
            if "error" not in row:
                wanted = s in best or s.method in hat.HAND_MADE
                row |= hat.score(s, found[s], folders[s], minutes if wanted else None)
            rows.append(row)
            click.echo(json.dumps(row))
    command = shlex.join(["python", "-m", "benchmarks.papers", *sys.argv[1:]])
    facts = {"task": task, "rows": rows, **provenance(command, ["torch", "numpy", "stable_baselines3", "sacrebleu"])}
    text = hat.table(rows, task)
    for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
        write_atomically(RESULTS / f"hat-{task}{ending}", partial(Path.write_text, data=content))
    click.echo(text)


@main.command("hat-latency")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-hat-latency"), show_default=True)
def hat_latency_command(folder: Path, work: Path) -> None:
    """HAT's latency predictor, and the shipped devices, from the published files in FOLDER.

    They are the latency data set of mit-han-lab/hardware-aware-transformers. Killed, it goes on with its file.
    """
    command, rows = shlex.join(["python", "-m", "benchmarks.papers", *sys.argv[1:]]), []
    for board in hat_latency.BOARDS:
        files = [folder / f"{corpus}_{board.file}" for corpus in hat_latency.CORPORA.values()]
        own = [hat_latency.compare(path, board, work) for path in files]
        hat_latency.ship(folder, board, own, command)
        rows += own
    facts = {"rows": rows, **provenance(command, ["torch", "numpy", "scipy"])}
    text = hat_latency.table(rows)
    for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
        write_atomically(RESULTS / f"hat-latency{ending}", partial(Path.write_text, data=content))
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.papers")
