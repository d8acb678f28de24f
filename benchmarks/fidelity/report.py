"""The report of a surrogate: tables as Markdown, a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import write_atomically


def write_report(
    name: str, facts: dict[str, Any], predicted: NDArray[np.float64], measured: MeasuredStrategies, folder: Path
) -> None:
    """Writes `<name>.json`, `<name>.md` and `<name>.png`; held-out predictions `[N]` are drawn over measured rows."""
    write_tables(name, facts, folder)
    write_atomically(folder / f"{name}.png", lambda p: _draw(facts, predicted, measured, p))


def write_tables(name: str, facts: dict[str, Any], folder: Path) -> None:
    """Writes `<name>.json` and `<name>.md`, without the picture."""
    write_atomically(folder / f"{name}.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    write_atomically(folder / f"{name}.md", lambda p: p.write_text(_markdown(name, facts)))


# What is found out of an unseen search: within the sampled cost, within latency, and within another device's, also
# near its cheapest.
GAPS = ("exploitation", "exploitation_latency_ms", "exploitation_other_device", "exploitation_other_device_cheap")
COST_WORDS = {"macs": "MACs", "bops": "bit operations", "latency_ms": "latency"}
_FRONT = ("kendall_tau", "tau_of_the_best_live", "tau_of_halves", "ceiling", "share_of_ceiling")


def bounded(gap: Mapping[str, Any]) -> str:
    """Says in words what was bounded while a gap was looked for: a cost, and whose it is."""
    return COST_WORDS[gap["cost"]] + (f" on {gap['device']}" if "device" in gap else "")


def _markdown(name: str, facts: dict[str, Any]) -> str:
    cost = COST_WORDS[facts["cost"]]
    broad, all_rows = facts["held_out"]["broad_sample"], facts["held_out"]["all_rows"]
    lines = [
        f"# Surrogate of {name}",
        "",
        f"Fitted to {facts['rows']:,} live scores ({facts['broad_rows']:,} of them a broad sample, the others found by "
        "searches). Accuracies in points (percent).",
        "",
        "| held out (5 folds) | mean absolute error | Kendall tau |",
        "|---|---|---|",
        f"| broad sample | {100 * broad['mae']:.2f} | {broad['kendall_tau']:.3f} |",
        f"| all rows | {100 * all_rows['mae']:.2f} | {all_rows['kendall_tau']:.3f} |",
        "",
        *_ceiling(broad),
        "| rows fitted on | mean absolute error | Kendall tau |",
        "|---|---|---|",
        *(f"| {p['rows']:,} | {100 * p['mae']:.2f} | {p['kendall_tau']:.3f} |" for p in facts["learning_curve"]),
        "",
        f"Among the fifth that is predicted best (held out) in each tenth of the budget range ({cost}); "
        "the ceiling is what the labels' noise leaves to a perfect predictor:",
        "",
        f"| {cost} | strategies | Kendall tau | tau of the best labels | tau of the halves | ceiling | share of it |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {p['from']:.2f}-{p['to']:.2f} | {p['strategies']} | "
            + " | ".join("-" if p.get(key) is None else str(p[key]) for key in _FRONT)
            + " |"
            for p in facts["front"]
        ),
        "",
    ]
    rounds = [(f"refit, round {r['round']}", r) for r in facts["refits"]["rounds"]]
    for e in (facts[key] for key in GAPS if key in facts):
        within = bounded({"cost": facts["cost"], **e})
        rounds.append((f"**unseen: {e['method']} at {e['budget']} of {within}, seeds {e['seeds']}**", e))
    if rounds:
        lines += [
            "What searches found by maximising the surrogate, scored live (surrogate - live):",
            "",
            "| | strategies | signed mean | 90th percentile of the absolute | loss from trusting |",
            "|---|---|---|---|---|",
            *(
                f"| {label} | {r['strategies']} | {100 * r['signed_mean']:+.2f} | {100 * r['p90_absolute']:.2f} | "
                f"{100 * r['loss_from_trusting']:.2f} |"
                for label, r in rounds
            ),
            "",
        ]
    if "transfer" in facts:
        lines += _transferred(facts["transfer"])
    return "\n".join(lines)


def _ceiling(broad: Mapping[str, float]) -> list[str]:
    """Says what the noise of labels allows, where it is known: images are counted in halves."""
    if "ceiling" not in broad:
        return []
    return [
        f"Labels of half the images order the broad sample like those of the other half with a tau of "
        f"{broad['tau_of_halves']:.3f}: against labels of all images a perfect predictor of the true accuracy would "
        f"reach about {broad['ceiling']:.3f}.",
        "",
    ]


def _transferred(transfer: dict[str, Any]) -> list[str]:
    rows, most = [], transfer["curve"][-1]["rows"]
    for p in transfer["curve"]:
        needed = p["rows_from_nothing"]
        saved = f"more than {most:,}" if needed is None else f"{needed:,} ({needed / p['rows']:.1f} x)"
        rows.append(f"| {p['rows']:,} | {p['from_nothing']:.3f} | {p['from_pruning']:.3f} | {saved} |")
    return [
        f"APQ's transfer: a surrogate that starts from the weights of one fitted to {transfer['pruning_surrogate']}, "
        "beside one that starts from nothing (Kendall tau on the same held-out fifth, means of "
        f"{transfer['fits']} fits):",
        "",
        "| rows fitted on | tau, from nothing | tau, from pruning | rows from nothing for the same tau |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _draw(facts: dict[str, Any], predicted: NDArray[np.float64], measured: MeasuredStrategies, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = 3 if "transfer" in facts else 2
    figure, (left, right, *more) = plt.subplots(1, panels, figsize=(4.5 * panels, 4), layout="constrained")
    found = measured.rounds > 0
    for chosen, label in ((~found, "broad sample"), (found, "found by search")):
        left.plot(measured.accuracy[chosen], predicted[chosen], ".", ms=3, alpha=0.5, label=label)
    left.plot([0, 1], [0, 1], color="black", lw=0.8)
    left.set(xlabel="live accuracy", ylabel="predicted, held out", title=facts["task"])
    left.legend()
    rows, tau = zip(*((p["rows"], p["kendall_tau"]) for p in facts["learning_curve"]), strict=True)
    right.semilogx(rows, tau, "o-")
    _tick(right, rows)
    right.set(xlabel="rows fitted on", ylabel="Kendall tau, held out", title="learning curve")
    for axes in more:
        curve = facts["transfer"]["curve"]
        for key, label in (("from_nothing", "from nothing"), ("from_pruning", "from a pruning surrogate")):
            axes.semilogx([p["rows"] for p in curve], [p[key] for p in curve], "o-", label=label)
        _tick(axes, [p["rows"] for p in curve])
        axes.set(xlabel="rows fitted on", ylabel="Kendall tau, held out", title="APQ's transfer")
        axes.legend()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def _tick(axes: Any, rows: Sequence[int]) -> None:
    """Names the numbers of rows themselves; a logarithmic axis would name too many others."""
    axes.set_xticks(rows, [f"{number:,}" for number in rows], rotation=30)
    axes.minorticks_off()
