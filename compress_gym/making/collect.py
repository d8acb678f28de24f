"""Measures a task: every strategy of a small space, or a sample of a large one with other conditions beside."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_gym.data.corruptions import CORRUPTIONS
from compress_gym.devices import load_device
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.live.scorer import LiveAccuracy
from compress_gym.making.sampling import broad_sample, mixed_sample
from compress_gym.making.scoring import Conditions, identity, score
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.decisions import ENUMERABLE
from compress_gym.problem.scores.measured import save
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import card_path, portable, provenance, read_card, read_json, sha256, write_card
from compress_gym.tasks import DEFAULT_BITS_DEVICE, Task

# Each costs one forward pass an episode; one is the task's default, the others are probed.
CHEAP_RECOVERIES = ("none", "adaptive-bn", "reconstruct", "reconstruct+adaptive-bn")
PROBED = 300
_STATISTIC = "correctly classified validation images; each strategy scored once (the score is deterministic)"


def collect(
    task: Task,
    out: Path,
    workers: int,
    count: int,
    seed: int,
    command: str,
    precision: str = "fp32",
    env: str = "ChannelPrune",
    sample: bool = False,
) -> Path:
    """Measures a task's strategies and writes them with their card.

    Args:
        task: The task.
        out: Folder for the result; finished shards wait in `out/shards` until all are there.
        workers: Processes, one thread each.
        count: How many strategies of a space that is too large to enumerate.
        seed: Of the sample.
        command: The command line, for the card.
        precision: `fp32` or `bf16`.
        env: The environment whose decisions are measured.
        sample: Measure a sample even of a space that could be enumerated.

    Returns:
        Path of `measured.npz` (all strategies) or `strategies.npz` (a sample), see `compress_gym.tasks.ENDINGS`.

    Raises:
        ValueError: The shards there belong to another measurement, or are being written by another process.
    """
    conditions = Conditions(task.recovery, precision=precision, env=env)
    if task.decisions(env).count <= ENUMERABLE and not sample:
        path = _collect_all(task, conditions, out, workers, command)
    else:
        path = _sample(task, conditions, out, workers, count, seed, command)
    shutil.rmtree(out / "shards", ignore_errors=True)
    return path


def _collect_all(task: Task, conditions: Conditions, out: Path, workers: int, command: str) -> Path:
    decisions = task.decisions(conditions.env)
    evaluator = conditions.evaluator(task)
    scores = score(task, decisions.enumerate(), conditions, out / "shards" / "all", workers)
    table = out / task.asset("measured", conditions.env).name
    save(table, decisions, scores.correct.sum(1), evaluator.images, round(evaluator.baseline * evaluator.images))
    card = {
        "what": f"live validation accuracy of every strategy of {conditions.env} on task {task.name}",
        "strategies": decisions.count,
        **identity(task, evaluator),
        "statistic": _STATISTIC,
        "stated_error": _stated_error(conditions.env),
        "scored_on": scores.hardware,
        **provenance(command, ["torch", "numpy"]),
    }
    write_card(table, card)
    return table


def _sample(task: Task, default: Conditions, out: Path, workers: int, count: int, seed: int, command: str) -> Path:
    """Measures a sample, which is there to be used before its probes are."""
    path, shards = out / task.asset("strategies", default.env).name, out / "shards"
    evaluator = default.evaluator(task)
    if path.exists() and card_path(path).exists() and not ((shards / "sample").exists() and _is_interrupted(path)):
        measured, scored_on, commands = _begun(path, task, default.env, evaluator, count, seed)
    else:
        rows = wanted_sample(task, default.env, count, seed)
        scores = score(task, rows, default, shards / "sample", workers)
        measured = MeasuredStrategies(
            rows,
            np.zeros(count, dtype=np.int64),
            scores.correct,
            evaluator.images,
            round(evaluator.baseline * evaluator.images),
            (),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, 0, 2), dtype=np.int64),
        )
        scored_on, commands = scores.hardware, list[str]()
        write_strategies(task, measured, path, default, scored_on, [command])
    broad = int((measured.rounds == 0).sum())
    probed = np.random.default_rng([seed, 1]).permutation(broad)[:PROBED]
    conditions, rows = other_conditions(default), measured.strategies[probed]
    probes = [score(task, rows, c, shards / f"probe-{n}", workers) for n, c in enumerate(conditions)]
    measured = replace(
        measured,
        probes=tuple(c.name for c in conditions),
        probe_rows=probed,
        probe_correct=np.stack([p.correct for p in probes], axis=1),
    )
    hardware = tuple(sorted({*scored_on, *(name for p in probes for name in p.hardware)}))
    write_strategies(task, measured, path, default, hardware, [*commands, command])
    return path


def _is_interrupted(path: Path) -> bool:
    """Returns whether a file was written and its card was not; one that a refit made longer is left as it is."""
    if read_json(card_path(path)).get("sha256") == sha256(path):
        return False
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return bool((arrays["rounds"] == 0).all() and len(arrays["probe_rows"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def _begun(
    path: Path, task: Task, env: str, evaluator: LiveAccuracy, count: int, seed: int
) -> tuple[MeasuredStrategies, tuple[str, ...], list[str]]:
    """Reads strategies whose probes are not measured yet, the processors that scored them, and the commands.

    Raises:
        ValueError: The file is complete, or was measured in another way.
    """
    card = read_card(path)
    for key, value in identity(task, evaluator).items():
        if card.get(key) != value:
            raise ValueError(f"{path}: measured with {key}={card.get(key)!r}, not {value!r}; choose another --out")
    measured = MeasuredStrategies.load(path, task.decisions(env))
    if measured.probes:
        raise ValueError(f"{path} exists already; remove it or choose another --out")
    if not np.array_equal(measured.strategies[measured.rounds == 0], wanted_sample(task, env, count, seed)):
        raise ValueError(f"{path} holds another sample than --count {count} --seed {seed}; choose another --out")
    return measured, tuple(card["scored_on"]), list(card["commands"])


def wanted_sample(task: Task, env: str, count: int, seed: int) -> NDArray[np.int64]:
    """Draws the strategies that are measured: over the whole range of the cost that `searched_cost` says."""
    decisions, (terms, metric) = task.decisions(env), searched_cost(task, env)
    draw = mixed_sample if env == "JointPQ" else broad_sample
    rows = draw(decisions, terms, metric, count, seed)
    if env == "ChannelPrune":
        return rows
    # Neighbours that begin alike, in their channels before all, share their first layers while they are scored.
    channels = [d.kind == "channels" for d in decisions.decisions]
    first = np.argsort(np.logical_not(channels), kind="stable")
    return rows[np.lexsort(rows.T[first[::-1]])]


def searched_cost(task: Task, env: str) -> tuple[CostTerms, str]:
    """Returns costs and the name of the one over whose range strategies are measured and searches look.

    What decisions are about, on no device: MACs, or bit operations. Of several kinds of decision, that of the
    environment's default device, latency: there bit operations are a product of four factors, and latency is not.
    """
    device = load_device(DEFAULT_BITS_DEVICE) if env == "JointPQ" else None
    terms = network_cost_terms(task.network(), task.decisions(env), device)
    return terms, {"ChannelPrune": "macs", "MixedQuant": "bops", "JointPQ": "latency_ms"}[env]


def other_conditions(default: Conditions) -> list[Conditions]:
    """Returns the other cheap recoveries, and the default one on corrupted images and, if it is not, in fp32."""
    cheap = list(CHEAP_RECOVERIES)
    if default.env == "MixedQuant":  # no channel goes, so nothing is refitted: what differs in that alone is the same
        kept = "+".join(step for step in default.recovery.split("+") if step != "reconstruct") or "none"
        cheap = [name for name in cheap if "reconstruct" not in name and name != kept]
    others = [replace(default, recovery=name) for name in cheap if name != default.recovery]
    others += [replace(default, corruption=corruption) for corruption in sorted(CORRUPTIONS)]
    return others + ([replace(default, precision="fp32")] if default.precision != "fp32" else [])


def add_round(
    task: Task,
    measured: MeasuredStrategies,
    rows: NDArray[np.int64],
    conditions: Conditions,
    folder: Path,
    workers: int,
) -> tuple[MeasuredStrategies, tuple[str, ...]]:
    """Scores strategies that a search found and adds them as a new round; those measured already are left out.

    Returns:
        The longer table, and the processors that scored the new rows.
    """
    known = set(map(tuple, measured.strategies.tolist()))
    new = np.array([row for row in dict.fromkeys(map(tuple, rows.tolist())) if row not in known], dtype=np.int64)
    if not len(new):
        return measured, ()
    scores = score(task, new, conditions, folder, workers)
    number = np.full(len(new), measured.rounds.max() + 1)
    longer = replace(
        measured,
        strategies=np.concatenate([measured.strategies, new]),
        rounds=np.concatenate([measured.rounds, number]),
        correct=np.concatenate([measured.correct, scores.correct]),
    )
    return longer, scores.hardware


def write_strategies(
    task: Task,
    measured: MeasuredStrategies,
    path: Path,
    conditions: Conditions,
    hardware: tuple[str, ...],
    commands: list[str],
) -> None:
    """Writes measured strategies with their card."""
    rounds = np.bincount(measured.rounds)
    card = {
        "what": f"live validation accuracy of {len(measured.strategies):,} strategies of {conditions.env} on task "
        f"{task.name}",
        "strategies": len(measured.strategies),
        "rounds": {"broad sample": int(rounds[0]), **{f"round {n}": int(rounds[n]) for n in range(1, len(rounds))}},
        **identity(task, conditions.evaluator(task)),
        "halves": "images of even and of odd number are counted apart",
        "probes": {"strategies": len(measured.probe_rows), "conditions": list(measured.probes)},
        "statistic": _STATISTIC,
        "stated_error": _stated_error(conditions.env),
        "scored_on": hardware,
        "commands": [portable(command) for command in commands],
        **provenance(commands[-1], ["torch", "numpy"]),
    }
    measured.save(path, task.decisions(conditions.env))  # next to its card, with nothing slow between
    write_card(path, card)


def _stated_error(env: str) -> dict[str, str]:
    allowed = "2 images of 400"
    if env != "ChannelPrune":
        # Seen on integers and in floats, 24 strategies each of ResNet-20's bits, and channels with bits: 6 and 7 of
        # 2,000 (standard deviation), 15 and 16 at most.
        allowed = "8 images of 400: sums in another order round to other integers"
    return {
        "same_machine": "0 images",
        "other_machine": f"a test allows {allowed}",
        "sampling": "standard error of an accuracy a is sqrt(a(1-a)/images)",
    }
