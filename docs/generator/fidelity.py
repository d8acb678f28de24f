"""How true the numbers are, from the stored results and the cards; what has no result yet is said to have none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.fidelity.report import GAPS, bounded
from benchmarks.fidelity.stated import standard_error, stated
from compress_gym.devices import Device, TransformerDevice
from compress_gym.devices.correction import errors_by_task
from compress_gym.kinds import Case
from compress_gym.support.cards import read_card, read_json
from docs.generator.reports import missing
from docs.generator.shipped import device_cards, shipped_cases
from docs.generator.text import RESULTS, table
from leaderboard.__main__ import RECORDS, SUBMISSIONS

SIGNALS_WORDS = (
    "Each row is one environment on one task; all figures are in points (percent). The *error* of a surrogate is its "
    "mean absolute error on strategies that the fit did not see. The *error* of measured accuracies is the largest "
    "standard error that their number of images allows. The *gap* is how much more the surrogate predicts than is "
    "scored live, for what a search found by maximising it: on average, and within which 9 of 10 strategies lie, at "
    "the budget where that range is widest. It is empty where the card states none."
)


def signals_table() -> str:
    """Writes every shipped signal of accuracies with its error: a row a task and kind, a number a cell."""
    heads = ("task", "environment", "accuracies", "error", "Kendall tau", "gap", "9 of 10 within")
    return table(heads, (row for case in shipped_cases() if (row := _signal(case))))


def _signal(case: Case) -> tuple[object, ...] | None:
    signal = case.best_signal()
    if signal == "live":
        return None
    card = read_card(case.asset(signal))
    error, named = card["stated_error"], (f"`{case.task.name}`", case.kind.name, signal)
    if signal == "measured":
        return *named, f"{100 * standard_error(0.5, card['validation_images']):.2f}", None, None, None
    one_figure = not isinstance(error["held_out"], dict)
    held_out = error if one_figure else error["held_out"]["broad_sample"]
    mean = held_out["mean_absolute_error" if one_figure else "mae"]
    gaps = [error[key] for key in GAPS if key in error]
    worst = max(gaps, key=lambda gap: gap["p90_absolute"], default=None)
    driven: tuple[object, ...] = (None, None)
    if worst is not None:
        driven = f"{100 * worst['signed_mean']:+.2f}", f"{100 * worst['p90_absolute']:.2f}"
    return *named, f"{100 * mean:.2f}", f"{held_out['kendall_tau']:.2f}", *driven


def fidelity_page(results: Path = RESULTS) -> str:
    """Writes the page.

    Args:
        results: Folder of the stored results.
    """
    return "\n\n".join(
        [
            "# How true are the numbers?",
            "A step takes microseconds because what is slow was measured before. This page says what that costs in "
            "truth. It is written by a program, from the cards beside the shipped files and from "
            "`benchmarks/results`; accuracies are in points (percent).",
            "## All signals",
            SIGNALS_WORDS,
            signals_table(),
            "## Accuracies that were measured",
            "Every strategy was scored live: a real smaller network, on real validation images. What is left is the "
            "sampling error of so many images, and what another processor rounds differently.",
            table(("task", "environment", "strategies", "error"), _measured_rows()),
            "## Accuracies that are predicted",
            "Held out: strategies that the fit did not see; beside their Kendall tau what a perfect predictor of the "
            "true accuracy would reach, since the labels themselves are of so many images. Near the front is where "
            "agents drive a surrogate: the fifth that is predicted best in each tenth of the budgets; shown are the "
            "lowest and the highest Kendall tau of the tenths, and the median share of what a perfect predictor could "
            "reach on labels as noisy as these.",
            _surrogates(results),
            "## What searches make of the errors",
            "The exploitation gap: strategies that a search found by maximising the surrogate, scored live. Positive: "
            "the surrogate promised too much. *Loss from trusting* is how far the live accuracy of what looked best "
            "is below the best of them.",
            _exploitation(results),
            "The leaderboard's entries were scored live, too: what whole allowances found at each track's budget; each "
            "distinct strategy counts once.",
            table(("track", "strategies", "signed mean", "90 % within", "largest"), leaderboard_rows()),
            "## Before and after fine-tuning",
            "Strategies are scored after a cheap recovery. Does that rank them as fine-tuning would? Random strategies "
            "at half the multiply-accumulates, scored before on one half of the images and after on the other; the "
            "last row of a task is the fine-tuned accuracy against itself, what so many images allow. Published for "
            "Plain-20 (Distiller's notebooks on AMC, random policies): Pearson 0.07 and 0.13 for L1 without "
            "reconstruction, 0.59 to 0.75 with it.",
            _finetuned(results / "finetuned"),
            "## Latencies",
            "Predicted against measured latency of whole networks that had no part in the fit; a sum of isolated "
            "timings without the correction would be off by the last column.",
            table(("device", "checked on", "median error", "95 % within", "uncorrected sum"), _latency_rows()),
            "[Devices](../shipped-devices.md) has the cards.",
            "## Simulators",
            _simulators(results / "simulators" / "simulators.json"),
        ]
    )


def _measured_rows() -> Iterator[tuple[object, ...]]:
    for case in shipped_cases():
        if case.best_signal() == "measured":
            count, error = f"{case.decisions().count:,}", stated(read_card(case.asset("measured")))
            yield f"`{case.task.name}`", case.kind.id, count, error


def _surrogates(results: Path) -> str:
    rows: list[tuple[object, ...]] = []
    for name, facts in _reports(results).items():
        if "held_out" not in facts:
            continue
        held_out = facts["held_out"]["broad_sample"]
        rows.append(
            (
                f"[{name}](../benchmarks/results/fidelity/{name}.md)",
                f"{facts['rows']:,}",
                f"{100 * held_out['mae']:.2f}",
                f"{held_out['kendall_tau']:.2f}",
                f"{held_out['ceiling']:.2f}",
                *_near_the_front(facts["front"]),
            )
        )
    rows += _stated_alone(_reports(results))
    held_out_heads = ("held-out error", "held-out tau", "its ceiling")
    heads = ("surrogate", "fitted to", *held_out_heads, "tau near the front", "share of the ceiling")
    return table(heads, rows) if rows else missing("python -m benchmarks.fidelity TASK")


def _near_the_front(tenths: list[dict[str, Any]]) -> tuple[str, str]:
    """Returns the range of Kendall tau, and the median share of its ceiling, where the labels' noise leaves one."""
    taus = [tenth["kendall_tau"] for tenth in tenths if tenth.get("kendall_tau") is not None]
    shares = [tenth["share_of_ceiling"] for tenth in tenths if tenth.get("share_of_ceiling") is not None]
    between = f"{min(taus):.2f} to {max(taus):.2f}" if taus else "too few"
    return between, f"{median(shares):.2f}" if shares else "not known"


def _stated_alone(reports: dict[str, dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """Yields what cards state of surrogates that were fitted before reports held it."""
    for case in shipped_cases():
        error = read_card(case.asset("surrogate"))["stated_error"] if case.best_signal() == "surrogate" else {}
        if isinstance(error.get("held_out"), int):
            cells = (f"{100 * error['mean_absolute_error']:.2f}", f"{error['kendall_tau']:.2f}", "not known")
            front = _near_the_front(reports[case.name]["front"]) if case.name in reports else ("not stated",) * 2
            yield f"`{case.name}`", f"{error['fitted']:,}", *cells, *front


def _exploitation(results: Path) -> str:
    rows = [
        (name, search, gap["strategies"], f"{100 * gap['signed_mean']:+.2f}", *_points(gap))
        for name, search, gap in _gaps(results)
    ]
    heads = ("surrogate", "search", "strategies", "signed mean", "90 % within", "loss from trusting")
    return table(heads, rows) if rows else missing("python -m benchmarks.fidelity TASK")


def _gaps(results: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields name, search and exploitation gap of every surrogate of accuracies."""
    for name, facts in _reports(results).items():
        for gap in (facts[key] for key in GAPS if key in facts):
            within = bounded({"cost": facts["cost"], **gap})
            yield name, f"{gap['method']} at {gap['budget']} of {within}, seeds {gap['seeds']}", gap
        if "searches" in facts:
            budgets = ", ".join(map(str, facts["budgets"]))
            yield name, f"{', '.join(facts['searches'])} at {budgets}, {facts['seeds']} seeds", facts["accuracy"]


def leaderboard_rows() -> Iterator[tuple[object, ...]]:
    """Yields what surrogates said of the entries' strategies less what was scored live, in points."""
    for folder in sorted(path for path in SUBMISSIONS.iterdir() if path.is_dir()):
        gaps: dict[tuple[int, ...], float] = {}
        for path in sorted(folder.glob("*.json")):
            entry, record = read_json(path), RECORDS / folder.name / path.name
            if not record.exists() or any(o["accuracy_source"] != "surrogate" for o in entry["origins"].values()):
                continue
            live = {(r["task"], r["seed"]): r for r in read_json(record)["results"]}
            for result in entry["results"]:
                scored = live[result["task"], result["seed"]]
                gap = 100 * (result["validation_accuracy"] - scored["validation_accuracy"])
                gaps[tuple(scored["choices"])] = gap
        if gaps:
            values = np.array(list(gaps.values()))
            p90, most = np.quantile(np.abs(values), 0.9), np.abs(values).max()
            yield folder.name, len(values), f"{values.mean():+.2f}", f"{p90:.2f}", f"{most:.2f}"


def _points(gap: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * gap['p90_absolute']:.2f}", f"{100 * gap['loss_from_trusting']:.2f}"


def _reports(results: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: read_json(path) for path in sorted((results / "fidelity").glob("*.json"))}


def _finetuned(folder: Path) -> str:
    reports = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if not reports:
        return missing("python -m benchmarks.finetuned cifar10-plain20")
    rows = [
        (
            f"[{facts['task']}](../benchmarks/results/finetuned/{facts['task']}.md)",
            row["recovery"],
            f"{100 * row['mean_accuracy']:.1f} %",
            f"{row['kendall_tau']:.2f} [{row['interval'][0]:.2f}, {row['interval'][1]:.2f}]",
            f"{row['pearson']:.2f}",
        )
        for facts in reports
        for row in facts["correlations"]
    ]
    return table(("task", "recovery", "mean accuracy", "Kendall tau with the fine-tuned [95 %]", "Pearson r"), rows)


def _latency_rows() -> Iterator[tuple[object, ...]]:
    for name, card in device_cards(Device).items():
        for task, error in errors_by_task(card).items():
            cells = [f"{100 * error[key]:.1f} %" for key in ("median_absolute_error", "p95_absolute_error")]
            uncorrected = f"{error['uncorrected_sum_over_measured']:.2f} times"
            yield f"`{name}`", f"{task}: {error['checked_on']}", *cells, uncorrected
    for name, card in device_cards(TransformerDevice).items():
        error = card["stated_error"]
        if of := error.get("latency_ms"):  # HAT's devices were measured by others
            cells = [f"{100 * of[key]:.1f} %" for key in ("median_absolute_error", "p95_absolute_error")]
            yield f"`{name}`", error["checked_on"], *cells, "whole transformers were fitted"


def _simulators(path: Path) -> str:
    if not path.exists():
        return missing("python -m benchmarks.simulators")
    facts = read_json(path)
    rows = [
        ("bitfusion", f"APQ's table, {what}, held-out half", _close(errors))
        for what, errors in facts["apq"]["held_out_half"].items()
    ]
    rows += [
        (device, "shape of HAQ's precision curve", _close(errors["curve"]))
        for device, errors in facts["haq"].items()
        if device in ("bismo-edge", "bismo-cloud")
    ]
    link = "[The whole comparison](../benchmarks/results/simulators/simulators.md), with what is inferred."
    return f"{table(('device', 'against', 'agreement'), rows)}\n\n{link}"


def _close(errors: dict[str, Any]) -> str:
    return (
        f"Spearman {errors['spearman']:.4f}, median error {100 * errors['median_error']:.2f} %, 95 % within "
        f"{100 * errors['p95_error']:.2f} % ({errors['rows']:,} rows)"
    )
