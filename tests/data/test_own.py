"""A user's own data: what is taken in which form, and what is refused in which words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from compress_gym.data.own import check_labels, dataset_of, inputs, labelled

IMAGES = np.random.default_rng(0).standard_normal((6, 1, 4, 4))
LABELS = np.arange(6) % 3
SHAPE = (1, 4, 4)


class Pairs:
    """A dataset as torch's are, of whatever it is given."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, n):
        return self.pairs[n]


TENSORS = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
FORMS = {
    "arrays": (IMAGES, LABELS),
    "a list of both": [IMAGES.astype(np.float32), LABELS.astype(np.uint8)],
    "tensors": TENSORS,
    "tensors with gradients": (TENSORS[0].clone().requires_grad_(), TENSORS[1].int()),
    "lists of numbers": (IMAGES.tolist(), LABELS.tolist()),
    "a torch dataset": TensorDataset(*TENSORS),
    "a dataset of arrays and numbers": Pairs(*zip(IMAGES, LABELS.tolist(), strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_taken_in_every_form(form):
    split = labelled("validation", FORMS[form], SHAPE)
    assert split.pixels.dtype == np.float32 and split.labels.dtype == np.int64 and split.mean is None
    assert np.array_equal(split.images, IMAGES.astype(np.float32)) and np.array_equal(split.labels, LABELS)


def test_splits_become_a_dataset():
    splits = {name: FORMS[form] for name, form in zip(("train", "validation", "test"), FORMS, strict=False)}
    made = dataset_of("mine", splits)
    assert made.name == "mine" and made.train.digest() == made.validation.digest() == made.test.digest()


PAIR = "validation must be a pair of images"
WITHIN = "validation must hold pairs of an image and a label, at least one and all of the same shape"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, PAIR),
        ("images", PAIR),
        (IMAGES, PAIR),
        (TENSORS[0], PAIR),
        ((IMAGES,), PAIR),
        ((IMAGES, LABELS, LABELS), PAIR),
        ({"images": IMAGES, "labels": LABELS}, PAIR),
        ((IMAGES[:, 0], LABELS), r"validation has images of shape \(6, 4, 4\); expected \[N, 1, 4, 4\]"),
        ((IMAGES[..., :3], LABELS), r"validation has images of shape \(6, 1, 4, 3\); expected \[N, 1, 4, 4\]"),
        ((IMAGES[:0], LABELS[:0]), "validation has no images"),
        (([IMAGES[0], IMAGES[0, 0]], LABELS[:2]), "validation cannot be read as an array"),
        (((IMAGES * 9).astype(np.uint8), LABELS), "validation has images of dtype uint8; expected floats"),
        ((np.full_like(IMAGES, np.nan), LABELS), "NaN or infinite; expected finite floats"),
        ((np.full_like(IMAGES, np.inf), LABELS), "NaN or infinite; expected finite floats"),
        ((IMAGES.astype("complex"), LABELS), "validation has images of dtype complex128"),
        ((IMAGES.astype("str"), LABELS), "validation has images of dtype <U"),
        ((IMAGES * 0 + 255, LABELS), "values up to 255, as pixels of 0 to 255 have; give them as the network takes"),
        ((IMAGES, LABELS[:5]), r"validation has labels of shape \(5,\) and dtype int64; expected integers \[6\]"),
        ((IMAGES, np.eye(6)), r"validation has labels of shape \(6, 6\) and dtype float64"),
        ((IMAGES, LABELS + 0.5), r"labels of shape \(6,\) and dtype float64; expected integers"),
        ((IMAGES, LABELS > 1), "dtype bool; expected integers"),
        ((IMAGES, ["cat"] * 6), "dtype <U3; expected integers"),
        ((IMAGES, [[0], [1, 2]]), "the labels of validation cannot be read as an array"),
        (Pairs(), WITHIN),
        (Pairs(IMAGES[0], IMAGES[1]), WITHIN),
        (Pairs(7, 8), WITHIN),
        (Pairs((IMAGES[0], 1), (IMAGES[0, 0], 2)), WITHIN),
        (Pairs((IMAGES[0], 0.5), (IMAGES[1], 1.5)), r"dtype float64; expected integers \[2\]"),
        (Pairs((IMAGES[0], np.eye(3)[0]), (IMAGES[1], np.eye(3)[1])), r"labels of shape \(2, 3\)"),
    ],
)
def test_what_is_no_pair_of_images_and_labels_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        labelled("validation", given, SHAPE)


def test_inputs_of_any_shape_have_four_axes():
    assert inputs("calibration", TENSORS[0]).shape == (6, 1, 4, 4)
    with pytest.raises(ValueError, match=r"calibration has images of shape \(6, 4, 4\); expected \[N, channels, heigh"):
        inputs("calibration", TENSORS[0][:, 0])


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ((IMAGES, LABELS), "the data of 'mine' must be a dictionary of train, validation, test; it is tuple"),
        ({"train": 1, "val": 2}, r"must be a dictionary of train, validation, test; it is \['train', 'val'\]"),
        ({"train": 1, "validation": 2, "test": 3, "more": 4}, "it is .*'more'"),
        ({"train": (IMAGES, LABELS), "validation": (IMAGES, LABELS), "test": 3}, "test must be a pair of images"),
        (
            {"train": (IMAGES, LABELS), "validation": (IMAGES[..., :2], LABELS), "test": (IMAGES, LABELS)},
            r"the inputs of 'mine' have different shapes in its splits: .*'validation': \(1, 4, 2\)",
        ),
    ],
)
def test_other_splits_are_refused(splits, words):
    with pytest.raises(ValueError, match=words):
        dataset_of("mine", splits)


def test_every_label_has_an_output():
    check_labels("test", labelled("test", (IMAGES, LABELS)), 3)
    for labels, classes, lowest, highest in ((LABELS, 2, 0, 2), (LABELS - 1, 3, -1, 1)):
        with pytest.raises(
            ValueError,
            match=f"test has labels from {lowest} to {highest}; the network has {classes} outputs, so labels must be "
            f"0 to {classes - 1}",
        ):
            check_labels("test", labelled("test", (IMAGES, labels)), classes)
