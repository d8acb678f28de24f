"""`python -m benchmarks.papers amc`: a paper's table, measured here, beside the published one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.papers import amc, apq, galen, haq, hat, hat_latency, winners
from compress_gym.kinds import get_case
from compress_gym.kinds.transformer_nas import KIND as TRANSFORMERS
from compress_gym.making.train_translation import RECIPE
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.processor import bf16_supported, checked_device
from compress_gym.support.resume import claim
from compress_gym.support.workers import results_of

RESULTS = Path(__file__).parents[1] / "results" / "papers"
_SHARE = click.FloatRange(0, 1, min_open=True)
_LONGER = click.option(
    "--longer", type=click.IntRange(1), help="Let searches without learning go on to so many evaluations, too."
)


@click.group()
def main() -> None:
    """Papers' tables."""


@main.command("amc")
@click.option("--task", "tasks", multiple=True, default=tuple(amc.RECALLED), show_default=True)
@click.option("--finetune/--no-finetune", default=True, help="Fine-tune what was found (20 epochs each).")
@click.option("--only-best", type=click.IntRange(1), help="Fine-tune only so many, the best on validation images.")
@click.option("--bf16/--no-bf16", default=None, help="Search and train in it [default: where it is computed natively].")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Fine-tunings at once.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-amc"), show_default=True)
def amc_command(
    tasks: tuple[str, ...], finetune: bool, only_best: int | None, bf16: bool | None, workers: int, work: Path
) -> None:
    """AMC's CIFAR-10 table. Killed, it goes on with the row it was at."""
    bf16 = bf16_supported() if bf16 is None else bf16
    for task in tasks:
        settings = [amc.AMCSetting(task, method, bf16=bf16) for method in (*amc.SEARCHES, *amc.LEARNERS)]
        identity = amc.identity(settings[0])
        if any((work / task).glob("*/found.json")) and not (work / task / "identity.json").exists():
            raise ValueError(f"{work / task} holds searches that do not say what they are of; choose another --work")
        (work / task).mkdir(parents=True, exist_ok=True)
        claim(work / task, identity)
        folders = {s: work / task / s.method for s in settings}
        found = {}
        for setting in settings:
            found[setting] = amc.find(setting, folders[setting])
            click.echo(f"{task} {setting.method}: {json.dumps(found[setting])}")
        ranked = sorted(settings, key=lambda s: -found[s]["validation_accuracy"])
        wanted = ranked[: only_best or len(ranked)] if finetune else []
        jobs = [(s, found[s], folders[s], s in wanted) for s in settings]
        scores = {}
        if wanted:
            click.echo(f"{task}: {len(wanted)} strategies have {amc.FINETUNE_EPOCHS} epochs each, {workers} at once")
        for number, scored in results_of(amc.score, jobs, workers):
            scores[settings[number]] = scored
            click.echo(f"{task} {settings[number].method}: {json.dumps(scored)}")
        rows = [{"method": s.method, **found[s], **scores[s]} for s in settings]
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
@click.option("--scratch/--no-scratch", "from_scratch", default=True, help="Train from scratch, too.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=15.0, show_default=True)
@click.option("--updates", type=click.IntRange(1), help="Train for so many updates, not for a time.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each search.")
@click.option("--learner-seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each learner.")
@click.option("--tokens", type=click.IntRange(64), default=RECIPE.tokens, show_default=True, help="Of a batch.")
@click.option("--cuda", is_flag=True, help="Train on the first CUDA device.")
@click.option(
    "--winners", type=click.IntRange(0), default=1, show_default=True, help="Searched ones to train a budget."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Trainings at once.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-hat"), show_default=True)
def hat_command(
    task: str,
    device: str,
    evaluations: int,
    from_scratch: bool,
    minutes: float,
    updates: int | None,
    seeds: int,
    learner_seeds: int,
    tokens: int,
    cuda: bool,
    winners: int,
    workers: int,
    work: Path,
) -> None:
    """HAT's comparison at 1/2, 1/2.7 and 1/3 of the latency. Killed, it goes on with what is not finished.

    The largest transformer, the hand-made ones and the --winners (by predicted accuracy) of each budget are trained
    from scratch too.
    """
    where = checked_device("cuda" if cuda else "cpu")  # before an hour of searching
    how = hat.Scratch(minutes if updates is None else None, updates, tokens, where)
    plan = hat.HATPlan(task, device, evaluations, seeds, learner_seeds, winners)
    folder = work / task
    folder.mkdir(parents=True, exist_ok=True)
    assets = get_case(TRANSFORMERS, task).asset_hash()
    claim(folder, {"evaluations": evaluations, "device": device, "asset_hash": assets})
    rows = hat.compare(plan, folder, how if from_scratch else None, workers)
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


@main.command("haq")
@click.option("--task", default="digits-cnn", show_default=True)
@click.option("--device", default="bitfusion", show_default=True, help="One that has bits.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=haq.METHODS,
    show_default=True,
    help="A learner or a search; may be repeated.",
)
@click.option("--evaluations", type=click.IntRange(1), default=haq.EVALUATIONS, show_default=True)
@_LONGER
@click.option("--seeds", type=click.IntRange(1), default=haq.SEEDS, show_default=True)
@click.option(
    "--epochs", type=click.IntRange(0), default=haq.FINETUNE_EPOCHS, show_default=True, help="0: no training."
)
@click.option("--bf16/--no-bf16", default=None, help="Fine-tune in it [default: where it is computed natively].")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Searches, and live scores, at once."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-haq"), show_default=True)
def haq_command(
    task: str,
    device: str,
    methods: tuple[str, ...],
    evaluations: int,
    longer: int | None,
    seeds: int,
    epochs: int,
    bf16: bool | None,
    workers: int,
    work: Path,
) -> None:
    """HAQ's comparison: mixed precision beside uniform bits at equal latency. Killed, it goes on where it was."""
    trains_in = bf16_supported() if bf16 is None else bf16
    plan = haq.HAQPlan(task, device, methods, evaluations, seeds, epochs, trains_in, longer or 0)
    facts = haq.compare(plan, work / task / device, workers)
    drawn = haq.series(facts["rows"]), "share of the latency", f"HAQ: {task}, {device}"
    _write(f"haq-{task}-{device}", plan, facts, haq.table, drawn)


@main.command("galen")
@click.option("--task", default="digits-cnn", show_default=True)
@click.option("--device", default="bismo-edge", show_default=True, help="One that has bits.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=galen.METHODS,
    show_default=True,
    help="A learner or a search; may be repeated.",
)
@click.option("--evaluations", type=click.IntRange(1), default=galen.EVALUATIONS, show_default=True)
@_LONGER
@click.option("--seeds", type=click.IntRange(1), default=galen.SEEDS, show_default=True)
@click.option("--epochs", type=click.IntRange(0), default=galen.FINETUNE_EPOCHS, show_default=True, help="0: none.")
@click.option(
    "--cost", type=click.Choice(list(galen.COSTS)), default="latency_ms", show_default=True, help="What is bounded."
)
@click.option("--budget", "budgets", type=_SHARE, multiple=True, default=galen.BUDGETS, show_default=True)
@click.option(
    "--tuned",
    type=_SHARE,
    multiple=True,
    default=(galen.CLAIMED,),
    show_default=True,
    help="Fine-tune at these budgets.",
)
@click.option("--bf16/--no-bf16", default=None, help="Fine-tune in it [default: where it is computed natively].")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Searches, and live scores, at once."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-galen"), show_default=True)
def galen_command(
    task: str,
    device: str,
    methods: tuple[str, ...],
    evaluations: int,
    longer: int | None,
    seeds: int,
    epochs: int,
    cost: str,
    budgets: tuple[float, ...],
    tuned: tuple[float, ...],
    bf16: bool | None,
    workers: int,
    work: Path,
) -> None:
    """Galen's comparison: joint search beside pruning or quantisation alone. Killed, it goes on where it was."""
    trains_in = bf16_supported() if bf16 is None else bf16
    plan = galen.GalenPlan(
        task, device, methods, evaluations, seeds, epochs, budgets, trains_in, cost, tuned, longer or 0
    )
    facts = galen.compare(plan, work / task / device / cost, workers)
    drawn = galen.series(facts, plan), f"share of the {galen.COSTS[cost]}", f"Galen: {task}, {device}"
    facts["differences"] = galen.differences(facts["rows"])
    _write(f"galen-{task}-{device}-{cost}", plan, facts, galen.table, drawn)


@main.command("apq")
@click.option("--task", default="digits-cnn", show_default=True)
@click.option("--device", default="bitfusion", show_default=True, help="One that has bits.")
@click.option("--method", default=apq.METHOD, show_default=True, help="A learner or a search.")
@click.option("--evaluations", type=click.IntRange(2), default=apq.EVALUATIONS, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=apq.SEEDS, show_default=True)
@click.option("--latency", type=_SHARE, multiple=True, default=apq.LATENCIES, show_default=True, help="Budgets.")
@click.option("--energy", type=_SHARE, multiple=True, default=apq.ENERGIES, show_default=True, help="Budgets.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Searches, and live scores, at once."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("papers-apq"), show_default=True)
def apq_command(
    task: str,
    device: str,
    method: str,
    evaluations: int,
    seeds: int,
    latency: tuple[float, ...],
    energy: tuple[float, ...],
    workers: int,
    work: Path,
) -> None:
    """APQ's comparison: channels and bits together, or one after the other. Killed, it goes on where it was."""
    plan = apq.APQPlan(task, device, method, evaluations, seeds, latency, energy)
    rows = apq.compare(plan, work / task / device, workers)
    drawn = apq.series(rows), "share of the latency", f"APQ: {task}, {device}"
    facts = {"rows": rows, "differences": apq.differences(rows)}
    _write(f"apq-{task}-{device}", plan, facts, apq.table, drawn)


def _write(
    name: str,
    plan: haq.HAQPlan | galen.GalenPlan | apq.APQPlan,
    found: dict[str, Any],
    table: Callable[[dict[str, Any], Any], str],
    drawn: tuple[Any, str, str],
) -> None:
    """Writes facts, table and picture."""
    command = shlex.join(["python", "-m", "benchmarks.papers", *sys.argv[1:]])
    made = provenance(command, ["torch", "numpy", "stable_baselines3"])
    facts = {"plan": asdict(plan), "asset_hash": plan.case.asset_hash(), **found, **made}
    text = table(facts, plan)
    for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
        write_atomically(RESULTS / f"{name}{ending}", partial(Path.write_text, data=content))
    winners.draw(*drawn, RESULTS / f"{name}.png")
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.papers")
