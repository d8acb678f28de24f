"""Tasks and devices, from their cards: each number with its error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fidelity.stated import sampling, standard_error, stated
from compress_gym.devices import Device, SimulatedDevice, TransformerDevice, list_devices, load_device, of_operations
from compress_gym.devices.correction import errors_by_task
from compress_gym.kinds import Case, cases_of
from compress_gym.support.cards import card_path, read_card, read_json
from compress_gym.tasks import Task
from docs.generator.shipped import device_cards, shipped_tasks
from docs.generator.text import percent, table


def tasks_page() -> str:
    """Writes the page of all tasks."""
    parts = [
        "# Tasks",
        "A task is a named network, data set, set of trained weights and measured accuracies. `compress-gym tasks` "
        "lists them, `compress-gym describe TASK` shows layers, channel groups and decisions. Everything on this page "
        "is read from the cards that lie beside the shipped files.",
        *map(_task_section, shipped_tasks()),
    ]
    if others := shipped_tasks(ready=False):
        parts += [
            "## Not shipped",
            "These are known by name, but lack files. The last column says what is there, or what makes it.",
            table(("task", "what", "weights"), map(_unshipped_row, others)),
        ]
    return "\n\n".join(parts) + "\n"


def _task_section(task: Task) -> str:
    facts = [*_facts(task), ("device by default", f"`{task.device}`"), ("version", task.version)]
    return "\n\n".join(
        [
            f"## {task.name}",
            f"{task.summary[0].upper()}{task.summary[1:]}.",
            table(facts[0], facts[1:]),
            "Accuracies of compressed networks:",
            table(("environment", "decisions", "strategies", "accuracy", "error"), map(_signal, cases_of(task))),
        ]
    )


def _facts(task: Task) -> Iterator[tuple[object, ...]]:
    """Yields what is known of the uncompressed network."""
    if task.declared.data is None:
        return
    card, seen = task.weights_card(), task.declared.calibration
    yield "data set", task.declared.data.partition(":")[0].rpartition(".")[2]
    for split in ("validation", "test"):
        if f"{split}_accuracy" in card:
            accuracy = with_error(card[f"{split}_accuracy"], card[f"{split}_images"])
            yield f"accuracy of the uncompressed network, {split} images", accuracy
    for size, scores in card.get("scores", {}).items():
        for metric in dict.fromkeys(case.kind.metric for case in cases_of(task)):
            found = ", ".join(f"{split} {scores[f'{split}_{metric.lower()}']}" for split in ("validation", "test"))
            yield f"{metric} of the {size} network", found
    yield "parameters", f"{card['parameters']:,}"
    yield "recovery", f"`{task.recovery}`" + (f" on {seen.images:,} training images" if seen else "")


def _signal(case: Case) -> tuple[object, ...]:
    """Says where the accuracies of a case come from and how far they can be trusted."""
    signal, decisions = case.best_signal(), case.decisions()
    size = case.kind.id, len(decisions)
    if case.task.declared.data is None:
        return *size, f"{decisions.count:,}", "your own: nothing was trained for it", None
    if signal == "live":
        images = case.task.declared.validation_images or case.task.weights_card().get("validation_images")
        error = sampling(images) if images else None
        return *size, None, "live: scored when it is asked for, which needs the data set", error
    card = read_card(case.asset(signal))
    return *size, f"{decisions.count:,}", f"{signal}: {card['what']}", stated(card)


def with_error(accuracy: float, images: int) -> str:
    """Writes an accuracy with its standard error."""
    return f"{percent(accuracy)} ± {100 * standard_error(accuracy, images):.2f} ({images:,} images)"


def _unshipped_row(task: Task) -> tuple[object, ...]:
    path = card_path(task.weights)
    if not path.exists():
        return f"`{task.name}`", task.summary, f"to be trained: `compress-gym train {task.name}`"
    card = read_json(path)
    validation = with_error(card["validation_accuracy"], card["validation_images"])
    return f"`{task.name}`", task.summary, f"trained: {validation} on validation images; no surrogate yet"


def devices_page() -> str:
    """Writes the page of all shipped devices."""
    measured = device_cards(Device)
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
                (row for name, card in measured.items() for row in _measured_rows(name, card)),
            ),
            table(
                ("device", "statistic", "checked on", "predicted / measured", "of the uncompressed network"),
                (row for name, card in measured.items() for row in _checked_rows(name, card)),
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
                (
                    row
                    for name, card in device_cards(TransformerDevice).items()
                    for row in _transformer_rows(name, card)
                ),
            ),
        ]
    )


def _measured_rows(name: str, card: dict[str, Any]) -> Iterator[tuple[object, ...]]:
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


def _checked_rows(name: str, card: dict[str, Any]) -> Iterator[tuple[object, ...]]:
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


def _transformer_rows(name: str, card: dict[str, Any]) -> Iterator[tuple[object, ...]]:
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
