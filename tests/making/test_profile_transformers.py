"""Latencies of transformers measured here, for shape and resuming; no time is asserted."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from compress_gym.cli import cli
from compress_gym.devices import load_device
from compress_gym.devices.transformer_latency import architecture_features
from compress_gym.making.profile import rounds
from compress_gym.making.profile import transformers as profiler
from compress_gym.making.profile.transformers import (
    LENGTHS,
    TransformerPlan,
    device_of,
    plan_of,
    profile,
    sentence_ms,
    steady_ms,
)
from compress_gym.networks.supertransformer import Transformer
from compress_gym.tasks import get_task


def test_coefficients_are_fitted_and_checked_apart():
    task, plan = get_task("multi30k-ende"), TransformerPlan(fitted=40, checked=20)
    space = task.network()
    architectures = plan.architectures(space)
    assert len(set(architectures)) == 60 and architectures[:2] == [space.largest, space.smallest]
    features = np.stack([architecture_features(a) for a in architectures])
    measured = features @ np.stack([1 / features.max(0), 2 / features.max(0)], axis=1)
    device = device_of("mine", task.name, architectures, measured, plan)
    for m, metric in enumerate(LENGTHS):
        assert np.allclose(features @ device.coefficients[:, m], measured[:, m])
        error = device.card["stated_error"][metric]
        assert error["median_absolute_error"] == 0 and error["kendall_tau"] == 1


def test_the_reference_is_another_transformer_than_those_at_the_ends():
    """The reference is timed beside each of them: its speed says how fast the machine was."""
    architectures = TransformerPlan(fitted=3, checked=2).architectures(get_task("multi30k-ende").network())
    assert architectures[-1] not in architectures[:2]


def test_all_tokens_are_decoded():
    torch.manual_seed(0)
    task = get_task("multi30k-ende")
    module, steps = Transformer(task.network().smallest).eval(), []
    decode = module._decode
    module._decode = lambda *arguments: (steps.append(arguments[2]), decode(*arguments))[1]
    assert sentence_ms(module, 5, 3).shape == (3,)
    assert steps == [0, 1, 2, 3, 4] * 4


def test_a_killed_profile_goes_on_where_it_was(case, tmp_path, monkeypatch):
    monkeypatch.setattr(profiler, "LENGTHS", {"latency_ms": 2, "latency_30_ms": 3})
    plan, out = TransformerPlan(fitted=3, checked=2, rounds=2, repetitions=1), tmp_path / "mine.csv"
    save, saved = rounds.save_array, []

    def killed(path, samples):
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, samples)

    monkeypatch.setattr(rounds, "save_array", killed)
    with pytest.raises(KeyboardInterrupt):
        profile([case.task], plan, out, "profile")
    monkeypatch.setattr(rounds, "save_array", save)
    before = saved[0].read_bytes()
    with pytest.raises(ValueError, match="pieces of another measurement"):
        profile([case.task], TransformerPlan(fitted=4, checked=2, rounds=2, repetitions=1), out, "profile")
    assert saved[0].read_bytes() == before
    device = profile([case.task], plan, out, "profile")
    assert not saved[0].exists()
    loaded = load_device(out)
    assert np.allclose(loaded.coefficients, device.coefficients, rtol=1e-5) and loaded.task == case.task.name
    assert loaded.card["statistic"].startswith("median of 2 ratios to a reference")


def test_a_machine_that_changes_speed_changes_no_latency():
    rng = np.random.default_rng(0)
    true, speed = rng.uniform(10, 80, (6, 2)), rng.uniform(0.5, 2, (6, 2, 8))
    reference = np.array([20.0, 40.0])
    samples = np.stack([true[..., None] * speed, reference[None, :, None] * speed], axis=-1)
    assert np.allclose(steady_ms(samples) / true, np.median(speed, axis=(0, 2)))


def test_bad_paths_are_refused(tmp_path):
    for name in ("there.csv", "there.json"):
        (tmp_path / name).write_text("")
    for path, words in (("x.txt", "must end in .csv"), ("there.csv", "exists already")):
        result = CliRunner().invoke(cli, ["profile", "multi30k-ende", "--out", str(tmp_path / path)])
        assert isinstance(result.exception, ValueError) and words in str(result.exception)


@pytest.mark.parametrize("changed", [{"precision": "int8"}, {"threads": 2}, {"cuda": True}, {"batch": 8}])
def test_what_is_not_measured_of_transformers_is_refused(changed):
    settings = {"runtime": "torch", "precision": "fp32", "threads": 1, "cuda": False, "batch": 1}
    assert plan_of(**settings, fitted=5, rounds=3) == TransformerPlan(fitted=5, rounds=3)
    with pytest.raises(ValueError, match="under torch in fp32, on one thread, a sentence at a time"):
        plan_of(**{**settings, **changed})


def test_a_table_is_of_one_task(case, tmp_path):
    with pytest.raises(ValueError, match="2 tasks: a table of transformers is that of one task"):
        profile([case.task, get_task("multi30k-ende")], TransformerPlan(), tmp_path / "two.csv", "profile")
    assert not list(tmp_path.iterdir())
