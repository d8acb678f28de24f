"""Live scores of SubTransformers, surrogates fitted to them, and the environment on top."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from compress_gym.kinds.transformer_problem import strategy_of
from compress_gym.making.collect_translation import fit, score
from compress_gym.problem.scores.transformers import ScoredTransformers
from compress_gym.tasks.translation import get_translation_task
from gymnasium.utils.env_checker import check_env

from benchmarks.fidelity import translation
from compress_gym.kinds.transformer_nas import TransformerNASEnv, transformer_nas_problem, transformer_nas_vector_env
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.making import collect_translation as command
from compress_gym.making.fit import FitSettings
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from tests.live.translation.small import CORPUS

SETTINGS = {"device": None, "cost": "macs"}


@pytest.fixture(scope="module")
def live(task):
    return task.live()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def rows(live):
    return np.unique(live.decisions.spread(np.random.default_rng(0), 150), axis=0)[:64]


@pytest.fixture(scope="module")
def scored(task, rows, shards):
    return score(task, rows, 40, shards, {"task": task.name}, workers=2)


def test_live_scores_are_those_of_the_architecture(task, live, trained):
    strategies = live.decisions.spread(np.random.default_rng(1), 3)
    for row, accuracy, loss in zip(strategies, live(strategies), live.valid_loss(strategies), strict=True):
        architecture = task.space.architecture(live.decisions.describe(row))
        assert np.array_equal(strategy_of(task.space, live.decisions, architecture), row)
        written = translate(trained, task.vocabulary(), CORPUS.validation.source, architecture)
        assert accuracy == bleu(written, CORPUS.validation.target).score / 100
        batches = scoring_batches(TokenPairs.encode(CORPUS.validation, task.vocabulary()))
        assert loss == pytest.approx(validation_loss(trained, batches, architecture))
    assert live.baseline == live(live.decisions.sizes[None] - 1)[0] > 0.3


def test_a_killed_measurement_goes_on_where_it_was(task, live, rows, scored, shards):
    assert int(scored.translated.sum()) == 40
    assert scored.translated[:40].all() and {*map(tuple, scored.strategies)} == {*map(tuple, rows)}
    kept, lost = shards / "shard-00000.npy", shards / "shard-00001.npy"
    before, expected = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    again = score(task, rows, 40, shards, {"task": task.name})
    assert kept.stat().st_mtime_ns == before and lost.read_bytes() == expected
    assert np.array_equal(scored.valid_loss, again.valid_loss)
    assert np.array_equal(scored.accuracy, again.accuracy, equal_nan=True)
    assert np.array_equal(scored.valid_loss[:3], live.valid_loss(scored.strategies[:3]))
    with pytest.raises(ValueError, match="holds pieces of another measurement"):
        score(task, rows, 40, shards, {"task": "other"})


def test_a_measurement_can_stop_early_and_go_on(task, rows, scored, tmp_path):
    part = score(task, rows, 40, tmp_path, {"task": task.name}, until=1e-6)
    done = len(part.strategies)
    assert 0 < done < len(rows)
    assert np.array_equal(part.valid_loss, scored.valid_loss[:done])
    again = score(task, rows, 40, tmp_path, {"task": task.name}, until=0.0)
    assert np.array_equal(part.valid_loss, again.valid_loss)
    whole = score(task, rows, 40, tmp_path, {"task": task.name})
    assert np.array_equal(whole.accuracy, scored.accuracy, equal_nan=True)


def test_scores_are_stored_and_checked(live, scored, tmp_path):
    path = tmp_path / "strategies.npz"
    scored.save(path, live.decisions)
    write_card(path, {})
    loaded = ScoredTransformers.load(path, live.decisions)
    assert np.array_equal(loaded.strategies, scored.strategies)
    assert np.array_equal(loaded.accuracy, scored.accuracy, equal_nan=True)
    with pytest.raises(AssetError, match="measured for decisions"):
        ScoredTransformers.load(path, get_translation_task("multi30k-ende").decisions())
    path.write_bytes(b"PK")
    write_card(path, {})
    with pytest.raises(AssetError, match="not readable as scored transformers"):
        ScoredTransformers.load(path, live.decisions)


@pytest.fixture(scope="module")
def fitted_task(task, live, scored):
    """The task with surrogates; losses order its SubTransformers better than few BLEU scores."""
    fitted = fit(scored, live, settings=FitSettings(epochs=60))
    assert fitted["loss_surrogate.npz"][1]["kendall_tau"] > 0.4
    for name, (surrogate, error) in fitted.items():
        errors = {way: found["mean_absolute_error"] for way, found in error["cross_validated"].items()}
        assert errors[error["kind"]] == min(errors.values())
        surrogate.save(task.folder / name)
        write_card(task.folder / name, {"stated_error": error, **command._identity(task, live)})
    scored.save(task.folder / "strategies.npz", live.decisions)
    write_card(task.folder / "strategies.npz", {"seed": 0, **command._identity(task, live)})
    yield task
    for name in (*fitted, "strategies.npz"):
        (task.folder / name).unlink()


def test_the_environment_of_surrogates(fitted_task):
    env = TransformerNASEnv("tiny", budget=0.6, reward="accuracy", **SETTINGS)
    check_env(env, skip_render_check=True)
    problem, names = env.problem, env.observation_names
    assert problem.accuracy_model.source == "surrogate"
    assert len(names) == env.observation_space.shape[0] == 32
    (decided,) = (n for n, name in enumerate(names) if name == "decides_embed_dim")
    _, info = env.reset(seed=0)
    assert env.reset()[0][decided] == 1
    steps, terminated = 0, False
    rng = np.random.default_rng(0)
    while not terminated:
        _, reward, terminated, _, info = env.step(rng.uniform(-1, 1, 1).astype(np.float32))
        steps += 1
    active = problem.decisions.active(problem.decisions.encode(info["strategy"]))
    assert steps == active.sum()
    row = problem.decisions.encode(info["strategy"])
    assert info["valid_loss"] == fitted_task.loss_surrogate().valid_loss(row)[0]
    assert reward == info["accuracy"] == problem.accuracy(row)[0] and info["feasible"]


@pytest.mark.parametrize("reward", ["accuracy", "hat"])
def test_vector_and_scalar_environments_agree(fitted_task, reward):
    settings = {"budget": 0.6, "reward": reward, **SETTINGS}
    envs = transformer_nas_vector_env(3, task="tiny", **settings)
    env = TransformerNASEnv("tiny", **settings)
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 3, 1)).astype(np.float32)
    envs.reset(seed=0)
    losses = [[], [], []]
    for step in actions:
        _, rewards, ended, _, infos = envs.step(step)
        for n in np.flatnonzero(ended):
            told = infos["valid_loss"][n], infos["accuracy"][n]
            assert rewards[n] == (-told[0] if reward == "hat" else told[1])
            losses[n].append((rewards[n], *told))
    for n in range(3):
        env.reset(seed=n)
        found, begun = [], True
        for step in actions:
            if not begun:  # the vector environment resets in this step
                env.reset()
                begun = True
                continue
            _, last, terminated, _, info = env.step(step[n])
            if terminated:
                row = env.problem.decisions.encode(info["strategy"])
                assert env.problem.evaluate(row).reward[0] == last
                found.append((last, info["valid_loss"], info["accuracy"]))
                begun = False
        assert found == losses[n] and found


def test_what_searches_find_is_scored_live(fitted_task, live, tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "BUDGETS", (0.6, 0.8))
    arguments = ["tiny", "--device", "none", "--cost", "macs", "--seeds", "1", "--out", str(tmp_path)]
    CliRunner().invoke(translation.main, arguments, catch_exceptions=False)
    facts = json.loads((tmp_path / "tiny.json").read_text())
    assert 1 <= facts["accuracy"]["strategies"] == facts["negated_loss"]["strategies"] <= 4
    assert facts["accuracy"]["best_live"] <= 1 and facts["negated_loss"]["best_live"] < 0
    assert facts["accuracy"]["loss_from_trusting"] >= 0
    assert sum(tenth["strategies"] for tenth in facts["front"]) <= 8  # are held out: too few for a tau
    assert not any("kendall_tau" in tenth for tenth in facts["front"])


def test_order_near_the_front_is_of_what_was_not_fitted(monkeypatch):
    """The shipped surrogate, by the numbers on its card."""
    task, seen = get_translation_task("multi30k-ende"), {}
    monkeypatch.setattr(translation, "front_order", lambda predicted, live, *_: seen.update(p=predicted, live=live))
    translation.near_the_front(task.name)
    stated = command._errors(seen["p"], seen["live"])
    card = json.loads((task.folder / "surrogate.json").read_text())["stated_error"]
    assert (
        stated == {name: pytest.approx(card[name], abs=2e-4) for name in stated} and len(seen["p"]) == card["held_out"]
    )


def test_surrogates_of_other_weights_are_refused(fitted_task, live):
    path = fitted_task.folder / "surrogate.npz"
    card = json.loads(path.with_suffix(".json").read_text())
    write_card(path, {**card, "weights_sha256": "0"})
    try:
        with pytest.raises(AssetError, match="made with other weights"):
            transformer_nas_problem("tiny", **SETTINGS)
    finally:
        write_card(path, card)


def test_the_live_environment(task):
    env = TransformerNASEnv("tiny", budget=0.9, accuracy="live", action_type="discrete", **SETTINGS)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(int(np.flatnonzero(env.action_masks())[-1]))
    row = env.problem.decisions.encode(info["strategy"])
    assert info["accuracy_source"] == "live"
    assert info["accuracy"] == env.problem.accuracy(row)[0]
    assert info["valid_loss"] == env.problem.accuracy_model.valid_loss(row)[0]


class Own:
    """An accuracy model of a user's own."""

    source, baseline = "own", 1.0

    def __call__(self, strategies):
        return strategies.mean(axis=1) / 4


def test_costs_alone_need_an_accuracy():
    for accuracy in ("auto", "live", "surrogate"):
        with pytest.raises(ValueError, match="task='hat-wmt14' has costs alone.*accuracy=MODEL"):
            transformer_nas_problem("hat-wmt14", device=None, accuracy=accuracy, cost="macs")
    problem = transformer_nas_problem("hat-wmt14", device=None, accuracy=Own(), cost="macs")
    # HAT's fortieth gene, the number of encoder layers, has one value.
    assert len(problem.decisions) == 39 and problem.evaluate(problem.uniform()).feasible.all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "multi30k-endee"}, "Did you mean 'multi30k-ende'"),
        ({"accuracy": "measured"}, "accuracy='measured' is not known"),
        ({"device": "hat-xeon"}, "device='hat-xeon' is not known"),
    ],
)
def test_unknown_names_are_told(settings, words):
    with pytest.raises(KeyError, match=words):
        transformer_nas_problem(**{"task": "multi30k-ende", "accuracy": Own(), **settings})


def test_no_torch_where_scores_are_predicted(fitted_task):
    """The environment of surrogates needs neither torch nor a tokenizer."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from compress_gym.tasks import translation as tasks\n"
        "from compress_gym.networks.transformer import TransformerSpace\n"
        f"space = TransformerSpace.from_json({fitted_task.space.to_json()!r})\n"
        f"tasks.TRANSLATION_TASKS['tiny'] = tasks.TranslationTask('tiny', 1, space, '', 'none', "
        f"assets=Path({str(fitted_task.assets)!r}))\n"
        "from compress_gym.kinds.transformer_nas import TransformerNASEnv\n"
        "env = TransformerNASEnv('tiny', device=None, cost='macs')\n"
        "env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "print([name for name in ('torch', 'tokenizers', 'sacrebleu', 'stable_baselines3') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
