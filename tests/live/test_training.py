from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.data import Split
from compress_gym.live.training import DEFAULT_FINETUNING, Recipe, augmented, train_module
from compress_gym.support.errors import AssetError
from compress_gym.support.processor import one_thread

SIDE, IMAGES = 12, 50
RECIPE = Recipe(
    epochs=4, batch_size=16, peak_lr=0.1, weight_decay=1e-3, augmentation="crop-flip", sizes=((0.25, 6), (0.6, 9))
)
AUGMENTATIONS = ("shift", "crop-flip")


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def split(seed=0):
    """Bytes and moments, as CIFAR-10 has them."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, size=(IMAGES, 3, SIDE, SIDE), dtype=np.uint8)
    moments = np.float32([120, 130, 110]), np.float32([60, 70, 65])
    return Split(pixels, rng.integers(0, 4, size=IMAGES), *moments)


def tiny():
    torch.manual_seed(7)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )


def recorded(module, recipe, data, seed, **settings):
    """Trains a module and returns the batches of images that it saw."""
    seen = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    train_module(module, data, recipe, seed, **settings)
    return seen


class Killed(BaseException):
    pass


def killed(module, recipe, data, seed, checkpoint, after):
    """Trains a module until the forward pass number `after` is killed."""
    calls = []

    def kill(module, inputs):
        calls.append(1)
        if len(calls) > after:
            raise Killed

    module.register_forward_pre_hook(kill)
    with pytest.raises(Killed):
        train_module(module, data, recipe, seed, checkpoint=checkpoint)


def assert_equal(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("after", [3, 7, 11])  # three updates an epoch: at an epoch's end, and within one
def test_a_killed_training_goes_on_bit_for_bit(tmp_path, augmentation, after):
    data, recipe = split(), replace(RECIPE, augmentation=augmentation)
    whole = tiny()
    train_module(whole, data, recipe, seed=5)
    checkpoint = tmp_path / "runs" / "checkpoint.safetensors"
    killed(tiny(), recipe, data, 5, checkpoint, after)
    resumed = tiny()
    torch.rand(17)  # the state of torch's generator at the start counts nothing
    seen = recorded(resumed, recipe, data, 5, checkpoint=checkpoint)
    assert len(seen) == 3 * (4 - after // 3)
    assert_equal(resumed, whole)
    assert not resumed.training and sorted(p.name for p in checkpoint.parent.iterdir()) == [checkpoint.name]


def test_a_training_killed_twice_and_one_that_was_done(tmp_path):
    data, checkpoint = split(), tmp_path / "checkpoint.safetensors"
    whole = tiny()
    train_module(whole, data, RECIPE, seed=5)
    killed(tiny(), RECIPE, data, 5, checkpoint, 4)
    killed(tiny(), RECIPE, data, 5, checkpoint, 4)
    resumed = tiny()
    train_module(resumed, data, RECIPE, seed=5, checkpoint=checkpoint)
    assert_equal(resumed, whole)
    again = tiny()
    assert recorded(again, RECIPE, data, 5, checkpoint=checkpoint) == []
    assert_equal(again, whole)


def test_a_network_with_dropout_goes_on_bit_for_bit(tmp_path):
    """Dropout draws from the same generator as the order of images."""

    def build():
        return nn.Sequential(tiny(), nn.Dropout(0.5))

    data, checkpoint = split(), tmp_path / "checkpoint.safetensors"
    whole, resumed = build(), build()
    train_module(whole, data, RECIPE, seed=5)
    killed(build(), RECIPE, data, 5, checkpoint, 7)
    train_module(resumed, data, RECIPE, seed=5, checkpoint=checkpoint)
    assert_equal(resumed, whole)


@pytest.mark.parametrize(
    ("recipe", "seed", "data"),
    [
        (replace(RECIPE, peak_lr=0.2), 5, split()),
        (replace(RECIPE, epochs=5), 5, split()),
        (replace(RECIPE, sizes=((0.25, 6), (0.6, 10))), 5, split()),
        (replace(RECIPE, augmentation="shift"), 5, split()),
        (RECIPE, 6, split()),
        (RECIPE, 5, split(1)),
    ],
    ids=["rate", "epochs", "sizes", "augmentation", "seed", "images"],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, recipe, seed, data):
    checkpoint = tmp_path / "checkpoint.safetensors"
    killed(tiny(), RECIPE, split(), 5, checkpoint, 4)
    before = checkpoint.read_bytes()
    with pytest.raises(AssetError, match=r"checkpoint.safetensors: written by another training.*remove it"):
        train_module(tiny(), data, recipe, seed, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_damaged_checkpoint_is_named(tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    killed(tiny(), RECIPE, split(), 5, checkpoint, 4)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(AssetError, match="checkpoint.safetensors"):
        train_module(tiny(), split(), RECIPE, 5, checkpoint=checkpoint)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_trainings_repeat_and_follow_their_seed(augmentation):
    recipe = replace(RECIPE, augmentation=augmentation, epochs=2)
    modules = [tiny() for _ in range(3)]
    for module, seed in zip(modules, (1, 1, 2), strict=True):
        train_module(module, split(), recipe, seed)
    assert_equal(modules[0], modules[1])
    assert not torch.equal(modules[0][0].weight, modules[2][0].weight)


def slow_crop_flip(data, recipe, seed):
    """The images of every batch, one at a time."""
    torch.manual_seed(seed)
    used = len(data.labels) // recipe.batch_size * recipe.batch_size
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(data.labels))[:used].tolist()
        rng = np.random.default_rng([seed, epoch])
        corners, mirrored = rng.integers(0, 9, size=(used, 2)), rng.random(used) < 0.5
        for start in range(0, used, recipe.batch_size):
            batch = []
            for k in range(start, start + recipe.batch_size):
                crop = np.zeros((3, SIDE, SIDE))  # black where the crop leaves the image
                for y in range(SIDE):
                    for x in range(SIDE):
                        row, column = y + corners[k, 0] - 4, x + corners[k, 1] - 4
                        if 0 <= row < SIDE and 0 <= column < SIDE:
                            crop[:, y, SIDE - 1 - x if mirrored[k] else x] = data.pixels[order[k], :, row, column]
                batch.append((crop - data.mean[:, None, None]) / data.std[:, None, None])
            yield epoch, torch.from_numpy(np.stack(batch)).float()


def test_crops_and_mirrors_are_those_of_a_slow_reference():
    data = split()
    seen = recorded(tiny(), RECIPE, data, seed=9)
    expected = list(slow_crop_flip(data, RECIPE, seed=9))
    assert len(seen) == len(expected) == 12
    sizes = [6, 9, 9, SIDE]
    for images, (epoch, whole) in zip(seen, expected, strict=True):
        size = sizes[epoch]
        if size != SIDE:
            whole = nn.functional.interpolate(whole, size=(size, size), mode="bilinear", antialias=True)
        assert images.shape == (16, 3, size, size)
        assert torch.allclose(images, whole, atol=1e-5)


def test_images_keep_their_labels():
    """Images of one colour a class, whatever is cropped and mirrored: the net must learn the colour."""
    labels = np.arange(IMAGES) % 3
    pixels = np.zeros((IMAGES, 3, SIDE, SIDE), np.uint8)
    pixels[np.arange(IMAGES), labels] = 255
    data = Split(pixels, labels, np.float32([85] * 3), np.float32([120] * 3))
    for augmentation in AUGMENTATIONS:
        module = tiny()
        train_module(module, data, replace(RECIPE, epochs=12, augmentation=augmentation), seed=0)
        with torch.no_grad():
            assert (module(torch.from_numpy(data.images)).argmax(1).numpy() == labels).all()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_sizes_hold_for_every_augmentation(augmentation):
    seen = recorded(tiny(), replace(RECIPE, augmentation=augmentation), split(), seed=0)
    assert [images.shape[-1] for images in seen] == [6] * 3 + [9] * 6 + [SIDE] * 3


def test_shifts_roll_a_batch_by_at_most_a_pixel():
    data = split()
    seen = recorded(tiny(), replace(RECIPE, augmentation="shift", sizes=()), data, seed=3)
    torch.manual_seed(3)
    originals, used = torch.from_numpy(data.images), []
    for epoch in range(4):
        order = torch.randperm(IMAGES)[:48]
        for number, chosen in enumerate(order.split(16)):
            candidates = {
                (dy, dx): torch.roll(originals[chosen], (dy, dx), (2, 3)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)
            }
            images = seen[3 * epoch + number]
            used += [shift for shift, candidate in candidates.items() if torch.equal(candidate, images)]
    assert len(used) == 12 and len(set(used)) > 3


def test_sizes_by_epoch():
    assert [RECIPE.size(epoch) for epoch in range(4)] == [6, 9, 9, None]


def test_fewer_images_than_a_batch_are_told():
    with pytest.raises(ValueError, match="batch_size|images"):
        train_module(tiny(), split(), replace(RECIPE, batch_size=64), seed=0)


def test_calibration_images_are_augmented_as_in_training():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(40, 3, 8, 8), dtype=np.uint8)
    split = Split(pixels, np.arange(40), np.full(3, 100, np.float32), np.full(3, 50, np.float32))
    seen = augmented(split, "crop-flip", seed=3)
    assert np.array_equal(seen.labels, split.labels) and seen.pixels.shape == pixels.shape
    assert np.array_equal(seen.pixels, augmented(split, "crop-flip", seed=3).pixels)
    padded = np.pad(pixels, ((0, 0), (0, 0), (4, 4), (4, 4)))
    for image, crop in zip(padded, seen.pixels, strict=True):
        crops = [image[:, y : y + 8, x : x + 8] for y in range(9) for x in range(9)]
        assert any(np.array_equal(crop, c) or np.array_equal(crop, c[:, :, ::-1]) for c in crops)
    with pytest.raises(ValueError, match="augmentation='shift'"):
        augmented(split, "shift")


DECLARED = {"epochs": 4, "batch_size": 16, "peak_lr": 0.1, "weight_decay": 1e-3, "augmentation": "crop-flip"}


def test_recipes_are_declared_as_plain_data():
    assert Recipe.of({**DECLARED, "sizes": [[0.25, 6], [0.6, 9]]}) == RECIPE
    assert Recipe.of(DECLARED) == replace(RECIPE, sizes=()) and Recipe.of(None) == DEFAULT_FINETUNING


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"epoch": 4}, ValueError, "recipe=.*does not fit: .*'epoch'"),
        ({"peak_lr": None}, ValueError, "recipe=.*does not fit: .*'peak_lr'"),
        ({"sizes": [0.5]}, ValueError, "recipe=.*does not fit"),
        ({"sizes": [[0.5]]}, ValueError, "recipe=.*does not fit"),
        ({"sizes": [["half", 24]]}, ValueError, "recipe=.*does not fit"),
        ({"augmentation": "crop"}, KeyError, "augmentation='crop' is not known.*Did you mean 'crop-flip'"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(change, error, words):
    declared = {name: value for name, value in {**DECLARED, **change}.items() if value is not None}
    with pytest.raises(error, match=words):
        Recipe.of(declared)
