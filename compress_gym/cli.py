"""The `compress-gym` command."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compress_gym.data.archives import ARCHIVES
from compress_gym.data.archives import fetch as fetch_archive
from compress_gym.devices import Device, TransformerDevice, list_devices, load_device, user_tables
from compress_gym.networks import Segment
from compress_gym.support.cards import card_path, read_card
from compress_gym.support.commands import run_command
from compress_gym.support.errors import missing_extra
from compress_gym.tasks import ENDINGS, get_task, list_tasks
from compress_gym.tasks.translation import get_translation_task, list_translation_tasks

LARGEST_ERROR = 0.1
_PIPED_COLUMNS = 200

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
@click.version_option(package_name="compress_gym")
def cli() -> None:
    """Tasks, devices and measurements of compress_gym."""


@cli.command()
@as_json
def tasks(as_json: bool) -> None:
    """Lists the shipped tasks."""
    rows = []
    for name in list_tasks():
        task = get_task(name)
        card = task.weights_card()
        rows.append(
            {
                "task": name,
                "version": task.version,
                "strategies": task.channel_decisions().count,
                "validation_accuracy": card["validation_accuracy"],
                "test_accuracy": card["test_accuracy"],
                "summary": task.summary,
            }
        )
    for name in list_translation_tasks():
        translation = get_translation_task(name)
        scores = read_card(translation.folder / "weights.safetensors")["scores"]["largest"]
        rows.append(
            {
                "task": name,
                "version": translation.version,
                "strategies": translation.decisions().count,
                "validation_accuracy": scores["validation_bleu"] / 100,
                "test_accuracy": scores["test_bleu"] / 100,
                "summary": f"{translation.summary}; accuracy is BLEU / 100",
            }
        )
    _show(rows, as_json)


@cli.command()
@click.argument("name", required=False)
@click.option("--plot", type=click.Path(path_type=Path), help="With NAME: also draw latency over channel counts (PNG).")
@as_json
def devices(name: str | None, plot: Path | None, as_json: bool) -> None:
    """Lists the devices, or shows the card of the device NAME (or of the table at a path)."""
    if name is not None:
        device = load_device(name)
        click.echo(json.dumps(device.card, indent=2) if as_json else _indented(device.card))
        if plot is not None:
            if not isinstance(device, Device):
                raise ValueError(f"device {name!r} has no table of operations; --plot draws measured tables")
            from compress_gym.devices.plot import plot_device

            plot_device(device, plot)
            click.echo(f"drawn to {plot}", err=True)
        return
    if plot is not None:
        raise click.UsageError("--plot needs the NAME of a device")
    rows = []
    for device in (load_device(n) for n in list_devices()):
        error, runtime = device.card.get("stated_error", {}), device.card.get("runtime")
        if runtime and "threads" in device.card:
            runtime = f"{runtime} {device.card.get('precision')}, {device.card['threads']} thread(s)"
        if isinstance(device, TransformerDevice):
            error = error.get(device.metrics[0], {})
        rows.append(
            {
                "device": device.name,
                "hardware": device.card.get("measured_on", device.card.get("hardware")),
                "runtime": runtime,
                "knows": f"transformers of {device.task}" if isinstance(device, TransformerDevice) else "operations",
                "operations": len(device.table) if isinstance(device, Device) else None,
                "median_error": error.get("median_absolute_error"),
                "p95_error": error.get("p95_absolute_error"),
            }
        )
    _show(rows, as_json)


@cli.command()
@click.argument("task")
@as_json
def describe(task: str, as_json: bool) -> None:
    """Shows TASK's layers, channel groups and decisions; of a transformer its decisions."""
    if task in list_translation_tasks():
        _describe_transformer(task, as_json)
        return
    chosen = get_task(task)
    network, decisions = chosen.network(), chosen.channel_decisions()
    if as_json:
        values = {d.name: list(d.values) for d in decisions.decisions}
        click.echo(json.dumps({**network.to_json(), "decisions": values, "strategies": decisions.count}, indent=2))
        return
    layers = [
        {
            "layer": x.name,
            "kind": x.kind,
            "channels": f"{x.in_channels} -> {x.out_channels}",
            "kernel": x.kernel,
            "stride": x.stride,
            "input": f"{x.in_height}x{x.in_width}",
            "reads": _segments(x.inputs, "(input)"),
            "writes": _segments(x.outputs, "(output)"),
        }
        for x in network.layers
    ]
    click.echo(f"{task}: {chosen.summary}")
    _show(layers, as_json=False)
    click.echo(f"{len(network.groups)} channel groups, {decisions.count:,} strategies:")
    for group, decision in zip(network.groups, decisions.decisions, strict=True):
        click.echo(f"\n{decision.name}: keeps {', '.join(map(str, decision.values))}")
        for label, names in (("shrinks the outputs of", group.producers), ("and the inputs of", group.consumers)):
            click.echo(click.wrap_text(f"{label} {', '.join(names)}", 100, "    ", "        "))


def _describe_transformer(task: str, as_json: bool) -> None:
    chosen = get_translation_task(task)
    decisions = chosen.decisions()
    values = {d.name: list(d.values) for d in decisions.decisions}
    if as_json:
        click.echo(json.dumps({"decisions": values, "strategies": decisions.count}, indent=2))
        return
    click.echo(f"{task}: {chosen.summary}\n{len(values)} decisions, {decisions.count:,} strategies:")
    for name, legal in values.items():
        click.echo(f"{name}: {', '.join(map(str, legal))}")


@cli.command()
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option("--runtime", type=click.Choice(["onnxruntime", "torch"]), default="onnxruntime", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8", "mixed", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="int8 and mixed (layers of either) under onnxruntime, bf16 and fp16 under torch.",
)
@click.option("--cuda", is_flag=True, help="Measure the first CUDA device (torch).")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs a call.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=16, show_default=True, help="Visits of everything.")
@click.option("--repetitions", type=click.IntRange(1), default=12, show_default=True, help="Timed calls of each visit.")
@click.option("--out", type=click.Path(path_type=Path), help="The table [default: TASK-RUNTIME-PRECISION.csv].")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Write a bundle (zip) for a device without this package."
)
@click.option(
    "--import", "results", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A bundle's results.csv."
)
@click.option("--name", help="With --import: the name under which the device is installed.")
def profile(
    tasks: tuple[str, ...],
    runtime: str,
    precision: str,
    cuda: bool,
    batch: int,
    threads: int,
    rounds: int,
    repetitions: int,
    out: Path | None,
    export: Path | None,
    results: Path | None,
    name: str | None,
) -> None:
    """Measures this machine for TASKs: a latency table that `device=PATH` reads. Killed, it goes on where it was.

    For a device that cannot run this package: --export writes a bundle, --import installs what it brings back.
    """
    if (results is None) != (name is None) or (results is None) != bool(tasks) or (results and (out or export)):
        raise click.UsageError("give a TASK to measure or to --export, or --import RESULTS together with --name NAME")
    if results is not None and name is not None:
        _install(results, name)
        return
    chosen = [get_task(task) for task in dict.fromkeys(tasks)]
    try:
        from compress_gym.making.profile.networks import profile as run
        from compress_gym.making.profile.plan import ProfilePlan
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "live,devices", "measuring latencies") from error

    plan = ProfilePlan(runtime, precision, threads, cuda, batch, rounds, repetitions)
    if export is not None:
        from compress_gym.making.bundle import export_bundle

        if len(chosen) > 1:
            raise click.UsageError(f"--export writes the bundle of one TASK; given: {', '.join(tasks)}")
        click.echo(f"written to {export_bundle(chosen[0], plan, export)}; there: unzip it, python run.py")
        return
    path = out or Path(f"{'-'.join(task.name for task in chosen)}-{runtime}-{precision}.csv")
    if path.suffix != ".csv":
        raise ValueError(f"--out {path} must end in .csv")
    if path.exists() and card_path(path).exists():
        raise ValueError(f"--out {path} exists already; remove it or choose another")
    device = run(chosen, plan, path, _command())
    env, more = ("JointPQ", ', accuracy="live"') if plan.mixed else ("ChannelPrune", "")
    _report(device, path, f'gym.make("compress_gym/{env}-v0", task="{chosen[0].name}", device="{path}"{more})')


def _install(results: Path, name: str) -> None:
    """Makes a device of a bundle's results."""
    from compress_gym.making.bundle import import_results

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError(f"--name {name!r} must be letters, digits, dots, dashes and underscores, 64 at most")
    if name in list_devices():
        raise ValueError(f"--name {name!r}: there is a device of that name already; choose another")
    path = user_tables() / f"{name}.csv"
    device = import_results(results, path, _command())
    _report(
        device, path, f'gym.make("compress_gym/ChannelPrune-v0", task="{device.card["tasks"][0]}", device="{name}")'
    )


def _report(device: Device, path: Path, use: str) -> None:
    error = device.card["stated_error"]
    click.echo(
        f"{len(device.table)} operations measured, written to {path}\n"
        f"whole networks: median error {error['median_absolute_error']:.1%}, "
        f"95th percentile {error['p95_absolute_error']:.1%}, Kendall tau {error['kendall_tau']:.3f}\n"
        f"{_warning(error['median_absolute_error'])}use it: {use}"
    )


@cli.command()
@click.argument("task")
@click.option(
    "--env", type=click.Choice(sorted(ENDINGS)), default="ChannelPrune", show_default=True, help="Whose decisions."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [default: TASK-measured].")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--count", type=click.IntRange(1), default=4000, show_default=True, help="Of a space too large for all.")
@click.option("--sample", is_flag=True, help="A sample even of a space small enough for all.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def collect(
    task: str, env: str, out: Path | None, workers: int, count: int, sample: bool, seed: int, precision: str
) -> None:
    """Scores strategies of TASK live: all of them, or a broad sample. Killed, it goes on where it was."""
    try:
        from compress_gym.making.collect import collect as run
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "live", "scoring strategies live") from error
    chosen, folder = get_task(task), out or Path(f"{task}-measured{ENDINGS[env]}")
    path = folder / chosen.asset("measured", env).name
    if path.exists() and card_path(path).exists():
        raise ValueError(f"{path} exists already; remove it or choose another --out")
    click.echo(f"written to {run(chosen, folder, workers, count, seed, _command(), precision, env, sample)}")


@cli.command()
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), help="A file [default: where features='sensitivity' looks].")
def sensitivity(task: str, out: Path | None) -> None:
    """Measures how far TASK's outputs move when one layer alone is compressed; observations can hold it."""
    try:
        from compress_gym.making.sensitivity import measure_sensitivities
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "live", "compressing layers one at a time") from error
    chosen = get_task(task)
    path = out or chosen.sensitivity_path
    if path.suffix != ".npz":
        raise ValueError(f"--out {path} must end in .npz")
    if path.exists() and card_path(path).exists():
        raise ValueError(f"{path} exists already; remove it or choose another --out")
    click.echo(f"written to {measure_sensitivities(chosen, _command(), path)}")


@cli.group()
def data() -> None:
    """Data sets in their official archives."""


@data.command()
@click.argument("name", type=click.Choice(sorted(ARCHIVES)))
@click.option(
    "--from", "source", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Take it from this folder."
)
def fetch(name: str, source: Path | None) -> None:
    """Brings data set NAME into the data root: downloads its official archive unless it is there, or takes a copy."""
    archive = ARCHIVES[name]
    with Console(stderr=True).status(f"{'copying' if source else 'downloading ' + archive.url}"):
        folder = fetch_archive(name, source)
    click.echo(f"{name} is at {folder}, every file checked\nterms: {archive.terms}")


def _segments(segments: Sequence[Segment], fixed: str) -> str:
    return " + ".join(s.group or fixed for s in segments)


def _warning(error: float) -> str:
    if error <= LARGEST_ERROR:
        return ""
    return f"warning: that is above {LARGEST_ERROR:.0%}; was something else running? Measure again, alone.\n"


def _command() -> str:
    return shlex.join(["compress-gym", *sys.argv[1:]])


def _show(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    # A pipe has no width of its own; names are not to be cut there.
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_COLUMNS
    console, cells = (
        Console(width=wide),
        {name.replace("_", " "): [_cell(row[name]) for row in rows] for name in rows[0]},
    )
    # Names come first; they can be copied however narrow the terminal is. So can what has no words to break it at,
    # where that leaves enough to the columns of words.
    of_words = [name for name, texts in cells.items() if any(" " in text for text in texts)]
    widths = {n: max(map(len, [*n.split(), *texts])) for n, texts in cells.items() if n not in of_words}
    roomy = sum(widths.values()) + 10 * len(of_words) + 3 * len(cells) + 1 <= console.width
    table = Table()
    for number, name in enumerate(cells):
        width = widths.get(name) if roomy else None
        table.add_column(name, min_width=width, max_width=width, overflow="fold", no_wrap=not number)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    console.print(table)


# From here on the number of digits says more than the digits.
_COUNTED = 10**9


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if value < _COUNTED else f"{value:.1e}"
    return "" if value is None else str(value)


def _indented(card: Mapping[str, object], depth: int = 0) -> str:
    lines = []
    for key, value in card.items():
        if isinstance(value, dict):
            lines += [f"{'  ' * depth}{key}:", _indented(value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {value}")
    return "\n".join(lines)


def main() -> None:
    """Runs the command."""
    run_command(cli, "compress-gym")


if __name__ == "__main__":
    main()
