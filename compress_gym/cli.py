"""The `compress-gym` command."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

import compress_gym  # noqa: F401  (registers the kinds)
from compress_gym.data.archives import ARCHIVES
from compress_gym.data.archives import fetch as fetch_archive
from compress_gym.devices import Device, TransformerDevice, list_devices, load_device, user_tables
from compress_gym.kinds import KINDS, Case, cases_of, get_case, get_kind
from compress_gym.networks import Network, Segment
from compress_gym.support.cards import card_path, read_json
from compress_gym.support.commands import run_command
from compress_gym.support.errors import needing, unknown_name
from compress_gym.support.lazy import load
from compress_gym.tasks import Task, fetchable, get_task, is_shipped, list_tasks, user_tasks
from compress_gym.tasks.conditions import Conditions

LARGEST_ERROR = 0.1
_PIPED_COLUMNS = 200


class KindName(click.ParamType):
    """The name of a kind, with or without its version, of this package or another one."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the kind's name without its version."""
        try:
            return get_kind(value).name
        except KeyError as error:
            self.fail(str(error.args[0]), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Lists the kinds."""
        return f"[{'|'.join(sorted(kind.name for kind in KINDS.values()))}]"


class DataName(click.ParamType):
    """The name of a data set, or of a task's weights that the package lacks."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns a name that is known."""
        if value not in (legal := self._legal()):
            self.fail(str(unknown_name("data", value, legal).args[0]), param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Lists the names."""
        return f"{{{'|'.join(self._legal())}}}"

    def _legal(self) -> list[str]:
        return sorted({*ARCHIVES, *fetchable()})


PATH = click.Path(path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
with_env = click.option("--env", type=KindName(), help="Whose decisions [default: the first kind of the task].")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
@click.version_option(package_name="compress_gym")
def cli() -> None:
    """Tasks, devices and measurements of compress_gym."""


@cli.command()
@click.option("--where", is_flag=True, help="Print the folder of your own tasks instead.")
@as_json
def tasks(where: bool, as_json: bool) -> None:
    """Lists the tasks: those that are shipped and your own."""
    if where:
        click.echo(user_tasks())
        return
    rows = []
    for task in map(get_task, list_tasks()):
        row: dict[str, Any] = {"task": task.name, "version": task.version}
        try:
            row |= _described(task)
        except ValueError as error:  # what is wrong with one task hides no other one
            unknown = dict.fromkeys(("kinds", "strategies", "validation_accuracy", "test_accuracy"))
            row |= {**unknown, "summary": f"cannot be used: {error.args[0]}"}
        rows.append(row)
    _show(rows, as_json)


def _described(task: Task) -> dict[str, Any]:
    """Returns what a row of the list says of a task besides its name."""
    card = task.weights_card() if task.declared.data is not None else {}
    scores = card.get("scores", {}).get("largest", {})
    cases = cases_of(task)
    return {
        "kinds": ", ".join(case.kind.name for case in cases),
        "strategies": cases[0].decisions().count if cases else None,
        "validation_accuracy": card.get("validation_accuracy", scores.get("validation_bleu", 0) / 100 or None),
        "test_accuracy": card.get("test_accuracy", scores.get("test_bleu", 0) / 100 or None),
        "summary": task.summary + (f"; accuracy is {cases[0].kind.metric} / 100" if scores else ""),
    }


@cli.group(name="task")
def task_group() -> None:
    """Your own tasks."""


@task_group.command()
@click.argument("name")
@click.option("--network", required=True, help="FILE.py:FUNCTION that returns the torch module; the file is copied.")
@click.option("--weights", required=True, type=FILE, help="Its trained weights, safetensors.")
@click.option("--data", "splits", required=True, help="FILE.py:FUNCTION that returns train, validation and test.")
@click.option("--device", help="The device that its environments take by default: a name, or a table's path.")
@click.option("--levels", type=click.IntRange(2, 16), default=16, show_default=True, help="Channel counts of a group.")
@click.option("--recovery", help="What is done before a strategy is scored [default: as the shipped tasks].")
@click.option("--loss", is_flag=True, help="Score the validation loss, too.")
def new(
    name: str,
    network: str,
    weights: Path,
    splits: str,
    device: str | None,
    levels: int,
    recovery: str | None,
    loss: bool,
) -> None:
    """Makes task NAME of your network and data; from then on every command and environment takes the name."""
    make = load("compress_gym.making.own_task:new_task")
    made = make(name, network, weights, splits, _command(), device, levels, recovery, loss)
    card, classes = made.weights_card(), made.network().layers[-1].out_channels
    if card["validation_accuracy"] < 2 / classes:
        click.echo(
            f"warning: the accuracy is near chance ({classes} classes): are the inputs normalised as in training, and "
            "of the size that the weights were trained with?",
            err=True,
        )
    click.echo(
        f"written to {made.folder}: validation {card['validation_accuracy']:.4f}, test {card['test_accuracy']:.4f}; "
        f"kinds: {', '.join(made.declared.kinds)}\n"
        f'use it: gym.make("compress_gym/{made.declared.kinds[0]}", task="{name}")'
    )


@cli.command()
@click.argument("name", required=False)
@click.option("--plot", type=PATH, help="With NAME: also draw latency over channel counts (PNG).")
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
@with_env
@as_json
def describe(task: str, env: str | None, as_json: bool) -> None:
    """Shows TASK's layers and channel groups, where it has such, and its decisions."""
    case = _case(task, env)
    network, decisions = case.task.network(), case.decisions()
    values = {d.name: list(d.values) for d in decisions.decisions}
    if as_json:
        described = {"decisions": values, "strategies": decisions.count}
        click.echo(json.dumps({**network.to_json(), **described}, indent=2))
        return
    click.echo(f"{task}: {case.task.summary}")
    groups = network.groups if isinstance(network, Network) else ()
    if isinstance(network, Network):
        _show(
            [
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
            ],
            as_json=False,
        )
    click.echo(f"{case.kind.id}: {len(values)} decisions, {decisions.count:,} strategies:")
    of_group = {group.name: group for group in groups}
    for decision in decisions.decisions:
        click.echo(f"\n{decision.name}: {', '.join(map(str, decision.values))}")
        group = of_group.get(decision.subject) if decision.kind == "channels" else None
        for label, names in (
            (("shrinks the outputs of", group.producers), ("and the inputs of", group.consumers)) if group else ()
        ):
            click.echo(click.wrap_text(f"{label} {', '.join(names)}", 100, "    ", "        "))


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
@click.option("--rounds", type=click.IntRange(1), help="Visits of everything [default: 16; of transformers 8].")
@click.option("--repetitions", type=click.IntRange(1), help="Timed calls of each visit [default: 12; 3].")
@click.option("--fitted", type=click.IntRange(1), help="Whole networks that are fitted on [default: 30; 160].")
@click.option(
    "--checked", type=click.IntRange(2), help="Whole networks that the error is stated on [default: 50; 100]."
)
@click.option("--out", type=PATH, help="The table [default: TASK-RUNTIME-PRECISION.csv].")
@click.option("--export", type=PATH, help="Write a bundle (zip) for a device without this package.")
@click.option("--import", "results", type=FILE, help="A bundle's results.csv.")
@click.option("--name", help="With --import: the name under which the device is installed.")
def profile(
    tasks: tuple[str, ...],
    runtime: str,
    precision: str,
    cuda: bool,
    batch: int,
    threads: int,
    rounds: int | None,
    repetitions: int | None,
    fitted: int | None,
    checked: int | None,
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
    cases = [_case(task) for task in dict.fromkeys(tasks)]
    chosen, making = [case.task for case in cases], cases[0].kind.profile
    if making is None or any(case.kind.profile != making for case in cases):
        raise ValueError(f"{', '.join(tasks)}: not to be profiled, or not together")
    given = {"rounds": rounds, "repetitions": repetitions, "fitted": fitted, "checked": checked}
    with needing("torch and ONNX Runtime", "live,devices", "compress-gym profile"):
        run, plan_of = load(f"{making}:profile"), load(f"{making}:plan_of")
    plan = plan_of(runtime, precision, threads, cuda, batch, **{k: v for k, v in given.items() if v is not None})
    if export is not None:
        export_bundle = load("compress_gym.making.bundle:export_bundle")
        if len(chosen) > 1:
            raise click.UsageError(f"--export writes the bundle of one TASK; given: {', '.join(tasks)}")
        click.echo(f"written to {export_bundle(chosen[0], plan, export)}; there: unzip it, python run.py")
        return
    path = _new_file(out or Path(f"{'-'.join(task.name for task in chosen)}-{runtime}-{precision}.csv"), ".csv")
    device = run(chosen, plan, path, _command())
    # The last kind decides all that the others do.
    kind = cases_of(chosen[0])[-1].kind if getattr(device, "bit_values", None) else cases[0].kind
    more = ', accuracy="live"' if getattr(device, "bit_values", None) else ""
    _report(device, path, f'gym.make("compress_gym/{kind.id}", task="{chosen[0].name}", device="{path}"{more})')


def _install(results: Path, name: str) -> None:
    """Makes a device of a bundle's results."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError(f"--name {name!r} must be letters, digits, dots, dashes and underscores, 64 at most")
    if name in list_devices():
        raise ValueError(f"--name {name!r}: there is a device of that name already; choose another")
    path = user_tables() / f"{name}.csv"
    device = load("compress_gym.making.bundle:import_results")(results, path, _command())
    first = cases_of(get_task(device.card["tasks"][0]))[0]
    _report(device, path, f'gym.make("compress_gym/{first.kind.id}", task="{first.task.name}", device="{name}")')


def _report(device: Any, path: Path, use: str) -> None:
    error = device.card["stated_error"]
    error = error if "median_absolute_error" in error else error[device.metrics[0]]
    click.echo(
        f"measured, written to {path}\n"
        f"whole networks: median error {error['median_absolute_error']:.1%}, "
        f"95th percentile {error['p95_absolute_error']:.1%}, Kendall tau {error['kendall_tau']:.3f}\n"
        f"{_warning(error['median_absolute_error'])}use it: {use}"
    )


@cli.command()
@click.argument("task")
@with_env
@click.option("--out", type=PATH, help="Folder [default: your task's own, else TASK-measured].")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--count", type=click.IntRange(10), default=4000, show_default=True, help="Of a space too large for all.")
@click.option("--costly", type=click.IntRange(10), help="How many get the costly scores, too (BLEU) [default: all].")
@click.option("--sample", is_flag=True, help="A sample even of a space small enough for all.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--minutes", type=click.FloatRange(0), help="Begin nothing after so many; the same command goes on.")
@click.option("--cuda", is_flag=True, help="Score on the first CUDA device.")
def collect(
    task: str,
    env: str | None,
    out: Path | None,
    workers: int,
    count: int,
    costly: int | None,
    sample: bool,
    seed: int,
    precision: str,
    minutes: float | None,
    cuda: bool,
) -> None:
    """Scores strategies of TASK live: all of them, or a broad sample. Killed, it goes on where it was."""
    run, case = load("compress_gym.making.collect:collect"), _case(task, env)
    folder = out or (Path(f"{case.name}-measured") if is_shipped(case.task) else case.task.folder)
    path = folder / case.asset("measured").name
    if path.exists() and card_path(path).exists():
        raise ValueError(f"{path} exists already; remove it or choose another --out")
    conditions = Conditions(precision=precision, device="cuda" if cuda else "cpu")
    limit = math.inf if minutes is None else minutes
    click.echo(f"written to {run(case, folder, workers, count, seed, _command(), conditions, sample, costly, limit)}")


@cli.command()
@click.argument("task")
@with_env
@click.option("--from", "source", type=FILE, help="Strategies.npz.")
@click.option("--out", type=PATH, help="Folder [default: your task's own].")
@click.option("--model", default="auto", show_default=True, help="network, additive, or the better one where few.")
def fit(task: str, env: str | None, source: Path | None, out: Path | None, model: str) -> None:
    """Fits the surrogates of TASK to what `collect` measured, and states their errors on their cards."""
    run, case = load("compress_gym.making.fit_case:fit_case"), _case(task, env)
    stated = run(case, _folder(case.task, out), _command(), source, model)
    if case.asset("measured").exists():
        click.echo(f"every strategy is measured ({case.asset('measured').name}), so environments read that table")
    for name, facts in stated.items():
        error = facts["held_out"]["all_rows"]
        click.echo(
            f"{name}: {facts['rows']:,} rows, held out: {error['mae']:.4f}, Kendall tau {error['kendall_tau']:.3f}"
        )


@cli.command()
@click.argument("task")
@click.option("--out", type=PATH, help="A file [default: your task's own].")
def sensitivity(task: str, out: Path | None) -> None:
    """Measures how far TASK's outputs move when one layer alone is compressed; observations can hold it."""
    case = _case(task)
    if case.kind.sensitivity is None:
        raise ValueError(f"TASK {task!r}: {case.kind.id} has no sensitivities of single layers")
    path = _new_file(out or _folder(case.task, None) / "sensitivity.npz", ".npz")
    click.echo(f"written to {load(case.kind.sensitivity)(case.task, _command(), path)}")


@cli.command()
@click.argument("task")
@click.option("--out", type=PATH, help="Folder [default: yours, of the task's name].")
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16/--no-bf16", default=None, help="[default: bf16 where it is computed natively]")
@click.option("--cuda", is_flag=True, help="Train on the first CUDA device.")
@click.option("--epochs", type=click.IntRange(1), help="One cycle of so many instead of the recipe's.")
@click.option("--updates", type=click.IntRange(1), help="Of a SuperTransformer, instead of the recipe's.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate, of a SuperTransformer.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after so many, whatever is left.")
@click.option("--warm-start", type=FOLDER, help="Weights to begin with.")
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option("--checkpoint", type=PATH, help="Written now and then; a killed training goes on.")
def train(task: str, out: Path | None, threads: int | None, **settings: Any) -> None:
    """Trains TASK's network on its training split and writes weights, card and network description."""
    case = _case(task)
    if case.kind.train is None:
        raise ValueError(f"TASK {task!r}: {case.kind.id} has no training")
    run, settings_of = load(case.kind.train), load("compress_gym.making.train:TrainSettings")
    declared = None
    if out is None and is_shipped(case.task) and not case.task.ready:
        out, declared = user_tasks() / task, case.task.folder / "task.json"
    elif out is None:
        raise ValueError(f"TASK {task!r} has weights already; give --out FOLDER for others")
    if threads:
        load("torch:set_num_threads")(threads)
    reached = run(case.task, out, settings_of(**settings), _command())
    if declared is not None:
        shutil.copy(declared, out)
    click.echo(reached)


@cli.command()
@click.argument("task")
@click.argument("strategy", type=FILE)
@with_env
@click.option("--out", required=True, type=PATH, help="Where to: ONNX; of a transformer a folder.")
def export(task: str, strategy: Path, env: str | None, out: Path) -> None:
    """Writes the compressed network of STRATEGY, a run's best_strategy.json, to a file."""
    case, found = _case(task, env), read_json(strategy)
    values = found.get("strategy", found)
    if env is None:  # the kind whose decisions they are
        case = next((c for c in cases_of(case.task) if set(c.decisions().names) == set(values)), case)
    written = case.compressor().export(case.decisions().encode(values), out)
    click.echo(f"written to {written}")


@cli.group()
def data() -> None:
    """Data sets in their official archives, and weights that are not in the package."""


@data.command()
@click.argument("name", type=DataName())
@click.option("--from", "source", type=FOLDER, help="Take it from this folder; weights from a checkout.")
def fetch(name: str, source: Path | None) -> None:
    """Brings data set NAME into the data root: downloads its official archive unless it is there, or takes a copy.

    NAME can also be TASK-weights: the weights of a task that are not in the package, since the terms of their data are
    narrower than its licence. They go to your folder of tasks and devices, and the task finds them there.
    """
    with Console(stderr=True).status("copying" if source else "downloading"):
        folder = fetch_archive(name, source) if name in ARCHIVES else fetchable()[name].fetch(source)
    terms = ARCHIVES[name].terms if name in ARCHIVES else fetchable()[name].terms
    click.echo(f"{name} is at {folder}, every file checked\nterms: {terms}")


@cli.command("warm-up")
@as_json
def warm_up(as_json: bool) -> None:
    """Compiles all kernels and keeps them on disk, so that no first episode waits: for images and CI jobs."""
    from compress_gym.kinds.shared.warm_up import cache_bytes, cache_folders, steps

    for play in track(list(steps()), "compiling", console=Console(stderr=True)):
        play()
    folders, size = [str(folder) for folder in cache_folders()], cache_bytes()
    if as_json:
        click.echo(json.dumps({"folders": folders, "bytes": size}, indent=2))
    elif folders:
        click.echo(f"{size / 1e6:.1f} MB of compiled kernels are in:\n" + "\n".join(folders))
    else:
        raise ValueError("no folder for compiled kernels can be written; set NUMBA_CACHE_DIR to one that can")


def _case(task: str, env: str | None = None) -> Case:
    """Returns a task's case: of the wanted kind, else of the first that it is meant for."""
    found = get_task(task)
    kinds = [case.kind for case in cases_of(found)]
    if env is None and not kinds:
        raise ValueError(f"TASK {task!r} is meant for {found.declared.kinds}, of which no kind is installed")
    return get_case(env or kinds[0], found)


def _folder(task: Task, out: Path | None) -> Path:
    """Returns where results go: what is shipped stays as it is."""
    if out is None and is_shipped(task):
        raise ValueError(f"TASK {task.name!r} is shipped, and nothing is written into the package; give --out FOLDER")
    return out or task.folder


def _new_file(path: Path, ending: str) -> Path:
    if path.suffix != ending:
        raise ValueError(f"--out {path} must end in {ending}")
    if path.exists() and card_path(path).exists():
        raise ValueError(f"--out {path} exists already; remove it or choose another")
    return path


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
    console = Console(width=wide)
    cells = {name.replace("_", " "): [_cell(row[name]) for row in rows] for name in rows[0]}
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
