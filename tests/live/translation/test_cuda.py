"""What a CUDA device computes of transformers is what the processor computes; without one, it is refused in words."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from compress_gym.cli import cli
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.training import train_supertransformer
from compress_gym.networks.supertransformer import Transformer
from tests.live.translation.small import CORPUS, RECIPE, vocabulary

TASKS = ("tiny-translation", "digits-cnn")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@needs_cuda
def test_transformers_are_scored_as_on_the_processor(case):
    here, there = case.scorer(), case.scorer(device="cuda")
    rows = here.decisions.spread(np.random.default_rng(0), 5)
    losses = [scorer.scores(rows, ("valid_loss",))["valid_loss"] for scorer in (here, there)]
    assert np.allclose(*losses, atol=1e-4)
    assert np.allclose(here(rows), there(rows), atol=0.02)


@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
def test_transformers_are_trained(case, bf16, tmp_path):
    pairs, space = TokenPairs.encode(CORPUS.train, vocabulary()), case.task.network()
    for updates in (RECIPE.updates // 2, RECIPE.updates):  # the second goes on where the first ended
        module = Transformer(space.largest).cuda()
        file = tmp_path / "checkpoint.safetensors"
        recipe = replace(RECIPE, updates=updates)
        assert train_supertransformer(module, space, pairs, recipe, 0, file, bf16=bf16) == updates
    live, largest = case.scorer(device="cuda"), case.decisions().sizes[None] - 1
    before = live.scores(largest, ("valid_loss",))["valid_loss"]
    live.compressor.module.load_state_dict(module.state_dict())
    assert live.scores(largest, ("valid_loss",))["valid_loss"] < before + 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device")
def test_a_missing_device_is_told(case, tmp_path):
    for arguments in itertools.product(("collect", "train"), TASKS, ("--cuda",), ("--out",), (str(tmp_path),)):
        assert "no CUDA device" in str(CliRunner().invoke(cli, arguments).exception), arguments
    with pytest.raises(ValueError, match="'tpu' must be 'cpu' or 'cuda'"):
        case.scorer(device="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device")
def test_benchmarks_tell_a_missing_device():
    from benchmarks.finetuned.__main__ import main as finetuned
    from benchmarks.papers.__main__ import main as papers

    for command, argument in ((papers, "hat"), (finetuned, "digits-cnn")):
        assert "no CUDA device" in str(CliRunner().invoke(command, [argument, "--cuda"]).exception)
