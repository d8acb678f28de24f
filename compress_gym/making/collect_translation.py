"""Scores SubTransformers live and fits surrogates: `python -m compress_gym.making.collect_translation multi30k-ende`."""

from __future__ import annotations

import math
import multiprocessing
import shlex
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from compress_gym.devices.costs.transformer import transformer_cost_terms
from compress_gym.live.translation.scorer import LiveTranslation
from compress_gym.making.additive import fit_additive
from compress_gym.making.fit import FitSettings, fit_surrogate
from compress_gym.making.sampling import broad_sample
from compress_gym.problem.scores.surrogate import SurrogateAccuracy
from compress_gym.problem.scores.transformers import ScoredTransformers
from compress_gym.support.cards import provenance, sha256, write_card
from compress_gym.support.commands import run_command
from compress_gym.support.processor import checked_device, torch_device_name
from compress_gym.support.resume import claim, end_with_parent, load_arrays, save_array
from compress_gym.support.statistics import kendall_tau
from compress_gym.tasks.translation import TranslationTask, get_translation_task

SHARD = 8
HELD_OUT = 0.2
# From strategies and accuracies, given by name, to a surrogate.
Fit = Callable[..., SurrogateAccuracy]
# A worker's own.
_live: LiveTranslation | None = None


def score(
    task: TranslationTask,
    rows: NDArray[np.int64],
    translated: int,
    folder: Path,
    identity: dict[str, Any],
    workers: int = 1,
    until: float = math.inf,
    device: str = "cpu",
) -> ScoredTransformers:
    """Scores strategies in shards on disk; killed, it goes on with the shards that are missing.

    Those that are translated come first, in random order, then the others: what has been scored is a sample of all at
    any time.

    Args:
        task: The task.
        rows: Strategies, int64 `[N, T]`, ordered by size; all get a loss.
        translated: So many of them, evenly spread over the rows, get a BLEU score.
        folder: Where shards lie.
        identity: What the scores depend on: others are never mixed in.
        workers: Processes, one thread each.
        until: Begin no shard after so many seconds; what is scored by then is returned.
        device: Where to compute, `cpu` or `cuda`.
    """
    wanted = np.zeros(len(rows), dtype=np.bool_)
    wanted[np.unique(np.linspace(0, len(rows) - 1, translated).round().astype(int))] = True
    shuffled = np.random.default_rng(0).permutation(len(rows))
    order = shuffled[np.argsort(~wanted[shuffled], kind="stable")]
    rows, wanted = rows[order], wanted[order]
    claim(folder, {**identity, "strategies": len(rows), "translated": translated})
    shards = [slice(start, start + SHARD) for start in range(0, len(rows), SHARD)]
    paths = [folder / f"shard-{n:05d}.npy" for n in range(len(shards))]
    started = time.monotonic()
    missing = {path: shard for path, shard in zip(paths, shards, strict=True) if not path.exists() and until > 0}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (task, device)) as pool, Progress() as progress:
        bar = progress.add_task(f"scoring, {wanted.sum()} of them by translating", total=len(rows))
        progress.advance(bar, len(rows) - sum(len(rows[shard]) for shard in missing.values()))
        running = {pool.submit(_score_shard, rows[shard], wanted[shard]): path for path, shard in missing.items()}
        for future in as_completed(running):
            save_array(running[future], future.result())
            progress.advance(bar, len(future.result()))
            if time.monotonic() - started > until:
                break
        for future in running:
            future.cancel()
        for future, path in running.items():
            if not future.cancelled() and not path.exists():  # had begun
                save_array(path, future.result())
    scored = [(path, shard) for path, shard in zip(paths, shards, strict=True) if path.exists()]
    losses, scores = load_arrays([path for path, _ in scored], axis=0).T
    return ScoredTransformers(np.concatenate([rows[shard] for _, shard in scored]), losses, scores)


def _begin(task: TranslationTask, device: str) -> None:
    """Prepares a worker, which ends with its parent."""
    global _live
    end_with_parent()
    torch.set_num_threads(1)
    _live = task.live(device=device)


def _score_shard(rows: NDArray[np.int64], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns loss and BLEU / 100 (NaN where it is not wanted) of strategies, float64 `[N, 2]`."""
    assert _live is not None
    losses, scores = _live.valid_loss(rows), np.full(len(rows), np.nan)
    if wanted.any():
        scores[wanted] = _live(rows[wanted])
    return np.stack([losses, scores], axis=1)


def fit(
    scored: ScoredTransformers, live: LiveTranslation, seed: int = 0, settings: FitSettings | None = None
) -> dict[str, tuple[SurrogateAccuracy, dict[str, Any]]]:
    """Fits both surrogates to four fifths of the scores and checks them on the rest.

    A sum over genes and a network are compared by cross-validation within the four fifths; the better one is taken.

    Returns:
        File name to surrogate and stated error.
    """
    largest = live.decisions.sizes[None] - 1
    targets = {
        "surrogate.npz": (scored.translated, scored.accuracy, live.baseline),
        "loss_surrogate.npz": (np.isfinite(scored.valid_loss), np.exp(-scored.valid_loss), None),
    }
    fitted = {}
    for name, (there, values, baseline) in targets.items():
        rows, values = scored.strategies[there], values[there]
        held, kept = held_out(len(rows), seed)
        base = float(np.exp(-live.valid_loss(largest)[0])) if baseline is None else baseline
        ways: dict[str, Fit] = {
            "additive": partial(fit_additive, live.decisions, baseline=base, seed=seed),
            "network": partial(fit_surrogate, live.decisions, baseline=base, seed=seed, settings=settings),
        }
        compared = {way: _cross_validated(one, rows[kept], values[kept], seed) for way, one in ways.items()}
        way = min(compared, key=lambda w: compared[w]["mean_absolute_error"])
        surrogate = ways[way](strategies=rows[kept], accuracies=values[kept])
        error: dict[str, Any] = {"kind": way, "cross_validated": compared, "fitted": len(kept), "held_out": len(held)}
        error |= _errors(surrogate(rows[held]), values[held])
        fitted[name] = surrogate, error
    return fitted


def held_out(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns which of so many scored transformers are held out, and which are fitted."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: round(HELD_OUT * count)], order[round(HELD_OUT * count) :]


def _cross_validated(
    one: Fit, rows: NDArray[np.int64], values: NDArray[np.float64], seed: int, folds: int = 5
) -> dict[str, float]:
    predicted = np.empty(len(rows))
    for fold in np.array_split(np.random.default_rng(seed).permutation(len(rows)), folds):
        others = np.setdiff1d(np.arange(len(rows)), fold)
        predicted[fold] = one(strategies=rows[others], accuracies=values[others])(rows[fold])
    return _errors(predicted, values)


def _errors(predicted: NDArray[np.float64], live: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean_absolute_error": round(float(np.abs(predicted - live).mean()), 5),
        "kendall_tau": round(kendall_tau(predicted, live), 4),
    }


@click.command()
@click.argument("task")
@click.option("--count", type=click.IntRange(10), default=3000, show_default=True, help="SubTransformers with a loss.")
@click.option("--translated", type=click.IntRange(10), default=600, show_default=True, help="... and a BLEU score.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    help="Begin nothing after so many and fit what is there; the same command goes on.",
)
@click.option("--cuda", is_flag=True, help="Score on the first CUDA device.")
def main(task: str, count: int, translated: int, seed: int, workers: int, minutes: float | None, cuda: bool) -> None:
    """Scores SubTransformers of TASK on validation sentences and fits surrogates. Killed, it goes on where it was."""
    chosen, device = get_translation_task(task), checked_device("cuda" if cuda else "cpu")
    live, folder = chosen.live(), chosen.folder
    command = shlex.join(["python", "-m", "compress_gym.making.collect_translation", *sys.argv[1:]])
    rows = broad_sample(live.decisions, transformer_cost_terms(chosen.space, live.decisions), "macs", count, seed)
    identity, until = _identity(chosen, live), math.inf if minutes is None else minutes * 60
    claimed = {**identity, "seed": seed, **({"scored_on": torch_device_name(device)} if cuda else {})}
    scored = score(chosen, rows, min(translated, count), folder / "shards", claimed, workers, until, device)
    made = {
        **identity,
        "scored_on": torch_device_name(device),
        **provenance(command, ["torch", "numpy", "tokenizers", "sacrebleu"]),
    }
    scored.save(folder / "strategies.npz", live.decisions)
    done = len(scored.strategies)
    what = f"live scores of {done:,} SubTransformers of task {task}, {int(scored.translated.sum()):,} of them BLEU"
    write_card(folder / "strategies.npz", {"what": what, "wanted": count, "seed": seed, **made})
    for name, (surrogate, error) in fit(scored, live, seed).items():
        surrogate.save(folder / name)
        of = "BLEU / 100" if name == "surrogate.npz" else "exp(-loss)"
        write_card(folder / name, {"what": f"predicts {of} of task {task}", "stated_error": error, **made})
        click.echo(f"{name}: {error}")


def _identity(task: TranslationTask, live: LiveTranslation) -> dict[str, Any]:
    return {
        "task": task.name,
        "task_version": task.version,
        "weights_sha256": sha256(task.folder / "weights.safetensors"),
        "sentences": len(live.pairs.source),
        "sentences_digest": live.pairs.digest(),
    }


if __name__ == "__main__":
    run_command(main, "compress_gym.making.collect_translation")
