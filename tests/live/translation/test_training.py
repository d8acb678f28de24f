"""Training, scoring and translating with a tiny SuperTransformer."""

import numpy as np
import pytest
import torch

from compress_gym.live.translation.batches import TokenPairs, batch_of, batches_by_length
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.live.translation.training import TranslationRecipe, train_supertransformer
from compress_gym.live.weights import load_weights, save_weights
from compress_gym.networks.supertransformer import PAD, Transformer, cut_out
from compress_gym.support.errors import AssetError
from tests.live.translation.small import CORPUS, space, vocabulary

VOCABULARY = vocabulary()
SPACE = space(len(VOCABULARY))
TRAIN = TokenPairs.encode(CORPUS.train, VOCABULARY)
BATCHES = scoring_batches(TokenPairs.encode(CORPUS.validation, VOCABULARY))


def fresh():
    torch.manual_seed(0)
    return Transformer(SPACE.largest)


def test_subtransformers_learn_to_translate(trained):
    assert not trained.training
    for architecture in (SPACE.smallest, SPACE.largest, SPACE.sample(np.random.default_rng(5))):
        untrained = validation_loss(fresh().eval(), BATCHES, architecture)
        assert validation_loss(trained, BATCHES, architecture) < 0.3 * untrained
    translations = translate(trained, VOCABULARY, CORPUS.validation.source)
    found = bleu(translations, CORPUS.validation.target)
    assert found.score > 30 and "case:mixed" in found.signature and "tok:13a" in found.signature
    assert bleu(CORPUS.validation.target, CORPUS.validation.target).score == pytest.approx(100)


def test_a_cut_out_and_stored_transformer_translates_alike(trained, tmp_path):
    architecture = SPACE.sample(np.random.default_rng(2))
    save_weights(cut_out(trained, architecture), tmp_path / "own.safetensors")
    own = Transformer(architecture).eval()
    load_weights(own, tmp_path / "own.safetensors", check_card=False)
    sentences = CORPUS.test.source
    assert translate(own, VOCABULARY, sentences) == translate(trained, VOCABULARY, sentences, architecture)


@pytest.mark.parametrize("seed", [0, 3])  # of seed 0, the first update leaves the last layer untrained
def test_a_killed_training_goes_on_where_it_was(tmp_path, seed):
    recipe = TranslationRecipe(updates=12, tokens=128, dropout=0.2, warmup=3)
    whole, parts, path = fresh(), fresh(), tmp_path / "checkpoint.safetensors"
    assert train_supertransformer(whole, SPACE, TRAIN, recipe, seed) == 12
    assert train_supertransformer(parts, SPACE, TRAIN, recipe, seed, checkpoint=path, until=0.0) == 1
    again = Transformer(SPACE.largest)  # other weights: all of them come from the checkpoint
    assert train_supertransformer(again, SPACE, TRAIN, recipe, seed, checkpoint=path) == 12
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_bfloat16_trains_about_alike():
    losses = []
    for bf16 in (False, True):
        module = fresh()
        train_supertransformer(
            module, SPACE, TRAIN, TranslationRecipe(updates=20, tokens=128, warmup=5), seed=0, bf16=bf16
        )
        losses.append(validation_loss(module, BATCHES))
    assert losses[1] == pytest.approx(losses[0], rel=0.03) and losses[0] < validation_loss(fresh().eval(), BATCHES)


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    recipe = TranslationRecipe(updates=1, tokens=128)
    train_supertransformer(fresh(), SPACE, TRAIN, recipe, seed=0, checkpoint=path)
    with pytest.raises(AssetError, match="written by another training"):
        train_supertransformer(fresh(), SPACE, TRAIN, recipe, seed=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssetError, match="not readable as a checkpoint"):
        train_supertransformer(fresh(), SPACE, TRAIN, recipe, seed=0, checkpoint=path)


def test_learning_rates_rise_stay_and_fall():
    recipe = TranslationRecipe(updates=100, warmup=10, descent=0.3, peak_lr=1.0)
    rates = [recipe.learning_rate(update) for update in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert set(rates[10:70]) == {1.0}
    assert rates[70:] == pytest.approx([(100 - n) / 30 for n in range(70, 100)])


@pytest.mark.parametrize("tokens", [1, 40, 256])
@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_batches_hold_every_pair_once_within_the_limit(tokens, rng):
    batches = batches_by_length(TRAIN, tokens, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(TRAIN.source)))
    for rows in batches:
        batch = batch_of(TRAIN, rows)
        longest = max(batch.source.shape[1], batch.leaving.shape[1])
        assert len(rows) == 1 or longest * len(rows) <= tokens
        assert batch.tokens == sum(len(TRAIN.target[n]) for n in rows) == int((batch.leaving != PAD).sum())
        for n, row in enumerate(rows):
            target = TRAIN.target[row]
            assert batch.leaving[n, : len(target)].tolist() == target
            assert batch.entering[n, 1 : len(target)].tolist() == target[:-1]


def test_the_loss_is_the_mean_over_tokens(trained):
    alone = [scoring_batches(TokenPairs([s], [t])) for s, t in zip(TRAIN.source[:9], TRAIN.target[:9], strict=True)]
    losses = [validation_loss(trained, batches) for batches in alone]
    tokens = [len(t) for t in TRAIN.target[:9]]
    together = validation_loss(trained, scoring_batches(TokenPairs(TRAIN.source[:9], TRAIN.target[:9])))
    assert together == pytest.approx(np.average(losses, weights=tokens), rel=1e-4)


@pytest.mark.parametrize(
    ("sentence", "words"), [("  ", "sentence 1 is empty"), ("dog " * 200, "has .* tokens; at most")]
)
def test_impossible_sentences_are_refused(trained, sentence, words):
    with pytest.raises(ValueError, match=words):
        translate(trained, VOCABULARY, ["red dog", sentence])
