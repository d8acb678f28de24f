"""Tasks and devices, from their cards: each number with its error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compress_gym.tasks.translation import TRANSLATION_TASKS, TranslationTask

from benchmarks.fidelity.stated import sampling, standard_error, stated
from compress_gym.devices import load_device
from compress_gym.devices.correction import errors_by_task
from compress_gym.support.cards import card_path, read_card, read_json
from compress_gym.tasks import ENDINGS, TASKS, Task, get_task, list_tasks
from docs.generator.text import percent, table


def tasks_page() -> str:
    """Writes the page of all tasks."""
    made = [get_task(name) for name in list_tasks()]
    parts = [
        "# Tasks",
        "A task is a named network, data set, set of trained weights and measured accuracies. `compress-gym tasks` "
        "lists them, `compress-gym describe TASK` shows layers, channel groups and decisions. Everything on this page "
        "is read from the cards that lie beside the shipped files.",
        *(_task_section(task) for task in made),
        "## Translation",
        "Transformers for translation, whose sizes are chosen; see [Transformers](transformers.md).",
        table(
            ("task", "genes", "strategies", "accuracy", "what"),
            (_translation_row(task) for task in TRANSLATION_TASKS.values()),
        ),
    ]
    others = [task for task in TASKS.values() if not task.shipped]
    if others:
        parts += [
            "## Not shipped",
            "These are known by name, but lack files. The last column says what is there, or what makes it.",
            table(("task", "what", "weights"), (_unshipped_row(task) for task in others)),
        ]
    return "\n\n".join(parts) + "\n"


def _task_section(task: Task) -> str:
    card = read_card(task.folder / "weights.safetensors")
    accuracies = [
        (
            f"accuracy of the uncompressed network, {split} images",
            with_error(card[f"{split}_accuracy"], card[f"{split}_images"]),
        )
        for split in ("validation", "test")
    ]
    facts = [
        ("data set", task.dataset),
        *accuracies,
        ("parameters", f"{card['parameters']:,}"),
        ("recovery", f"`{task.recovery}` on {task.calibration_images:,} training images"),
        ("device by default", f"`{task.device}`"),
        ("version", task.version),
    ]
    return "\n\n".join(
        [
            f"## {task.name}",
            f"{task.summary[0].upper()}{task.summary[1:]}.",
            table(facts[0], facts[1:]),
            "Accuracies of compressed networks:",
            table(("environment", "strategies", "accuracy", "error"), _signals(task)),
        ]
    )


def _signals(task: Task) -> Iterator[tuple[object, ...]]:
    """Yields, for each environment of a task, where accuracies come from and how far they can be trusted."""
    for env in ENDINGS:
        signal = task.best_signal(env)
        if signal == "live":
            images = task.validation_images or read_card(task.folder / "weights.safetensors")["validation_images"]
            yield (
                f"{env}-v0",
                None,
                "live: scored when it is asked for, which needs the data set",
                sampling(images),
            )
            continue
        card = read_card(task.asset(signal, env))
        yield f"{env}-v0", f"{task.decisions(env).count:,}", f"{signal}: {card['what']}", stated(card)


def with_error(accuracy: float, images: int) -> str:
    """Writes an accuracy with its standard error."""
    return f"{percent(accuracy)} ± {100 * standard_error(accuracy, images):.2f} ({images:,} images)"


def _translation_row(task: TranslationTask) -> tuple[object, ...]:
    decisions = task.decisions()
    if task.reader is None:
        accuracy = "your own: nothing was trained for it"
    elif (task.folder / "surrogate.npz").exists():
        scores = read_card(task.folder / "weights.safetensors")["scores"]
        bleu = ", ".join(f"{size} {scores[size]['test_bleu']}" for size in ("largest", "smallest"))
        accuracy = f"surrogate: {stated(read_card(task.folder / 'surrogate.npz'))}; test BLEU, live: {bleu}"
    elif (task.folder / "weights.safetensors").exists():
        accuracy = "scored live; no surrogate yet"
    else:
        accuracy = "not yet: its weights are not shipped"
    return f"`{task.name}`", len(decisions), f"{decisions.count:,}", accuracy, task.summary


def _unshipped_row(task: Task) -> tuple[object, ...]:
    path = card_path(task.folder / "weights.safetensors")
    if not path.exists():
        return f"`{task.name}`", task.summary, f"to be trained: `python -m compress_gym.making.train {task.name}`"
    card = read_json(path)
    validation = with_error(card["validation_accuracy"], card["validation_images"])
    return f"`{task.name}`", task.summary, f"trained: {validation} on validation images; no surrogate yet"


def devices_page() -> str:
    """Writes the page of all shipped devices."""
    return "\n\n".join(
        [
            "# Devices",
            "A device is where latency and energy come from: a table of measured operations, or a simulator of a "
            'published accelerator. Every environment takes `device="NAME"`; `compress-gym devices NAME` prints a '
            "card. [The format](devices.md) and [a device of your own](own/device.md) have pages of their own. "
            "Everything here is read from the cards.",
            "## Measured",
            "The error is that of predicted against measured latency of whole networks, none of which the correction "
            "was fitted on. Energies of measured devices are analytic: they compare strategies, and forecast nothing.",
            table(
                ("device", "hardware", "runtime", "tasks", "operations", "median error", "95 % within", "Kendall tau"),
                (row for name in list_devices(Device, shipped=True) for row in _measured_rows(name)),
            ),
            table(
                ("device", "statistic", "checked on", "predicted / measured", "of the uncompressed network"),
                (row for name in list_devices(Device, shipped=True) for row in _checked_rows(name)),
            ),
            "## Simulated",
            "Checked against tables that their authors or others published: "
            "[the comparison](benchmarks/results/simulators/simulators.md).",
            table(("device", "bits", "what", "checked against"), map(_simulated_row, list_devices(SimulatedDevice))),
            "## Of transformers",
            "Latencies of whole transformers: sums of products of genes with fitted coefficients. The error is that of "
            "transformers that the fit did not see (mape: mean absolute percentage error).",
            table(
                ("device", "measured on", "latency", "error"),
                (row for name in list_devices(TransformerDevice, shipped=True) for row in _transformer_rows(name)),
            ),
        ]
    )


def _measured_rows(name: str) -> Iterator[tuple[object, ...]]:
    card = load_device(name).card
    runtime = f"{card['runtime']} {card['versions'].get(card['runtime'], '')}"
    for task, error in errors_by_task(card).items():
        yield (
            f"`{name}`",
            card["hardware"],
            f"{runtime}, {card['precision']}, {card['threads']} thread",
            task,
            f"{card['operations']:,}",
            f"{100 * error['median_absolute_error']:.1f} %",
            f"{100 * error['p95_absolute_error']:.1f} %",
            f"{error['kendall_tau']:.3f}",
        )


def _checked_rows(name: str) -> Iterator[tuple[object, ...]]:
    card = load_device(name).card
    for task, error in errors_by_task(card).items():
        ratio = error["predicted_over_measured"]
        shown = f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
        uncompressed = error.get("uncompressed_predicted_over_measured")
        whole = None if uncompressed is None else f"{uncompressed:.2f}"
        yield f"`{name}`", card["statistic"], f"{task}: {error['checked_on']}", shown, whole


def _simulated_row(name: str) -> tuple[object, ...]:
    device = of_operations(load_device(name))
    bits = ", ".join(map(str, device.bit_values.values)) if device.bit_values else None
    return f"`{name}`", bits, device.card["what"], device.card["checked_against"]


def _transformer_rows(name: str) -> Iterator[tuple[object, ...]]:
    card = load_device(name).card
    for of, error in card["stated_error"].items():
        if isinstance(error, dict):
            if "median_absolute_error" in error:
                figures = (
                    f"median {100 * error['median_absolute_error']:.1f} %, 95 % within "
                    f"{100 * error['p95_absolute_error']:.1f} %, Kendall tau {error['kendall_tau']:.2f}"
                )
            else:  # HAT's measures
                figures = ", ".join(f"{key} {value:.4g}" for key, value in error.items())
            yield f"`{name}`", card.get("measured_on", card["hardware"]), Path(of).stem, figures
