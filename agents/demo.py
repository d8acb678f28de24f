"""The demonstration: DDPG and PPO against searches without learning and the known optimum, on a real network.

`python -m agents.demo` trains DDPG (and PPO) for 300 episodes on `digits-cnn` at half the latency, gives four
searches the same allowance, measures what each found on this machine, and exports the best network as ONNX.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.commands import make
from agents.hyperparams import read_hyperparameters
from agents.plots import plot_curve, plot_pareto
from agents.runs import Run, Scored
from agents.search.__main__ import run_search
from agents.train import run_training
from compress_gym.devices import CALL, Device, Hardware, load_device, of_operations
from compress_gym.kinds import Case, get_case
from compress_gym.live.export import MAX_DIFFERENCE, largest_difference
from compress_gym.live.session import open_session
from compress_gym.making.profile.onnx_runtime import operation_model, timed
from compress_gym.making.profile.timing import sample_us
from compress_gym.problem import Problem
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.processor import processor_name

SEARCHES = ("uniform", "random", "hill-climb", "evolution")
ENV = "ChannelPrune-v0"
SETTINGS: dict[str, Any] = {"task": "digits-cnn", "budget": 0.5, "reward": "accuracy"}
LEARNERS = ("ddpg", "ppo")
EMPTY_CALL = "empty call"
ROUNDS, REPETITIONS = 20, 20


def run_demo(folder: Path, evaluations: int, seed: int) -> dict[str, Any]:
    """Runs everything into a folder and returns the results as written to `results.json`."""
    started = time.perf_counter()
    problem: Problem = make(ENV, **SETTINGS).unwrapped.problem  # type: ignore[attr-defined]
    case = get_case(ENV, SETTINGS["task"])
    runs: dict[str, Run] = {}
    final_policies = {}
    for algorithm in LEARNERS:
        settings = read_hyperparameters(algorithm, ENV)
        runs[algorithm], last = run_training(algorithm, ENV, SETTINGS, evaluations, seed, folder / algorithm, settings)
        final_policies[algorithm] = {k: last[k] for k in ("accuracy", "cost_ratio", "strategy")}
    for method in SEARCHES:
        runs[method] = run_search(method, ENV, SETTINGS, evaluations, seed, folder / method)
    best = {name: run.best for name, run in runs.items() if run.best is not None}
    optimum = _scored(problem, problem.optimum())
    rows = {"uncompressed": _scored(problem, problem.decisions.uncompressed), **best, "true optimum": optimum}
    measured = measure(problem, rows, folder / "onnx")
    test = case.scorer(split="test")
    results = {
        "evaluations": evaluations,
        "seed": seed,
        "budget": problem.budget,
        "rows": [
            {
                "method": name,
                "evaluations": len(runs[name].scored) if name in runs else None,
                "validation_accuracy": scored.accuracy,
                "test_accuracy": float(test(problem.decisions.encode(scored.strategy))[0]),
                "predicted_ms": scored.costs["latency_ms"],
                "measured_ms": float(np.median(measured[name])),
                "measured_fastest_ms": float(np.min(measured[name])),
                "regret_points": 100 * (optimum.accuracy - scored.accuracy) if name in runs else None,
                "seconds": runs[name].seconds[-1] if name in runs else None,
                "strategy": dict(scored.strategy),
            }
            for name, scored in rows.items()
        ],
        "final_policies": final_policies,
        "predicted_on": problem.origin["device"],
        "measured_on": processor_name(),
        "empty_call_us": {
            "in_the_table": _empty_call_us(of_operations(load_device(problem.origin["device"]))),
            "measured_here": 1000 * float(np.min(measured[EMPTY_CALL])),
        },
        **_export_best(case, problem, best, folder),
        **provenance(" ".join(["python -m agents.demo", *sys.argv[1:]]), ["torch", "onnxruntime", "stable_baselines3"]),
    }
    plot_curve({name: run.scored for name, run in runs.items()}, folder / "curve.png", optimum.reward)
    plot_pareto(problem, best, folder / "pareto.png")
    results["total_seconds"] = time.perf_counter() - started
    text = json.dumps(results, indent=2) + "\n"
    write_atomically(folder / "results.json", lambda p: p.write_text(text))
    return results


def measure(problem: Problem, rows: dict[str, Scored], folder: Path) -> dict[str, NDArray[np.float64]]:
    """Exports each row's network and measures its latency on this machine, interleaved in random order.

    Returns:
        Row name to the milliseconds of each call; the empty call is one more row.
    """
    sessions = {}
    for name, scored in track(rows.items(), description="exporting networks"):
        path = problem.export(problem.decisions.encode(scored.strategy), folder / f"{name}.onnx")
        sessions[name] = timed(open_session(path.read_bytes()))
    sessions[EMPTY_CALL] = timed(open_session(operation_model(CALL)))
    samples: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sessions}
    for r in range(ROUNDS):
        for i in np.random.default_rng(r).permutation(len(sessions)):
            name = list(sessions)[i]
            samples[name].append(sample_us(sessions[name], REPETITIONS))
    return {name: np.concatenate(times) / 1000 for name, times in samples.items()}


def _empty_call_us(device: Hardware) -> float:
    assert isinstance(device, Device)  # the demonstration's device is a measured table
    return device.table[CALL].us


def markdown(results: dict[str, Any]) -> str:
    """Returns the results as README's table."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in results["rows"]]
    return "\n".join(lines) + "\n"


def speed_note(results: dict[str, Any]) -> str:
    """Says how fast this machine was, since virtual machines are slowed down by their neighbours."""
    call = results["empty_call_us"]
    ratio = call["measured_here"] / call["in_the_table"]
    return (
        f"The runtime's empty call took at least {call['measured_here']:.2f} us here and {call['in_the_table']:.2f} us "
        f"when the table was measured: this machine took {ratio:.2f} times as long."
    )


_HEADINGS = (
    "method",
    "evaluations",
    "validation accuracy",
    "test accuracy",
    "predicted ms",
    "measured ms",
    "measured fastest ms",
    "regret points",
    "seconds",
)
# The same in at most 80 characters.
_NARROW_HEADINGS = (
    "method",
    "evals",
    "validation\naccuracy",
    "test\naccuracy",
    "pred.\nms",
    "meas.\nms",
    "fastest\nms",
    "regret\npoints",
    "s",
)


def _cells(row: dict[str, Any]) -> list[str]:
    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        row["method"],
        shown(row["evaluations"], "d"),
        f"{row['validation_accuracy']:.4f}",
        f"{row['test_accuracy']:.4f}",
        f"{row['predicted_ms']:.4f}",
        f"{row['measured_ms']:.4f}",
        f"{row['measured_fastest_ms']:.4f}",
        shown(row["regret_points"], ".2f"),
        shown(row["seconds"], ".1f"),
    ]


def _scored(problem: Problem, strategy: NDArray[np.int64]) -> Scored:
    return Scored.of(problem, strategy[None], problem.evaluate(strategy))[0]


def _export_best(case: Case, problem: Problem, best: dict[str, Scored], folder: Path) -> dict[str, Any]:
    """Exports the most accurate network found and compares ONNX Runtime with torch on the validation images."""
    name = max(best, key=lambda n: best[n].reward)
    strategy = problem.decisions.encode(best[name].strategy)
    path = problem.export(strategy, folder / "best.onnx")
    difference = largest_difference(problem.build(strategy), path, case.task.split("validation").images)
    if difference > MAX_DIFFERENCE:
        raise RuntimeError(f"{path}: ONNX Runtime differs from torch by {difference:.2g} (> {MAX_DIFFERENCE})")
    return {"best": name, "onnx_largest_logit_difference": difference}


@click.command()
@click.option("--evaluations", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [default: a new one under runs/].")
def main(evaluations: int, seed: int, out: Path | None) -> None:
    """Runs the demonstration and prints its table."""
    folder = out or next(p for n in range(1, 1000) if not (p := Path("runs") / f"demo_{n}").exists())
    results = run_demo(folder, evaluations, seed)
    table = Table(*_NARROW_HEADINGS, padding=(0, 0))
    for row in results["rows"]:
        table.add_row(*_cells(row))
    Console().print(table)
    write_atomically(folder / "table.md", lambda p: p.write_text(markdown(results)))
    policies = ", ".join(
        f"{name} {policy['accuracy']:.4f} at {policy['cost_ratio']:.3f} of the latency"
        for name, policy in results["final_policies"].items()
    )
    click.echo(
        f"Predicted with the table of {results['predicted_on']}: the fastest call; measured on this machine: "
        f"{results['measured_on']}.\n"
        f"{speed_note(results)}\n"
        f"Rows show the best evaluated strategy; the final policies: {policies}.\n"
        f"One seed of each: a demonstration, not a benchmark.\n"
        f"best.onnx ({results['best']}'s) agrees with torch to {results['onnx_largest_logit_difference']:.1e}.\n"
        f"{results['total_seconds']:.0f} s; table.md, curve.png, pareto.png, best.onnx and the run folders: {folder}"
    )


if __name__ == "__main__":
    run_command(main, "agents.demo")
