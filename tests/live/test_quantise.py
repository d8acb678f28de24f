"""The quantiser against NumPy, on random tensors and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from compress_gym.live.bias_correction import correct_biases, output_means
from compress_gym.live.quantise import (
    BITS,
    CANDIDATES,
    HISTOGRAM_BINS,
    InputQuantiser,
    InputRange,
    input_ranges,
    integer_range,
    quantise,
    quantised_weight,
    settle,
    weight_scales,
)

bits = st.sampled_from(BITS)
numbers = st.floats(-1e3, 1e3, width=32)
weights = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=numbers)
)


def rounded(x, scale, low, high):
    """Written in float64: results of equal distance may round the other way in float32."""
    return np.clip(np.rint(x.astype(np.float64) / scale), low, high) * scale


def least_error(x, low, high):
    """The least squared error of any candidate scale."""
    largest = np.abs(x.astype(np.float64)).max()
    if largest / high < np.finfo(np.float32).tiny:
        return float((x.astype(np.float64) ** 2).sum())
    scales = largest / high * np.arange(1, CANDIDATES + 1) / CANDIDATES
    return min(float(((rounded(x, s, low, high) - x) ** 2).sum()) for s in scales if s >= np.finfo(np.float32).tiny)


@settings(max_examples=60)
@given(weights, bits)
def test_weights_have_the_scale_of_least_error(weight, width):
    low, high = integer_range(width, signed=True)
    scales = weight_scales(torch.from_numpy(weight), width).numpy()
    assert (scales > 0).all() and np.isfinite(scales).all()
    for row, scale in zip(weight, scales, strict=True):
        error = float(((rounded(row, float(scale), low, high) - row) ** 2).sum())
        assert error <= least_error(row, low, high) * (1 + 1e-3) + 1e-6 * float(np.abs(row).max()) ** 2


@settings(max_examples=60)
@given(weights, bits)
def test_rounded_weights_are_few_multiples_of_their_scale(weight, width):
    low, high = integer_range(width, signed=True)
    scales = weight_scales(torch.from_numpy(weight), width)
    found = quantised_weight(torch.from_numpy(weight), scales, width).numpy()
    integers = found / scales.numpy()[:, None]
    assert np.allclose(integers, np.rint(integers), atol=1e-4)
    assert integers.min() >= low - 1e-4 and integers.max() <= high + 1e-4
    # and each is the nearest of them
    expected = np.stack([rounded(r, float(s), low, high) for r, s in zip(weight, scales.numpy(), strict=True)])
    assert (np.abs(found - weight) <= np.abs(expected - weight) + 1e-5 * scales.numpy()[:, None] + 1e-6).all()


@pytest.mark.parametrize("width", BITS)
@pytest.mark.parametrize("value", [0.0, 1e-42, 0.3, -7.5])
def test_constant_channels_are_exact(width, value):
    weight = torch.full((2, 3, 3, 3), value)
    found = quantised_weight(weight, weight_scales(weight, width), width)
    assert torch.allclose(found, weight, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("width", BITS)
@pytest.mark.parametrize("values", [[0.0, 0.0], [0.5, 0.5], [-2.0, 2.0], [0.0, 3.0], [1e-42, 0.0]])
def test_inputs_of_few_values(width, values):
    seen = InputRange.of(torch.tensor([values]))
    hook = InputQuantiser(seen, width)
    with torch.no_grad():
        (found,) = hook(nn.Identity(), (torch.tensor([values]),))
    assert seen.signed == (min(values) < 0) and hook.scale > 0
    # a histogram knows a value up to half a bin
    assert np.abs(found.numpy() - values).max() <= 0.01 * seen.largest + 1e-37


@settings(max_examples=40)
@given(arrays(np.float32, st.integers(2, 200), elements=st.floats(-100, 100, width=32)), bits, st.booleans())
def test_inputs_have_nearly_the_least_error(values, width, after_relu):
    values = np.maximum(values, 0) if after_relu else values
    seen = InputRange.of(torch.from_numpy(values))
    assert seen.signed == bool((values < 0).any())
    low, high = integer_range(width, seen.signed)
    error = float(((rounded(values, seen.scale(width), low, high) - values) ** 2).sum())
    bin_width = seen.largest * (2 if seen.signed else 1) / HISTOGRAM_BINS
    slack = 2 * len(values) * bin_width**2
    assert np.sqrt(error) <= np.sqrt(least_error(values, low, high)) + np.sqrt(slack) + 1e-6


@settings(max_examples=40)
@given(arrays(np.float32, 50, elements=st.floats(-100, 100, width=32)), bits)
def test_rounding_and_its_gradients_are_those_of_torch(values, width):
    """Beyond the range nothing passes; half a step beyond it, either may do."""
    x = torch.from_numpy(values).requires_grad_()
    hook = InputQuantiser(InputRange.of(x.detach()), width)
    found = hook(nn.Identity(), (x,))[0]
    expected = torch.fake_quantize_per_tensor_affine(x, hook.scale, 0, hook.low, hook.high)
    assert torch.equal(found, expected)
    with torch.no_grad():
        assert torch.equal(found, hook(nn.Identity(), (x,))[0])
    weights = torch.arange(1.0, 51.0)
    gradients = [torch.autograd.grad(y, x, weights)[0] for y in (found, expected)]
    steps = x.detach() / hook.scale
    certain = ((steps - hook.low + 0.5).abs() > 1e-3) & ((steps - hook.high - 0.5).abs() > 1e-3)
    assert torch.equal(*(gradient[certain] for gradient in gradients))


@pytest.mark.parametrize(
    ("width", "signed", "expected"),
    [(2, True, (-1, 1)), (8, True, (-127, 127)), (2, False, (0, 3)), (8, False, (0, 255))],
)
def test_integer_ranges_by_hand(width, signed, expected):
    assert integer_range(width, signed) == expected


@pytest.mark.parametrize("width", [0, 1, 9, 32])
def test_other_widths_are_refused(width):
    with pytest.raises(ValueError, match=f"bits={width} must be 2 to 8, or 32"):
        integer_range(width, signed=True)


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, bias=False), nn.Flatten(), nn.Linear(6, 3)
    ).eval()


IMAGES = torch.randn(20, 2, 5, 5, generator=torch.Generator().manual_seed(1))
LAYERS = ("0", "2", "4")


def test_more_bits_are_closer_and_32_change_nothing():
    whole = small_network()
    seen = input_ranges(whole, LAYERS, IMAGES)
    assert [seen[name].signed for name in LAYERS] == [True, False, True]
    errors = []
    with torch.no_grad():
        for width in (2, 4, 8, 32):
            coarse = quantise(small_network(), dict.fromkeys(LAYERS, (width, width)), seen)
            errors.append(float((coarse(IMAGES) - whole(IMAGES)).abs().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0 == errors[3]


def test_training_goes_straight_through():
    """The rounded weights move with the ones in full precision beside them, and remain rounded when all is settled."""
    whole = small_network()
    seen = input_ranges(whole, LAYERS, IMAGES)
    widths = dict.fromkeys(LAYERS, (4, 4))
    trained, fixed = quantise(small_network(), widths, seen, trainable=True), quantise(small_network(), widths, seen)
    with torch.no_grad():
        assert torch.equal(trained(IMAGES), fixed(IMAGES))
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.3)
    losses = []
    for _ in range(20):
        loss = trained(IMAGES).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    scales = weight_scales(whole[2].weight, 4)[:, None, None, None]
    before = trained(IMAGES)
    settle(trained)
    assert torch.equal(before, trained(IMAGES)) and "weight" in dict(trained[2].named_parameters())
    integers = trained[2].weight / scales
    assert torch.allclose(integers, integers.round(), atol=1e-4)


def test_bias_correction_restores_the_means():
    whole = small_network()
    means = output_means(whole, LAYERS, IMAGES)
    coarse = quantise(small_network(), dict.fromkeys(LAYERS, (2, 3)), input_ranges(whole, LAYERS, IMAGES))
    before = output_means(coarse, LAYERS, IMAGES)
    after = output_means(correct_biases(coarse, means, IMAGES), LAYERS, IMAGES)
    for name in LAYERS:
        assert not torch.allclose(before[name], means[name], atol=1e-3)
        assert torch.allclose(after[name], means[name], atol=1e-5)
    assert coarse[2].bias is not None  # it had none


def test_ranges_need_images():
    with pytest.raises(ValueError, match="need training images"):
        input_ranges(small_network(), LAYERS, IMAGES[:0])
