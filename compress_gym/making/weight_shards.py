"""Averaged weights of an unfinished training in small files, and its vocabulary, to go on from elsewhere.

`python -m compress_gym.making.weight_shards CHECKPOINT VOCABULARY FOLDER` writes them;
`compress_gym.making.train_translation` begins with them if it is given `--warm-start FOLDER`. The optimiser's moments,
four times as large, are left out: they are made anew during the warm-up.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click
from safetensors.torch import save_file
from torch import Tensor, nn

from compress_gym.live.weights import load_tensors, read_checkpoint, read_tensors
from compress_gym.support.cards import provenance, read_card, write_atomically, write_card
from compress_gym.support.commands import run_command
from compress_gym.support.errors import AssetError

LIMIT = 4_500_000


def save_shards(weights: dict[str, Tensor], folder: Path, card: dict[str, Any], limit: int = LIMIT) -> list[Path]:
    """Writes weights in half precision, in files of at most so many bytes (or one tensor), each with its card.

    Shards that lie there already are replaced.
    """
    groups, room = list[dict[str, Tensor]](), 0
    for name, tensor in weights.items():
        half = tensor.detach().half().contiguous()
        if half.nbytes > room:
            groups.append({})
            room = limit
        groups[-1][name] = half
        room -= half.nbytes
    for old in folder.glob("weights-*"):
        old.unlink()
    paths = [folder / f"weights-{n}-of-{len(groups)}.safetensors" for n in range(1, len(groups) + 1)]
    for path, group in zip(paths, groups, strict=True):
        write_atomically(path, lambda p, group=group: save_file(group, p))  # type: ignore[misc]
        write_card(path, card)
    return paths


def load_shards(module: nn.Module, folder: Path) -> None:
    """Loads what `save_shards` wrote into a module.

    Raises:
        AssetError: A shard is missing or damaged, or the weights are not the module's.
    """
    paths = sorted(folder.glob("weights-*-of-*.safetensors"))
    if not paths or len(paths) != int(paths[0].stem.rsplit("-", 1)[1]):
        raise AssetError(
            f"{folder}: {len(paths)} shards of weights are there; expected weights-1-of-N.safetensors, all N"
        )
    weights: dict[str, Tensor] = {}
    for path in paths:
        read_card(path)
        weights |= read_tensors(path)
    load_tensors(module, weights, folder)


def copy_vocabulary(source: Path, target: Path) -> None:
    """Copies a vocabulary and its card from one folder to another."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vocabulary.bpe", "vocabulary.json"):
        shutil.copyfile(source / name, target / name)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("vocabulary", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(checkpoint: Path, vocabulary: Path, folder: Path) -> None:
    """Writes the averaged weights of a training's CHECKPOINT to FOLDER, in shards, with its VOCABULARY."""
    read_card(vocabulary)
    run, tensors = read_checkpoint(checkpoint, "updates_done", "average.", remedy="")
    weights = {name.removeprefix("average."): tensor for name, tensor in tensors.items()}
    command = shlex.join(["python", "-m", "compress_gym.making.weight_shards", *sys.argv[1:]])
    card = {"what": "averaged weights of an unfinished training, float16", **run, **provenance(command, ["torch"])}
    paths = save_shards(weights, folder, card)
    copy_vocabulary(vocabulary.parent, folder)
    click.echo(f"{run['updates_done']} updates, {len(paths)} shards, written to {folder}")


if __name__ == "__main__":
    run_command(main, "compress_gym.making.weight_shards")
