"""Trains the SuperTransformer of a task."""

from __future__ import annotations

import csv
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
from compress_gym.making.train import TrainSettings
from compress_gym.making.weight_shards import copy_vocabulary, load_shards
from compress_gym.networks.supertransformer import Transformer
from compress_gym.networks.transformer import Architecture, TransformerSpace
from compress_gym.support.cards import provenance, write_card
from compress_gym.support.processor import bf16_supported, checked_device, torch_device_name
from compress_gym.tasks import Task

RECIPE = TranslationRecipe(updates=25_000)
_VALIDATE_UPDATES = 500


def train(task: Task, out: Path, settings: TrainSettings, command: str) -> str:
    """Trains a task's SuperTransformer and writes vocabulary, weights and card; see `making.train.train`."""
    settings.refuse("epochs")
    recipe = replace(RECIPE, updates=settings.updates or RECIPE.updates, peak_lr=settings.lr or RECIPE.peak_lr)
    device = checked_device("cuda" if settings.cuda else "cpu")
    bf16 = bf16_supported(device) if settings.bf16 is None else settings.bf16
    corpus, space, seed = task.data(), task.network(), settings.seed
    if settings.warm_start:
        copy_vocabulary(settings.warm_start, out)
    vocabulary = _vocabulary(out, corpus, space.vocabulary, command)
    torch.manual_seed(seed)
    module = Transformer(space.largest, recipe.dropout)
    if settings.warm_start:
        load_shards(module, settings.warm_start)
    module.to(device)
    log = _Log(scoring_batches(TokenPairs.encode(corpus.validation, vocabulary), device), space, recipe, out)
    started = time.perf_counter()
    done = train_supertransformer(
        module,
        space,
        TokenPairs.encode(corpus.train, vocabulary),
        recipe,
        seed,
        settings.checkpoint,
        log.progress,
        settings.minutes and settings.minutes * 60,
        bf16,
    )
    seconds = time.perf_counter() - started
    module.to("cpu").half().float()  # what is scored below is what is stored
    weights = out / "weights.safetensors"
    save_weights(module, weights, half=True)
    scores = {
        name: _scores(module, vocabulary, corpus, architecture)
        for name, architecture in (("largest", space.largest), ("smallest", space.smallest))
    }
    card = {
        "what": f"SuperTransformer of task {task.name}, trained on the training split of Multi30k, English to German",
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
            "warm_start": settings.warm_start and str(settings.warm_start),
            "seed": seed,
            "bf16": bf16,
        },
        "trained_on": torch_device_name(device),
        "seconds_of_the_last_process": round(seconds, 1),
        **provenance(command, ["torch", "numpy", "tokenizers", "sacrebleu"]),
    }
    write_card(weights, card)
    return f"{task.name}: {done} updates, {seconds:.0f} s, largest {scores['largest']}, written to {out}"


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
