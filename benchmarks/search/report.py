"""The report of a suite: tables, pictures and the sentence on reinforcement learning, from the runs' CSV alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.learning import learning_section
from benchmarks.search.plots import plot_curves, plot_profiles
from benchmarks.search.records import RunRecord
from benchmarks.search.references import reference
from benchmarks.search.scores import Estimate, Results
from benchmarks.search.suites import CHECKPOINTS, LEARNERS, Suite
from compress_gym.support.cards import provenance, read_json, write_atomically
from compress_gym.support.errors import AssetError

PACKAGES = ("numpy", "scipy", "torch", "stable_baselines3", "sb3_contrib", "optuna", "cmaes", "gymnasium", "numba")
# Whether one method beats another is asked after every so many evaluations.
STEP = 20
OPPONENTS = {"random": "random search", "evolution": "evolution"}
HOW = """An evaluation is every scored episode or asked strategy, duplicates included. Results after fewer evaluations
are read off the same runs; with 100 warm-up episodes, DDPG, TD3 and SAC at 100 evaluations *are* random search. Scores
are normalised per problem: 0 is the uniform strategy, 1 the best strategy known. IQM is the interquartile mean over all
runs of all problems; brackets are 95 % intervals of a stratified bootstrap. The last columns say how likely a run beats
one of random search, or of evolution, on one of the problems, ties counting half. `-`: nothing within the budget was
scored by then, or the method is not run for so long."""
BUDGETS = (
    "Half the latency, but for two problems. MixedQuant's is 0.23: at half of it 8 and 4 bits lose almost nothing, and",
    "at 0.25 random search always found the optimum within 100 evaluations. JointPQ's is 0.2, Galen's claim.",
    "TransformerNAS was at 1/3, where a single decoder layer is left and every search finds the same transformer.",
    "These were changed after searches had been seen, before any learner was run.",
)


def write_report(name: str, suite: Suite, records: Sequence[RunRecord], out: Path, command: str) -> str:
    """Writes Markdown, CSV, JSON and pictures of a suite.

    Args:
        name: The suite's name.
        suite: Its problems, methods and seeds.
        records: Its runs.
        out: The folder.
        command: What made the runs; "" where they were not made now: the stored provenance is kept.

    Returns:
        The Markdown text.
    """
    problems = [problem.name for problem in suite.problems]
    ends = {problem.name: reference(problem) for problem in suite.problems}
    results = Results.of(problems, suite.methods, suite.seeds, records, ends)
    made = provenance(command, PACKAGES) if command else _stored_provenance(out / f"{name}.json")
    facts: dict[str, Any] = {
        "suite": name,
        "runs": suite.seeds,
        "references": {problem: asdict(end) for problem, end in ends.items()},
        "rows": [_row(results, method) for method in suite.methods],
        "answers": answers(results),
        "confirmed": sum(record.made_with != "" for record in records),
        "processor_hours": round(sum(r.processor_seconds for r in records) / 3600, 3),
        "provenance": made,
    }
    text = markdown(facts, results)
    _write(out / f"{name}.json", json.dumps(facts, indent=1) + "\n")
    _write(out / f"{name}.md", text)
    _write(out / f"{name}-table.csv", _csv(facts["rows"]))
    plot_curves(results, out / f"{name}-curves.png")
    plot_profiles(results, CHECKPOINTS[-1], out / f"{name}-profiles.png")
    return text


def answers(results: Results) -> list[str]:
    """Says of each learner whether it beats random search and evolution here, and from how many evaluations on."""
    points = range(STEP, CHECKPOINTS[-1] + 1, STEP)
    sentences = []
    for method in (m for m in results.methods if m in LEARNERS):
        parts = []
        for other, words in OPPONENTS.items():
            estimate = results.improvement(method, other, CHECKPOINTS[-1])
            if estimate is None:
                continue
            start = results.better_from(method, other, points)
            likely = f"probability of improvement at {CHECKPOINTS[-1]}: {shown(estimate)}"
            if start is not None:
                parts.append(f"beats {words} from {start} evaluations on ({likely})")
            elif estimate.high < 0.5:
                parts.append(f"is beaten by {words} at {CHECKPOINTS[-1]} evaluations ({likely})")
            else:
                parts.append(f"is not shown to beat {words} at {CHECKPOINTS[-1]} evaluations ({likely})")
        if parts:
            sentences.append(f"{method} {' and '.join(parts)}.")
    return sentences


def markdown(facts: dict[str, Any], results: Results) -> str:
    """Writes the report's text."""
    name, made = facts["suite"], facts["provenance"]
    lines = [f"# Search quality, suite `{name}`", "", *_wrapped_problems(results), "", HOW, ""]
    lines += [*aggregate_table(facts["rows"]), ""]
    lines += ["Does reinforcement learning beat random search and evolution here, and at how many evaluations?", ""]
    lines += [*(f"- {sentence}" for sentence in facts["answers"]), ""]
    lines += [f"![regret over evaluations]({name}-curves.png)", f"![performance profiles]({name}-profiles.png)", ""]
    for problem in results.problems:
        lines += [*_problem_table(results, problem), ""]
    lines += learning_section(results)
    lines += ["## Without any search", ""]
    lines += ["What a policy that was trained on other problems reaches in one evaluation:"]
    lines += ["`generalisation.md`, beside this report.", ""]
    if len(results.problems) > 1:
        lines += ["## How the budgets were chosen", "", *BUDGETS, ""]
    versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
    if facts["confirmed"]:
        lines += [
            f"{facts['confirmed']} of {sum(map(len, results.records.values()))} runs were made before a change of code "
            "that changed no result: of each method on each problem a run was repeated, and was the same "
            "(`python -m benchmarks.search.confirm`).",
            "",
        ]
    lines += [
        f"{facts['processor_hours']:.2f} hours of processor time for these runs, one thread each, on "
        f"{made['hardware']}. Command: `{made['command']}`. {versions}.",
        "",
    ]
    return "\n".join(lines)


def aggregate_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the lines of the table over all problems, best at the end of the allowance first."""
    heads = [f"IQM at {n}" for n in CHECKPOINTS]
    heads += [f"beats {words} at {CHECKPOINTS[-1]}" for words in OPPONENTS.values()]
    lines = [f"| method | {' | '.join(heads)} | s a run |", "|---|" + "---|" * (len(heads) + 1)]
    for row in sorted(rows, key=_rank):
        cells = [_estimate(row[f"iqm_{n}"]) for n in CHECKPOINTS]
        cells += [_estimate(row[f"beats_{other}"]) for other in OPPONENTS]
        lines.append(f"| {row['method']} | {' | '.join(cells)} | {row['processor_seconds']:.1f} |")
    return lines


def shown(estimate: Estimate) -> str:
    """Writes an estimate with its interval."""
    # Adding 0 turns a rounded -0 into 0.
    value, low, high = (round(x, 2) + 0.0 for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    last, first = (row[f"iqm_{n}"] for n in reversed(CHECKPOINTS))
    return (-last["value"] if last else np.inf, -first["value"] if first else np.inf)


def _estimate(cell: dict[str, float] | None) -> str:
    return "-" if cell is None else shown(Estimate(**cell))


def _row(results: Results, method: str) -> dict[str, Any]:
    seconds = [r.processor_seconds for p in results.problems for r in results.records[p, method]]
    row: dict[str, Any] = {"method": method, "processor_seconds": round(float(np.mean(seconds)), 2)}
    for evaluations in CHECKPOINTS:
        aggregate = results.aggregate(method, evaluations)
        row[f"iqm_{evaluations}"] = asdict(aggregate) if aggregate else None
    for other in OPPONENTS:
        improvement = results.improvement(method, other, CHECKPOINTS[-1]) if method != other else None
        row[f"beats_{other}"] = asdict(improvement) if improvement else None
    return row


def _wrapped_problems(results: Results) -> list[str]:
    lines = [f"{results.runs} runs of each method on each of {len(results.problems)} problems:", ""]
    for problem in results.problems:
        end = results.references[problem]
        kept_out = "" if end.normalises else "; in points only, kept out of the aggregate: the gap is too small"
        live = f", live {100 * end.live:.2f}" if end.live is not None else ""
        best = f"{end.kind} {100 * end.best:.2f}{live} ({end.signal})"
        lines.append(f"- `{problem}`: uniform {100 * end.uniform:.2f}, {best}{kept_out}")
    if any("surrogate" in results.references[problem].signal for problem in results.problems):
        lines += ["", "Where a surrogate predicts, a method may do better than the best strategy that was scored live:"]
        lines += ["by finding a better one, or by finding where the surrogate is wrong. Its error stands beside it."]
    return lines


def _problem_table(results: Results, problem: str) -> list[str]:
    lines = [f"## {problem}", ""]
    lines += ["Regret is in points (percent) below the best strategy known; negative: above it. Medians over runs,"]
    lines += ["in brackets the range. The final policy is the deterministic one after training.", ""]
    heads = [f"regret at {n}" for n in CHECKPOINTS]
    lines += [f"| method | evaluations | {' | '.join(heads)} | final policy's regret |", "|---|---|" + "---|" * 3]
    best = results.references[problem].best
    for method in results.methods:
        records = results.records[problem, method]
        cells = [_range(results.regret_points(problem, method, n)) for n in CHECKPOINTS]
        finals = [r.final_policy for r in records if r.final_policy is not None]
        cells.append(_range(100 * (best - np.array(finals)) if finals else None))
        made = sorted({record.evaluations for record in records})
        count = str(made[0]) if len(made) == 1 else f"{made[0]}-{made[-1]}"
        lines.append(f"| {method} | {count} | {' | '.join(cells)} |")
    return lines


def _range(values: Any) -> str:
    if values is None:
        return "-"
    return f"{np.median(values):.2f} [{np.min(values):.2f}, {np.max(values):.2f}]"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    flat = []
    for row in rows:
        cells: dict[str, Any] = {}
        for key, value in row.items():
            if key.startswith(("iqm_", "beats_")):
                for end in ("value", "low", "high"):
                    cells[f"{key}_{end}"] = "" if value is None else round(value[end], 6)
            else:
                cells[key] = value
        flat.append(cells)
    text = io.StringIO()
    writer = csv.DictWriter(text, flat[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _stored_provenance(path: Path) -> dict[str, Any]:
    stored = read_json(path).get("provenance")
    if not isinstance(stored, dict):
        raise AssetError(f"{path}: does not say how the runs were made; run the suite again")
    return stored


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda p: p.write_text(text))
