"""Measures a case: every strategy of a small space, or a sample of a large one with other conditions beside."""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.data.corruptions import CORRUPTIONS
from compress_gym.kinds import Case
from compress_gym.making.sampling import broad_sample, mixed_sample
from compress_gym.making.scoring import identity, score
from compress_gym.problem.decisions import BIT_KINDS, ENUMERABLE
from compress_gym.problem.scores.measured import save, save_columns
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import card_path, portable, provenance, read_card, read_json, sha256, write_card
from compress_gym.tasks.conditions import Conditions

PROBED = 300
# Where a column is costly, shards are small: a strategy takes seconds.
_COSTLY_SHARD = 8
_PACKAGES = ("torch", "numpy")
_STATISTIC = "correctly classified validation images; each strategy scored once (the score is deterministic)"


def collect(
    case: Case,
    out: Path,
    workers: int,
    count: int,
    seed: int,
    command: str,
    conditions: Conditions | None = None,
    sample: bool = False,
    costly: int | None = None,
    minutes: float = math.inf,
) -> Path:
    """Measures a case's strategies and writes them with their card.

    Args:
        case: What is measured.
        out: Folder for the result; finished shards wait in a folder within until all are there.
        workers: Processes, one thread each.
        count: How many strategies of a space that is too large to enumerate.
        seed: Of the sample.
        command: The command line, for the card.
        conditions: Precision and device; the recovery is the task's.
        sample: Measure a sample even of a space that could be enumerated.
        costly: How many strategies get the task's costly columns, too; default: all.
        minutes: Begin nothing after so many, and write what is there; the same command goes on.

    Returns:
        Path of `measured*.npz` (all strategies) or `strategies*.npz` (a sample).

    Raises:
        ValueError: The shards there belong to another measurement, or are being written by another process.
    """
    conditions = replace(conditions or Conditions(), recovery=case.task.recovery)
    scorer, probes = case.scorer(**vars(conditions)), other_conditions(case, conditions)
    for probe in probes:  # what its last step needs is missed before the first
        case.scorer(**vars(probe))
    run = _Collection(case, conditions, scorer, out, workers, count, seed, command)
    if case.decisions().count <= ENUMERABLE and not sample and costly is None:
        path = run.all()
    elif hasattr(scorer, "images"):
        path = run.sample(probes)
    else:
        return run.columns(costly, minutes)
    shutil.rmtree(run.shards, ignore_errors=True)
    return path


@dataclass(frozen=True)
class _Collection:
    """How a case is measured; see `collect`."""

    case: Case
    conditions: Conditions
    scorer: Any
    out: Path
    workers: int
    count: int
    seed: int
    command: str

    @property
    def shards(self) -> Path:
        return self.out / f"shards{self.case.kind.file_ending}"

    def all(self) -> Path:
        """Measures every strategy."""
        case, scorer, decisions = self.case, self.scorer, self.case.decisions()
        scores = score(case, decisions.enumerate(), self.conditions, self.shards / "all", self.workers)
        table = self.out / case.asset("measured").name
        others = {name: column for name, column in scores.columns.items() if name != "correct"}
        if hasattr(scorer, "images"):  # what is counted is kept as counts
            save(table, decisions, scores.correct.sum(1), scorer.images, round(scorer.baseline * scorer.images), others)
        else:
            save_columns(table, decisions, others, scorer.baseline)
        card = {
            "what": f"live validation accuracy of every strategy of {case.kind.name} on task {case.task.name}",
            "strategies": decisions.count,
            **identity(case, scorer),
            "statistic": _STATISTIC,
            "stated_error": _stated_error(case),
            "scored_on": scores.hardware,
            **provenance(self.command, _PACKAGES),
        }
        write_card(table, card)
        return table

    def sample(self, probes: Sequence[Conditions]) -> Path:
        """Measures a sample, which is there to be used before its probes are."""
        case, scorer, path = self.case, self.scorer, self.out / self.case.asset("strategies").name
        begun = path.exists() and card_path(path).exists()
        if begun and not ((self.shards / "sample").exists() and _is_interrupted(path)):
            measured, scored_on, commands = self.begun(path)
        else:
            rows = wanted_sample(case, self.count, self.seed)
            scores = score(case, rows, self.conditions, self.shards / "sample", self.workers)
            measured = MeasuredStrategies(
                rows,
                np.zeros(self.count, dtype=np.int64),
                {name: column for name, column in scores.columns.items() if name != "correct"},
                scores.correct.astype(np.int64),
                scorer.images,
                round(scorer.baseline * scorer.images),
            )
            scored_on, commands = scores.hardware, list[str]()
            write_strategies(case, measured, path, self.conditions, scored_on, [self.command])
        if not probes:
            return path
        broad = int((measured.rounds == 0).sum())
        probed = np.random.default_rng([self.seed, 1]).permutation(broad)[:PROBED]
        found = [
            score(case, measured.strategies[probed], c, self.shards / f"probe-{n}", self.workers, (ACCURACY_COLUMN,))
            for n, c in enumerate(probes)
        ]
        measured = replace(
            measured,
            probes=tuple(c.name for c in probes),
            probe_rows=probed,
            probe_correct=np.stack([p.correct.astype(np.int64) for p in found], axis=1),
        )
        hardware = tuple(sorted({*scored_on, *(name for p in found for name in p.hardware)}))
        write_strategies(case, measured, path, self.conditions, hardware, [*commands, self.command])
        return path

    def columns(self, costly: int | None, minutes: float) -> Path:
        """Measures a sample whose scores are no counts; what has been scored is a sample of all at any time."""
        case, rows = self.case, wanted_sample(self.case, self.count, self.seed)
        (whole,) = np.nonzero((rows == case.decisions().uncompressed).all(axis=1))
        order, first = _spread_order(len(rows), len(rows) if costly is None else min(costly, len(rows)), whole)
        further: dict[str, Any] = {"costly": first, "minutes": minutes, "shard": _COSTLY_SHARD}
        scores = score(case, rows[order], self.conditions, self.shards, self.workers, **further)
        done = scores.count
        measured = MeasuredStrategies(rows[order][:done], np.zeros(done, dtype=np.int64), scores.columns)
        path = self.out / case.asset("strategies").name
        measured.save(path, case.decisions())
        scored = ", ".join(f"{int(measured.scored(name).sum()):,} of them {name}" for name in scores.columns)
        card = {
            "what": f"live scores of {done:,} strategies of {case.kind.name} on task {case.task.name}, {scored}",
            "wanted": self.count,
            "seed": self.seed,
            **identity(case, self.scorer),
            "scored_on": scores.hardware,
            **provenance(self.command, _PACKAGES),
        }
        write_card(path, card)
        if done == len(rows):
            shutil.rmtree(self.shards, ignore_errors=True)
        return path

    def begun(self, path: Path) -> tuple[MeasuredStrategies, tuple[str, ...], list[str]]:
        """Reads strategies whose probes are not measured yet, the processors that scored them, and the commands.

        Raises:
            ValueError: The file is complete, or was measured in another way.
        """
        card = read_card(path)
        for key, value in identity(self.case, self.scorer).items():
            if card.get(key) != value:
                raise ValueError(f"{path}: measured with {key}={card.get(key)!r}, not {value!r}; choose another --out")
        measured = MeasuredStrategies.load(path, self.case.decisions())
        if measured.probes:
            raise ValueError(f"{path} exists already; remove it or choose another --out")
        wanted = wanted_sample(self.case, self.count, self.seed)
        if not np.array_equal(measured.strategies[measured.rounds == 0], wanted):
            asked = f"--count {self.count} --seed {self.seed}"
            raise ValueError(f"{path} holds another sample than {asked}; choose another --out")
        return measured, tuple(card["scored_on"]), list(card["commands"])


def _spread_order(count: int, costly: int, whole: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Orders strategies: first, in random order, those that get every column, evenly spread; then the others.

    The uncompressed one, at the place `whole`, is among the first: with it, all others are compared.
    """
    first, places = np.zeros(count, dtype=np.bool_), np.linspace(0, count - 1, costly).round().astype(int)
    for place in whole:
        places[np.abs(places - place).argmin()] = place
    first[places] = True
    shuffled = np.random.default_rng(0).permutation(count)
    return shuffled[np.argsort(~first[shuffled], kind="stable")], int(first.sum())


def _is_interrupted(path: Path) -> bool:
    """Returns whether a file was written and its card was not; one that a refit made longer is left as it is."""
    if read_json(card_path(path)).get("sha256") == sha256(path):
        return False
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return bool((arrays["rounds"] == 0).all() and len(arrays["probe_rows"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def wanted_sample(case: Case, count: int, seed: int) -> NDArray[np.int64]:
    """Draws the strategies that are measured: over the whole range of the cost that the kind samples."""
    decisions, (terms, metric) = case.decisions(), case.sampled_cost
    draw = mixed_sample if case.kind.sampling.mixed else broad_sample
    rows = draw(decisions, terms, metric, count, seed)
    if not any(d.kind in BIT_KINDS for d in decisions.decisions):
        return rows
    # Neighbours that begin alike, in their channels before all, share their first layers while they are scored.
    channels = [d.kind == "channels" for d in decisions.decisions]
    first = np.argsort(np.logical_not(channels), kind="stable")
    return rows[np.lexsort(rows.T[first[::-1]])]


def other_conditions(case: Case, default: Conditions) -> list[Conditions]:
    """Returns the task's other recoveries, and the default one on corrupted images and, if it is not, in fp32."""
    declared, decisions = case.task.declared, case.decisions().decisions
    others = list(declared.recoveries[1:])
    if not others:
        return []
    if all(d.kind in BIT_KINDS for d in decisions):
        # No channel goes, so nothing is refitted: what differs in that alone is the same.
        kept = "+".join(step for step in case.task.recovery.split("+") if step != "reconstruct") or "none"
        others = [name for name in others if "reconstruct" not in name and name != kept]
    conditions = [replace(default, recovery=name) for name in others]
    if case.task.split("validation").pixels.dtype == np.uint8:  # corruptions are those of stored bytes
        conditions += [replace(default, corruption=corruption) for corruption in sorted(CORRUPTIONS)]
    return conditions + ([replace(default, precision="fp32")] if default.precision != "fp32" else [])


def add_round(
    case: Case,
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
    scores = score(case, new, conditions, folder, workers)
    number = np.full(len(new), measured.rounds.max() + 1)
    columns = {name: np.concatenate([old, scores.columns[name]]) for name, old in measured.columns.items()}
    correct = None
    if measured.correct is not None:
        correct = np.concatenate([measured.correct, scores.correct.astype(np.int64)])
    longer = replace(
        measured,
        strategies=np.concatenate([measured.strategies, new]),
        rounds=np.concatenate([measured.rounds, number]),
        columns=columns,
        correct=correct,
    )
    return longer, scores.hardware


def write_strategies(
    case: Case,
    measured: MeasuredStrategies,
    path: Path,
    conditions: Conditions,
    hardware: tuple[str, ...],
    commands: list[str],
) -> None:
    """Writes measured strategies with their card."""
    rounds = np.bincount(measured.rounds)
    card = {
        "what": f"live validation accuracy of {len(measured.strategies):,} strategies of {case.kind.name} on task "
        f"{case.task.name}",
        "strategies": len(measured.strategies),
        "rounds": {"broad sample": int(rounds[0]), **{f"round {n}": int(rounds[n]) for n in range(1, len(rounds))}},
        **identity(case, case.scorer(**vars(conditions))),
        "halves": "images of even and of odd number are counted apart",
        "probes": {"strategies": len(measured.probe_rows), "conditions": list(measured.probes)},
        "statistic": _STATISTIC,
        "stated_error": _stated_error(case),
        "scored_on": hardware,
        "commands": [portable(command) for command in commands],
        **provenance(commands[-1], _PACKAGES),
    }
    measured.save(path, case.decisions())  # next to its card, with nothing slow between
    write_card(path, card)


def _stated_error(case: Case) -> dict[str, str]:
    allowed = "2 images of 400"
    if any(d.kind in BIT_KINDS for d in case.decisions().decisions):
        # Seen on integers and in floats, 24 strategies each of ResNet-20's bits, and channels with bits: 6 and 7 of
        # 2,000 (standard deviation), 15 and 16 at most.
        allowed = "8 images of 400: sums in another order round to other integers"
    return {
        "same_machine": "0 images",
        "other_machine": f"a test allows {allowed}",
        "sampling": "standard error of an accuracy a is sqrt(a(1-a)/images)",
    }
