"""A SubTransformer cut out, stored, loaded and used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from compress_gym.cli import cli
from compress_gym.kinds import get_case
from compress_gym.live.translation.compressor import TransformerCompressor, vocabulary_of
from compress_gym.live.translation.scoring import translate
from compress_gym.live.translation.translator import Translator, main
from compress_gym.networks.supertransformer import Transformer
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task, get_task
from tests.live.translation.small import CORPUS


@pytest.fixture
def cut(case, tmp_path):
    decisions = case.decisions()
    strategy = decisions.describe(decisions.spread(np.random.default_rng(3), 1)[0])
    path = tmp_path / "best_strategy.json"
    path.write_text(json.dumps({"strategy": strategy}))
    result = CliRunner().invoke(cli, ["export", case.task.name, str(path), "--out", str(tmp_path / "small")])
    assert result.exit_code == 0 and "written to" in result.output, result.exception
    return strategy, tmp_path / "small"


def test_it_translates_as_inside_the_supertransformer(case, trained, cut):
    strategy, folder = cut
    architecture = case.task.network().architecture(strategy)
    expected = translate(trained, vocabulary_of(case.task), CORPUS.test.source, architecture)
    loaded = Translator.load(folder)
    assert loaded.module.architecture == architecture and loaded(CORPUS.test.source) == expected
    result = CliRunner().invoke(main, [str(folder), *CORPUS.test.source[:2]])
    assert result.output.splitlines() == expected[:2]
    result = CliRunner().invoke(main, [str(folder)], input="\n\n".join(CORPUS.test.source[:2]))
    assert result.output.splitlines() == [expected[0], "", expected[1]]
    assert json.loads((folder / "weights.json").read_text())["terms"] == "for tests"


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


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.bpe"])
def test_assets_that_are_not_there_are_told_with_their_remedy(case, tmp_path, name):
    shutil.copytree(case.task.folder, tmp_path / case.task.name)
    (tmp_path / case.task.name / name).unlink()
    task = Task.read(tmp_path / case.task.name)
    with pytest.raises(AssetError, match=f"{name}.*with: compress-gym train {task.name}$"):
        get_case(case.kind, task).compressor()


def test_what_is_not_trained_or_does_not_belong_together_is_refused(case, trained):
    with pytest.raises(ValueError, match="missing"):
        case.decisions().encode({"decoder.layers": 1})
    with pytest.raises(ValueError, match="costs alone"):
        get_task("hat-wmt14").trained_module()
    space, words = case.task.network(), vocabulary_of(case.task)
    with pytest.raises(ValueError, match="holds architectures that do not fit into"):
        TransformerCompressor(Transformer(space.smallest), words, space, case.decisions())
    other = replace(space, vocabulary=len(words) + 1)
    with pytest.raises(ValueError, match=f"vocabulary has {len(words)} tokens, the transformer {len(words) + 1}"):
        TransformerCompressor(Transformer(other.largest), words, other, case.decisions())
