"""Trains the SuperTransformer of a task: `python -m compress_gym.making.train_translation multi30k-ende`."""

from __future__ import annotations

import csv
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
import torch

from compress_gym.data.multi30k import ParallelCorpus
from compress_gym.data.vocabulary import Vocabulary
from compress_gym.live.translation.batches import Batch, TokenPairs
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.live.translation.training import TranslationRecipe, train_supertransformer
from compress_gym.live.weights import save_weights
from compress_gym.making.weight_shards import copy_vocabulary, load_shards
from compress_gym.networks.supertransformer import Transformer
from compress_gym.networks.transformer import Architecture, TransformerSpace
from compress_gym.support.cards import provenance, write_card
from compress_gym.support.commands import run_command
from compress_gym.support.processor import bf16_supported, checked_device, torch_device_name
from compress_gym.tasks.translation import TRANSLATION_TASKS, get_translation_task

RECIPE = TranslationRecipe(updates=25_000)
_VALIDATE_UPDATES = 500


@click.command()
@click.argument("task", type=click.Choice(sorted(TRANSLATION_TASKS)))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to [default: the task's assets].")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Written every three minutes; a killed training that is started again with the same goes on.",
)
@click.option("--updates", type=click.IntRange(1), default=RECIPE.updates, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=RECIPE.peak_lr, show_default=True)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after so many, whatever is left.")
@click.option(
    "--warm-start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Begin with the weights and the vocabulary in this folder, made by compress_gym.making.weight_shards.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option("--bf16/--no-bf16", default=None, help="[default: bf16 where it is computed natively]")
@click.option("--cuda", is_flag=True, help="Train on the first CUDA device.")
def main(
    task: str,
    out: Path | None,
    checkpoint: Path | None,
    updates: int,
    lr: float,
    minutes: float | None,
    warm_start: Path | None,
    seed: int,
    threads: int | None,
    bf16: bool | None,
    cuda: bool,
) -> None:
    """Trains TASK's SuperTransformer and writes vocabulary, weights and card; validation losses are shown meanwhile."""
    chosen, recipe = get_translation_task(task), replace(RECIPE, updates=updates, peak_lr=lr)
    folder = out or chosen.folder
    device = checked_device("cuda" if cuda else "cpu")
    bf16 = bf16_supported(device) if bf16 is None else bf16
    if threads:
        torch.set_num_threads(threads)
    command = shlex.join(["python", "-m", "compress_gym.making.train_translation", *sys.argv[1:]])
    corpus = chosen.corpus()
    if warm_start:
        copy_vocabulary(warm_start, folder)
    vocabulary = _vocabulary(folder, corpus, chosen.space.vocabulary, command)
    space = chosen.space
    torch.manual_seed(seed)
    module = Transformer(space.largest, recipe.dropout)
    if warm_start:
        load_shards(module, warm_start)
    module.to(device)
    log = _Log(scoring_batches(TokenPairs.encode(corpus.validation, vocabulary), device), space, recipe, folder)
    started = time.perf_counter()
    done = train_supertransformer(
        module,
        space,
        TokenPairs.encode(corpus.train, vocabulary),
        recipe,
        seed,
        checkpoint,
        log.progress,
        minutes and minutes * 60,
        bf16,
    )
    seconds = time.perf_counter() - started
    module.to("cpu").half().float()  # what is scored below is what is stored
    weights = folder / "weights.safetensors"
    save_weights(module, weights, half=True)
    scores = {
        name: _scores(module, vocabulary, corpus, architecture)
        for name, architecture in (("largest", space.largest), ("smallest", space.smallest))
    }
    card = {
        "what": f"SuperTransformer of task {task}, trained on the training split of Multi30k, English to German",
        "terms": "trained on Multi30k, which is for non-commercial research and education; cite Elliott et al. 2016",
        "space": space.to_json(),
        "parameters": sum(p.numel() for p in module.parameters()),
        "stored_as": "float16",
        "split_digests": {name: getattr(corpus, name).digest() for name in ("train", "validation", "test")},
        "casing": "cased, detokenised; greedy translations",
        "scores": scores,
        "selection": "none: running average of the last weights, one seed; test sentences chose nothing",
        "recipe": {
            **asdict(recipe),
            "updates_done": done,
            "warm_start": warm_start and str(warm_start),
            "seed": seed,
            "bf16": bf16,
        },
        "trained_on": torch_device_name(device),
        "seconds_of_the_last_process": round(seconds, 1),
        **provenance(command, ["torch", "numpy", "tokenizers", "sacrebleu"]),
    }
    write_card(weights, card)
    click.echo(f"{task}: {done} updates, {seconds:.0f} s, largest {scores['largest']}, written to {folder}")


def _vocabulary(folder: Path, corpus: ParallelCorpus, size: int, command: str) -> Vocabulary:
    """Reads the vocabulary of a folder, or learns it there first."""
    path = folder / "vocabulary.bpe"
    if not path.exists():
        learnt = Vocabulary.train((*corpus.train.source, *corpus.train.target), size)
        learnt.save(path)
        card = {
            "what": "joint byte-level byte pairs of English and German, learnt on the training split of Multi30k",
            "terms": "made from Multi30k, which is for non-commercial research and education; cite Elliott et al. 2016",
            "tokens": len(learnt),
            "train_digest": corpus.train.digest(),
            **provenance(command, ["tokenizers"]),
        }
        write_card(path, card)
    return Vocabulary.load(path)


def _scores(
    module: Transformer, vocabulary: Vocabulary, corpus: ParallelCorpus, architecture: Architecture
) -> dict[str, object]:
    scores: dict[str, object] = {}
    for split in ("validation", "test"):
        pairs = getattr(corpus, split)
        found = bleu(translate(module, vocabulary, pairs.source, architecture), pairs.target)
        scores |= {f"{split}_bleu": round(found.score, 2), "signature": found.signature}
        batches = scoring_batches(TokenPairs.encode(pairs, vocabulary))
        scores[f"{split}_loss"] = round(validation_loss(module, batches, architecture), 4)
    return scores


class _Log:
    """Shows progress, and from time to time validation losses of the averaged weights; both go to a CSV file too."""

    def __init__(self, batches: list[Batch], space: TransformerSpace, recipe: TranslationRecipe, folder: Path) -> None:
        self._batches, self._space, self._recipe, self._path = batches, space, recipe, folder / "training.csv"
        self._started, self._first = time.perf_counter(), 0

    def progress(self, update: int, loss: float, average: Transformer) -> None:
        self._first = self._first or update
        speed = (update - self._first) / (time.perf_counter() - self._started)
        line = f"update {update} of {self._recipe.updates}, {speed:.2f} a second, training loss {loss:.3f}"
        if update % _VALIDATE_UPDATES == 0:
            architectures = self._space.largest, self._space.smallest
            losses = [validation_loss(average, self._batches, architecture) for architecture in architectures]
            line += f", validation loss {losses[0]:.3f} (largest) {losses[1]:.3f} (smallest)"
            new = not self._path.exists()
            with self._path.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if new:
                    writer.writerow(["updates", "training_loss", "largest_validation_loss", "smallest_validation_loss"])
                writer.writerow([update, *(f"{x:.4f}" for x in (loss, *losses))])
        click.echo(line)


if __name__ == "__main__":
    run_command(main, "compress_gym.making.train_translation")
