"""What a CUDA device computes of transformers is what the processor computes; without one, it is refused in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.finetuned.__main__ import main as finetuned
from benchmarks.papers.__main__ import main as papers
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.training import train_supertransformer
from compress_gym.making.collect_translation import main as collect
from compress_gym.making.train import main as train_network
from compress_gym.making.train_translation import main as train
from compress_gym.networks.supertransformer import Transformer
from tests.live.translation.small import CORPUS, RECIPE, vocabulary

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@needs_cuda
def test_transformers_are_scored_as_on_the_processor(task):
    here, there = task.live(), task.live(device="cuda")
    rows = here.decisions.spread(np.random.default_rng(0), 5)
    assert np.allclose(here.valid_loss(rows), there.valid_loss(rows), atol=1e-4)
    assert np.allclose(here(rows), there(rows), atol=0.02)


@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
def test_transformers_are_trained(task, bf16, tmp_path):
    pairs = TokenPairs.encode(CORPUS.train, vocabulary())
    for updates in (RECIPE.updates // 2, RECIPE.updates):  # the second goes on where the first ended
        module = Transformer(task.space.largest).cuda()
        file = tmp_path / "checkpoint.safetensors"
        recipe = replace(RECIPE, updates=updates)
        assert train_supertransformer(module, task.space, pairs, recipe, 0, file, bf16=bf16) == updates
    task_loss = task.live().valid_loss(task.decisions().sizes[None] - 1)[0]
    live = task.live(device="cuda")
    live.module.load_state_dict(module.state_dict())
    assert live.valid_loss(task.decisions().sizes[None] - 1)[0] < task_loss + 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device")
def test_a_missing_device_is_told(task):
    result = CliRunner().invoke(collect, ["tiny", "--cuda"])
    assert "torch finds no CUDA device" in str(result.exception)
    commands = (papers, "hat"), (train, "multi30k-ende"), (finetuned, "digits-cnn"), (train_network, "digits-cnn")
    for command, argument in commands:
        assert "no CUDA device" in str(CliRunner().invoke(command, [argument, "--cuda"]).exception)
    with pytest.raises(ValueError, match="'tpu' must be 'cpu' or 'cuda'"):
        task.live(device="tpu")
