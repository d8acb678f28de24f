"""A task whose SuperTransformer is trained for seconds, once for all tests of translation."""

import pytest
import torch
from compress_gym.tasks.translation import TranslationTask

from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.training import train_supertransformer
from compress_gym.live.weights import save_weights
from compress_gym.networks.supertransformer import Transformer
from compress_gym.support.cards import write_card
from compress_gym.tasks import translation as tasks
from tests.live.translation.small import CORPUS, RECIPE, space, vocabulary


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    words = vocabulary()
    made = TranslationTask(
        "tiny",
        1,
        space(len(words)),
        "nine words",
        "tests.live.translation.small",
        assets=tmp_path_factory.mktemp("assets"),
    )
    words.save(made.folder / "vocabulary.bpe")
    write_card(made.folder / "vocabulary.bpe", {})
    torch.manual_seed(0)
    module = Transformer(made.space.largest)
    updates = train_supertransformer(module, made.space, TokenPairs.encode(CORPUS.train, words), RECIPE, seed=0)
    assert updates == RECIPE.updates
    save_weights(module, made.folder / "weights.safetensors", half=True)
    write_card(made.folder / "weights.safetensors", {})
    tasks.TRANSLATION_TASKS["tiny"] = made
    yield made
    del tasks.TRANSLATION_TASKS["tiny"]


@pytest.fixture(scope="session")
def trained(task):
    return task.supertransformer()
