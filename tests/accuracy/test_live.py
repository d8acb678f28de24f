from __future__ import annotations

import numpy as np
import pytest
import torch

from compress_gym.accuracy import live as live_module
from compress_gym.accuracy.live import LiveAccuracy
from compress_gym.cards import read_card
from compress_gym.data import load_dataset
from compress_gym.processor import bf16_supported, processor_name
from compress_gym.tasks import get_task, list_tasks

every_task = pytest.mark.parametrize("name", list_tasks())


@every_task
@pytest.mark.parametrize("recovery", ["none", "adaptive-bn"])
def test_the_uncompressed_network_stays_within_a_third_of_a_point(name, recovery):
    task = get_task(name)
    live = task.live(recovery=recovery)
    uncompressed = live(task.channel_decisions().sizes - 1)[0]
    assert abs(uncompressed - live.baseline) <= 0.003
    assert live.baseline == task.weights_card()["validation_accuracy"]


@every_task
def test_random_rows_of_the_measured_table_are_scored_again(name):
    """Equal on the machine that recorded them, elsewhere within 2 images of 400."""
    task = get_task(name)
    live, measured = task.live(), task.measured()
    card = read_card(task.folder / "measured.npz")
    same = card["hardware"] == processor_name() and card["versions"]["torch"] == torch.__version__.split("+")[0]
    rows = np.random.default_rng().integers(live.decisions.sizes, size=(50, len(live.decisions)))
    difference = np.abs(live(rows) - measured(rows)) * live.images
    assert difference.max() <= (0.5 if same else 2.5), rows[difference.argmax()]
    assert card["calibration_digest"] == live.calibration_digest
    assert card["validation_images"] == live.images


@every_task
def test_scores_do_not_depend_on_threads_or_order(name):
    live = get_task(name).live()
    rows = np.random.default_rng(0).integers(live.decisions.sizes, size=(3, len(live.decisions)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = live.count_correct(rows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert first[::-1].tolist() == live.count_correct(rows[::-1]).tolist()


def test_adaptive_bn_recovers_a_lot():
    task = get_task("digits-cnn")
    rows = np.random.default_rng(1).integers(task.channel_decisions().sizes, size=(15, 5))
    assert task.live()(rows).mean() > task.live(recovery="none")(rows).mean() + 0.2


def test_test_images_are_other_images():
    data = load_dataset("digits")
    images = [{image.tobytes() for image in s.images} for s in (data.train, data.validation, data.test)]
    assert [len(s.labels) for s in (data.train, data.validation, data.test)] == [997, 400, 400]
    assert not images[0] & images[1] and not images[0] & images[2] and not images[1] & images[2]
    digests = get_task("digits-cnn").weights_card()["split_digests"]
    assert digests == {n: getattr(data, n).digest() for n in ("train", "validation", "test")}


def test_bf16_is_refused_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(live_module, "bf16_supported", lambda: False)
    with pytest.raises(ValueError, match="bf16=True, but this processor"):
        get_task("digits-cnn").live(bf16=True)
    assert get_task("digits-cnn").live(bf16=False).baseline > 0.9


@pytest.mark.skipif(not bf16_supported(), reason="this processor does not multiply bfloat16")
def test_bf16_is_close_where_the_processor_has_it():
    live = get_task("digits-cnn").live(bf16=True)
    assert abs(live([[7] * 5])[0] - live.baseline) <= 0.01


def test_unknown_names_are_told():
    with pytest.raises(KeyError, match="Did you mean 'adaptive-bn'"):
        get_task("digits-cnn").live(recovery="adaptiv-bn")
    with pytest.raises(KeyError, match="split='train'"):
        get_task("digits-cnn").live(split="train")
    with pytest.raises(KeyError, match="dataset='digit'.*Did you mean 'digits'"):
        load_dataset("digit")


def test_networks_without_batch_norm_are_refused():
    task = get_task("digits-cnn")
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    with pytest.raises(ValueError, match="needs a network with batch norm"):
        LiveAccuracy(task.network(), plain, task.channel_decisions(), load_dataset("digits"))


def test_live_and_measured_environments_agree():
    import gymnasium as gym

    infos = []
    for accuracy in ("measured", "live"):
        env = gym.make("compress_gym/ChannelPrune-v0", accuracy=accuracy)
        env.reset(seed=0)
        for _ in range(5):
            *_, info = env.step(np.float32([0.3]))
        infos.append(info)
    assert infos[1]["accuracy_source"] == "live"
    assert abs(infos[0]["accuracy"] - infos[1]["accuracy"]) <= 2.5 / 400
    assert infos[0]["strategy"] == infos[1]["strategy"]
