"""Live scores of SubTransformers, surrogates fitted to them, and the environment on top."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from compress_gym.kinds import get_case
from compress_gym.kinds.shared.environment import vector_env
from compress_gym.kinds.transformer_nas import KIND, TransformerNASEnv
from compress_gym.live.translation.batches import TokenPairs
from compress_gym.live.translation.compressor import vocabulary_of
from compress_gym.live.translation.scoring import bleu, scoring_batches, translate, validation_loss
from compress_gym.making import collect as collect_module
from compress_gym.making import fit_case as fit_module
from compress_gym.making import scoring
from compress_gym.making.collect import collect, wanted_sample
from compress_gym.making.fit import FitSettings, fit_surrogate
from compress_gym.making.fit_case import baseline_of, fit_case, fit_column
from compress_gym.making.folds import errors
from compress_gym.making.scoring import score
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import read_card, write_card
from compress_gym.support.errors import AssetError
from compress_gym.tasks import Task
from compress_gym.tasks.conditions import Conditions
from tests.live.translation.small import CORPUS

NAME = "tiny-translation"
SETTINGS = {"device": None, "cost": "macs"}
COUNT, COSTLY = 64, 40


@pytest.fixture(scope="module")
def live(case):
    return case.scorer()


def few(case, folder, workers=1, costly=10, images=8, **settings):
    """Two shards and a half, of which BLEU scores are in two, on few sentences."""
    return collect(case, folder, workers, 20, 0, "test", Conditions(images=images), costly=costly, **settings)


@pytest.fixture(scope="module")
def path(case, tmp_path_factory):
    return collect(case, tmp_path_factory.mktemp("whole"), 2, COUNT, 0, "test", costly=COSTLY)


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    return MeasuredStrategies.load(few(case, tmp_path_factory.mktemp("few")), case.decisions())


@pytest.fixture(scope="module")
def scored(case, path):
    return MeasuredStrategies.load(path, case.decisions())


def losses(scorer, rows):
    return scorer.scores(rows, ("valid_loss",))["valid_loss"]


def test_live_scores_are_those_of_the_architecture(case, live, trained):
    space, words = case.task.network(), vocabulary_of(case.task)
    strategies = live.decisions.spread(np.random.default_rng(1), 3)
    found = live.scores(strategies, ("accuracy", "valid_loss"))
    assert np.array_equal(found["accuracy"], live(strategies))
    for row, accuracy, loss in zip(strategies, found["accuracy"], found["valid_loss"], strict=True):
        architecture = space.architecture(live.decisions.describe(row))
        written = translate(trained, words, CORPUS.validation.source, architecture)
        assert accuracy == bleu(written, CORPUS.validation.target).score / 100
        batches = scoring_batches(TokenPairs.encode(CORPUS.validation, words))
        assert loss == pytest.approx(validation_loss(trained, batches, architecture))
    assert live.baseline == live(live.decisions.uncompressed)[0] > 0.3


def test_some_are_translated_and_all_have_a_loss(case, live, path, scored):
    assert path.name == "strategies.npz" and not (path.parent / "shards").exists()
    assert scored.scored("accuracy").tolist() == [n < COSTLY for n in range(COUNT)]
    assert scored.scored("valid_loss").all() and scored.halves is None
    rows = wanted_sample(case, COUNT, 0)
    assert {*map(tuple, scored.strategies)} == {*map(tuple, rows)}
    # Those that are translated are of all sizes, too, and the uncompressed one is among them.
    (places,) = np.nonzero((rows[:, None] == scored.strategies[:COSTLY]).all(axis=2).any(axis=1))
    assert places[0] <= 1 and places[-1] == COUNT - 1 and np.diff(places).max() <= 3
    assert (scored.strategies[:COSTLY] == live.decisions.uncompressed).all(axis=1).any()
    some = [0, 1, COSTLY, COUNT - 1]
    assert np.array_equal(scored.column("valid_loss")[some], losses(live, scored.strategies[some]))
    assert np.array_equal(scored.accuracy[:2], live(scored.strategies[:2]))
    card = read_card(path)
    assert "64 strategies" in card["what"] and "40 of them accuracy, 64 of them valid_loss" in card["what"]
    assert card["sentences"] == 40 and card["weights_sha256"] == case.task.weights_digest


def test_the_shipped_strategies_are_what_the_collector_would_score():
    case = get_case(KIND, "multi30k-ende")
    rows = wanted_sample(case, 3000, 0)
    (whole,) = np.nonzero((rows == case.decisions().uncompressed).all(axis=1))
    order, costly = collect_module._spread_order(3000, 3000, whole)
    assert costly == 3000 and len(whole) == 1 and np.array_equal(rows[order], case.strategies().strategies)


def same(some, others):
    return all(np.array_equal(column, others.columns[name], equal_nan=True) for name, column in some.columns.items())


def test_a_killed_measurement_goes_on_where_it_was(case, whole, tmp_path, monkeypatch):
    measure, done = scoring._measure, []

    def killed(rows, columns):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(rows)
        return measure(rows, columns)

    with monkeypatch.context() as context:
        context.setattr(scoring, "_measure", killed)
        with pytest.raises(KeyboardInterrupt):
            few(case, tmp_path)
    shards = sorted((tmp_path / "shards").glob("0*.npz"))
    before = [shard.read_bytes() for shard in shards]
    assert len(shards) == 2 and not (tmp_path / "strategies.npz").exists()
    for other in ({"costly": 11}, {"images": 9}):
        with pytest.raises(ValueError, match="holds pieces of another measurement"):
            few(case, tmp_path, **other)
    assert [shard.read_bytes() for shard in shards] == before
    missing = []
    monkeypatch.setattr(scoring, "_measure", lambda rows, columns: (missing.append(rows), measure(rows, columns))[1])
    again = MeasuredStrategies.load(few(case, tmp_path), case.decisions())
    assert np.array_equal(np.concatenate([*done, *missing]), whole.strategies)
    assert np.array_equal(again.strategies, whole.strategies) and same(again, whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_measurement_can_stop_early_and_go_on(case, whole, tmp_path, workers):
    path = few(case, tmp_path, workers, minutes=0)
    part = MeasuredStrategies.load(path, case.decisions())
    done = len(part.strategies)
    # Of two workers, either may end last: the first shard is waited for, so that all may be there.
    assert done == 8 if workers == 1 else 0 < done <= 20
    assert np.array_equal(part.strategies, whole.strategies[:done])
    assert np.array_equal(part.column("valid_loss"), whole.column("valid_loss")[:done])
    assert read_card(path)["wanted"] == 20 and f"{done} strategies" in read_card(path)["what"]
    if workers == 1:
        more = MeasuredStrategies.load(few(case, tmp_path, minutes=0), case.decisions())
        assert len(more.strategies) == 2 * done
        again = MeasuredStrategies.load(few(case, tmp_path), case.decisions())
        assert same(again, whole) and not (tmp_path / "shards").exists()


def test_a_first_shard_that_ends_last_is_waited_for(case, tmp_path, monkeypatch):
    """Nothing is returned without it, however little time there was."""
    monkeypatch.setattr(scoring, "results_of", backwards)
    rows = wanted_sample(case, COUNT, 0)[:12]
    found = score(case, rows, Conditions(), tmp_path, 1, ("valid_loss",), minutes=0, shard=4)
    assert found.count == 12 and list(found.columns) == ["valid_loss"]


def backwards(function, jobs, workers, begin, settings):
    begin(*settings)
    yield from ((n, function(*jobs[n])) for n in reversed(range(len(jobs))))


@pytest.fixture(scope="module")
def fitted(case, path, tmp_path_factory):
    """The case with strategies and surrogates; losses order its SubTransformers better than few BLEU scores."""
    folder = case.task.folder
    for name in ("strategies.npz", "strategies.json"):
        (folder / name).write_bytes((path.parent / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fit_module.WAYS, "network", partial(fit_surrogate, settings=FitSettings(epochs=60)))
        stated = fit_case(case, folder, "test")
    yield case, stated
    for name in ("strategies", "surrogate", "loss_surrogate"):
        for suffix in (".npz", ".json"):
            (folder / name).with_suffix(suffix).unlink()


def test_surrogates_of_both_columns_say_how_true_they_are(fitted, live, scored):
    case, stated = fitted
    assert stated["accuracy"]["rows"] == COSTLY and stated["valid_loss"]["rows"] == COUNT
    assert stated["valid_loss"]["held_out"]["all_rows"]["kendall_tau"] > 0.4
    surrogate, rows = case.surrogate(), scored.strategies
    assert surrogate.columns == ("accuracy", "valid_loss")
    assert surrogate.baseline == live.baseline
    found = surrogate.scores(rows, ("valid_loss",))["valid_loss"]
    assert np.array_equal(found, -np.log(surrogate.others["valid_loss"][1](rows)))
    assert np.corrcoef(found, scored.column("valid_loss"))[0, 1] > 0.5
    for name, column in (("surrogate", "accuracy"), ("loss_surrogate", "valid_loss")):
        card = read_card(case.asset(name))
        assert card["stated_error"]["held_out"] == stated[column]["held_out"] and card["model"] in fit_module.WAYS
        assert card["fitted_to"]["sha256"] == read_card(case.asset("strategies"))["sha256"]
        assert card["sentences_digest"] == CORPUS.validation.digest()
        # As the better of the ways, each held out.
        ways = {way: fit_column(case, scored, column, 0.5, way) for way in ("additive",)}
        mae = errors(ways["additive"].predicted, ways["additive"].targets)["mae"]
        assert stated[column]["held_out"]["all_rows"]["mae"] <= mae


def test_what_is_uncompressed_is_looked_up(case, scored):
    uncompressed = (scored.strategies == case.decisions().uncompressed).all(axis=1)
    assert uncompressed.sum() == 1
    assert baseline_of(case, scored, "accuracy") == scored.accuracy[uncompressed][0]
    assert baseline_of(case, scored, "valid_loss") == np.exp(-scored.column("valid_loss")[uncompressed])[0]
    columns = {name: column[~uncompressed] for name, column in scored.columns.items()}
    without = MeasuredStrategies(scored.strategies[~uncompressed], scored.rounds[~uncompressed], columns)
    assert baseline_of(case, without, "accuracy") == np.nanmax(without.accuracy)


def test_too_few_strategies_and_other_models_are_told(case, scored):
    columns = {"accuracy": np.where(np.arange(COUNT) < 9, scored.accuracy, np.nan)}
    with pytest.raises(ValueError, match="9 strategies of tiny-translation have the column 'accuracy'; at least 10"):
        fit_column(case, replace(scored, columns=columns), "accuracy", 0.5)
    with pytest.raises(KeyError, match="model='networks' is not known.*Did you mean 'network'"):
        fit_column(case, scored, "accuracy", 0.5, "networks")


def test_strategies_of_other_weights_are_not_fitted(fitted, tmp_path):
    case, _ = fitted
    path = case.asset("strategies")
    card = json.loads(path.with_suffix(".json").read_text())
    other = tmp_path / "strategies.npz"
    other.write_bytes(path.read_bytes())
    write_card(other, {**card, "weights_sha256": "0"})
    with pytest.raises(AssetError, match="made with weights_sha256='0'.*compress-gym collect tiny-translation"):
        fit_case(case, tmp_path / "out", "test", other)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "column"), [("surrogate", "accuracy"), ("loss_surrogate", "valid_loss")])
def test_the_shipped_surrogates_are_as_true_as_their_cards_say(name, column):
    """On the fifth of the measured strategies that they were not fitted to."""
    case = get_case(KIND, "multi30k-ende")
    measured, card = case.strategies(), read_card(case.asset(name))["stated_error"]
    held = np.random.default_rng(read_card(case.asset("strategies"))["seed"]).permutation(3000)[: card["held_out"]]
    predicted, live = case.surrogate().scores(measured.strategies[held], (column,))[column], measured.column(column)
    if column == "valid_loss":
        predicted, live = np.exp(-predicted), np.exp(-live)
    found = errors(predicted, live[held])
    assert found["mae"] == pytest.approx(card["mean_absolute_error"], abs=2e-4)
    assert found["kendall_tau"] == pytest.approx(card["kendall_tau"], abs=2e-4)


def test_the_environment_of_surrogates(fitted):
    case, _ = fitted
    env = TransformerNASEnv(NAME, budget=0.6, reward="accuracy", **SETTINGS)
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
    assert info["valid_loss"] == losses(case.surrogate(), row)[0]
    assert reward == info["accuracy"] == problem.accuracy(row)[0] and info["feasible"]


@pytest.mark.parametrize("reward", ["accuracy", "hat"])
def test_vector_and_scalar_environments_agree(fitted, reward):
    settings = {"budget": 0.6, "reward": reward, **SETTINGS}
    envs = vector_env(KIND, 3, task=NAME, **settings)
    env = TransformerNASEnv(NAME, **settings)
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 3, 1)).astype(np.float32)
    envs.reset(seed=0)
    told = [[], [], []]
    for step in actions:
        _, rewards, ended, _, infos = envs.step(step)
        for n in np.flatnonzero(ended):
            loss, accuracy = infos["valid_loss"][n], infos["accuracy"][n]
            assert rewards[n] == (-loss if reward == "hat" else accuracy)
            told[n].append((rewards[n], loss, accuracy))
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
        assert found == told[n] and found


def test_surrogates_of_other_weights_are_refused(fitted):
    path = fitted[0].asset("surrogate")
    card = json.loads(path.with_suffix(".json").read_text())
    write_card(path, {**card, "weights_sha256": "0"})
    try:
        with pytest.raises(AssetError, match="made with weights_sha256='0'.*compress-gym fit tiny-translation"):
            get_case(KIND, NAME).problem(**SETTINGS)
    finally:
        write_card(path, card)


def test_the_live_environment(case):
    env = TransformerNASEnv(NAME, budget=0.9, accuracy="live", action_type="discrete", **SETTINGS)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(int(np.flatnonzero(env.action_masks())[-1]))
    row = env.problem.decisions.encode(info["strategy"])
    assert info["accuracy_source"] == "live"
    assert info["accuracy"] == env.problem.accuracy(row)[0]
    assert info["valid_loss"] == losses(env.problem.accuracy_model, row)[0]
    built = env.problem.build(row)
    assert built.architecture == case.task.network().architecture(info["strategy"])


class Own:
    """An accuracy model of a user's own."""

    source, baseline = "own", 1.0

    def __call__(self, strategies):
        return strategies.mean(axis=1) / 4


def test_costs_alone_need_an_accuracy():
    case = get_case(KIND, "hat-wmt14")
    for accuracy in ("auto", "live"):
        with pytest.raises(ValueError, match="task='hat-wmt14' has costs alone.*accuracy=MODEL"):
            case.problem(None, accuracy, cost="macs")
    with pytest.raises(ValueError, match="task 'hat-wmt14' has none for TransformerNAS"):
        case.problem(None, "surrogate", cost="macs")
    problem = case.problem(None, Own(), cost="macs")
    # HAT's fortieth gene, the number of encoder layers, has one value.
    assert len(problem.decisions) == 39 and problem.evaluate(problem.uniform()).feasible.all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "multi30k-endee"}, "Did you mean 'multi30k-ende'"),
        ({"accuracy": "measure"}, "accuracy='measure' is not known"),
        ({"device": "hat-xeon"}, "device='hat-xeon' is not known"),
    ],
)
def test_unknown_names_are_told(settings, words):
    with pytest.raises(KeyError, match=words):
        TransformerNASEnv(**{"task": "multi30k-ende", "accuracy": Own(), **settings})


def test_conditions_of_images_are_refused(case):
    for conditions in ({"recovery": "adaptive-bn"}, {"corruption": "fog"}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="inherit their weights and are scored as they are, in fp32"):
            case.scorer(**conditions)
    with pytest.raises(KeyError, match="column='loss' is not known"):
        case.scorer(images=2).scores(case.decisions().uncompressed, ("loss",))


def test_no_torch_where_scores_are_predicted(fitted):
    """The environment of surrogates needs neither torch nor a tokenizer; its task lies in the user's folder."""
    code = (
        "import sys\n"
        "import gymnasium\n"
        "import compress_gym\n"
        f"env = gymnasium.make('compress_gym/TransformerNAS-v0', task={NAME!r}, device=None, cost='macs')\n"
        "env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "print([name for name in ('torch', 'tokenizers', 'sacrebleu', 'stable_baselines3') if name in sys.modules])\n"
    )
    task: Task = fitted[0].task
    environment = {**os.environ, "COMPRESS_GYM_HOME": str(task.folder.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]", done.stderr
