"""A SubTransformer cut out, stored, loaded and used."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from compress_gym.live.translation.scoring import translate
from compress_gym.live.translation.translator import Translator, main, translator_of
from compress_gym.support.errors import AssetError
from compress_gym.tasks.translation import get_translation_task
from tests.live.translation.small import CORPUS


@pytest.fixture
def cut(task, tmp_path):
    decisions = task.decisions()
    strategy = decisions.describe(decisions.spread(np.random.default_rng(3), 1)[0])
    path = tmp_path / "best_strategy.json"
    path.write_text(json.dumps({"strategy": strategy}))
    result = CliRunner().invoke(main, ["cut", "tiny", str(path), str(tmp_path / "small")])
    assert result.exit_code == 0 and "parameters, written to" in result.output, result.exception
    return strategy, tmp_path / "small"


def test_it_translates_as_inside_the_supertransformer(task, trained, cut):
    strategy, folder = cut
    architecture = task.space.architecture(strategy)
    expected = translate(trained, task.vocabulary(), CORPUS.test.source, architecture)
    loaded = Translator.load(folder)
    assert loaded.module.architecture == architecture and loaded(CORPUS.test.source) == expected
    result = CliRunner().invoke(main, ["translate", str(folder), *CORPUS.test.source[:2]])
    assert result.output.splitlines() == expected[:2]
    result = CliRunner().invoke(main, ["translate", str(folder)], input="\n\n".join(CORPUS.test.source[:2]))
    assert result.output.splitlines() == [expected[0], "", expected[1]]


@pytest.mark.parametrize("name", ["architecture.json", "weights.safetensors", "vocabulary.bpe"])
def test_missing_and_damaged_files_are_told(cut, name):
    path = cut[1] / name
    path.write_bytes(b"{}")
    with pytest.raises(AssetError, match=name.split(".")[0]):
        Translator.load(cut[1])
    path.unlink()
    with pytest.raises(AssetError, match=name.split(".")[0]):
        Translator.load(cut[1])


def test_impossible_sizes_are_told(cut):
    path = cut[1] / "architecture.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "encoder_embed": -3}))
    with pytest.raises(AssetError, match="not readable as an architecture"):
        Translator.load(cut[1])


@pytest.mark.parametrize("part", ["vocabulary", "supertransformer", "live"])
def test_assets_that_are_not_there_are_told_with_their_remedy(task, tmp_path, part):
    with pytest.raises(
        AssetError, match="is not there; make it with: python -m compress_gym.making.train_translation tiny"
    ):
        getattr(replace(task, assets=tmp_path), part)()


def test_what_is_not_trained_or_not_in_the_space_is_refused(task, cut):
    with pytest.raises(ValueError, match="missing"):
        translator_of(task, {"decoder.layers": 1})
    with pytest.raises(ValueError, match="costs alone"):
        get_translation_task("hat-wmt14").supertransformer()
