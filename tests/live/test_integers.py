"""Quantised convolutions on integers against the same in floats."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.integers import integer_convolution, integer_convolutions, integers_serve
from compress_gym.live.quantise import InputQuantiser, InputRange, quantise
from compress_gym.support.processor import int8_supported
from compress_gym.tasks import get_task

pytestmark = pytest.mark.skipif(
    not int8_supported(), reason="this processor has no instructions that sum 8-bit integers without saturating"
)


def quantised(convolution: nn.Conv2d, x: torch.Tensor, bits: tuple[int, int]) -> nn.Conv2d:
    """Quantises a copy of a layer by what enters it."""
    module = nn.Sequential(copy.deepcopy(convolution))
    quantise(module, {"0": bits}, {"0": InputRange.of(x)})
    layer = module[0]
    assert isinstance(layer, nn.Conv2d)
    return layer


def agree(found: torch.Tensor, layer: nn.Conv2d, x: torch.Tensor) -> None:
    """Checks a layer's outputs against sums in double precision, of the very numbers that the layer rounds to."""
    (quantiser,) = (h for h in layer._forward_pre_hooks.values() if isinstance(h, InputQuantiser))
    exact = copy.deepcopy(layer).double()
    exact._forward_pre_hooks.clear()
    expected = exact(quantiser(layer, (x,))[0].double())
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()) + 1e-30)


def test_the_processor_serves_and_nothing_random_moves():
    integers_serve.cache_clear()
    before = torch.get_rng_state()
    assert integers_serve() and torch.equal(torch.get_rng_state(), before)


@settings(deadline=None, max_examples=60)
@given(
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    size=st.integers(3, 7),
    bits=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    largest=st.sampled_from([1e-3, 1.0, 300.0]),
    bias=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 9),
)
def test_numbers_are_those_of_floats(
    inputs, outputs, groups, kernel, stride, padding, size, bits, largest, bias, channels_last, seed
):
    """A channel of zeros among the weights, depth-wise and grouped too, in batches of two sizes."""
    torch.manual_seed(seed)
    inputs, outputs = inputs * groups, outputs * groups
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias).eval()
    x = torch.rand(3, inputs, size, size) ** 2 * largest
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        convolution.weight[0] = 0
        layer = quantised(convolution, x, bits)
        integer = integer_convolution(layer)
        assert integer is not None
        agree(integer(x), layer, x)
        agree(integer(x[:1]), layer, x[:1])


def test_values_between_two_integers_are_rounded_alike():
    """Halves of the scale, and what lies just beside them."""
    layer = nn.Conv2d(1, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        for bits in (2, 5, 8):
            seen = torch.linspace(0, 3, 1000).reshape(1, 1, 1, -1)
            rounding = quantised(layer, seen, (8, bits))
            (quantiser,) = rounding._forward_pre_hooks.values()
            # A scale that is a power of two, so that halves of it are numbers.
            quantiser.scale = 2.0**-4
            quantiser._steps = 2.0**4
            halves = (torch.arange(2**bits - 1) + 0.5) * quantiser.scale
            x = torch.cat([halves, halves.nextafter(torch.tensor(torch.inf)), halves.nextafter(torch.tensor(0.0))])
            x = x.reshape(1, 1, 1, -1)
            steps = x / quantiser.scale
            assert (steps - steps.floor() == 0.5).sum() >= len(halves)
            integer = integer_convolution(rounding)
            assert integer is not None
            agree(integer(x), rounding, x)


def test_an_input_of_zeros():
    x = torch.zeros(2, 3, 4, 4)
    with torch.no_grad():
        layer = quantised(nn.Conv2d(3, 2, 3), x, (4, 4))
        integer = integer_convolution(layer)
        assert integer is not None
        agree(integer(x), layer, x)


def test_factors_of_batch_norms_may_be_negative_or_nothing():
    task = get_task("digits-cnn")
    module, network = task.trained_module().eval(), task.network()
    x = torch.rand(4, *network.input_shape, generator=torch.Generator().manual_seed(0))
    norm, inputs = module.get_submodule("bn2"), torch.rand(4, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        norm.weight[::2] *= -1
        norm.weight[3] = 0
        quantise(module, {"conv2": (3, 5)}, {"conv2": InputRange.of(inputs)})
        expected = module(x)
        fold_batch_norms(module, network)
        layer = module.get_submodule("conv2")
        integer = integer_convolution(layer)
        assert integer is not None
        agree(integer(inputs), layer, inputs)
        with integer_convolutions(module):
            assert torch.allclose(module(x), expected, atol=1e-3)


def test_layers_are_as_before_afterwards():
    """Also after an error; what floats have to compute is left alone meanwhile."""
    x = torch.rand(2, 3, 8, 8)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3, padding="same"))
    seen = {"0": InputRange.of(x - 0.5), "2": InputRange.of(x), "3": InputRange.of(x)}
    quantise(module, dict.fromkeys(seen, (8, 8)), seen)
    before = [(part.forward, list(part._forward_pre_hooks.values())) for part in module]
    with pytest.raises(KeyError), integer_convolutions(module):
        on_integers = [n for n, part in enumerate(module) if part.forward != before[n][0]]
        assert on_integers == [2]  # the first has signed inputs, the last a padding by name
        raise KeyError
    assert [(part.forward, list(part._forward_pre_hooks.values())) for part in module] == before
    module[2].register_forward_pre_hook(lambda part, inputs: None)
    assert integer_convolution(module[2]) is None  # it has another hook, too
    assert integer_convolution(nn.Conv2d(3, 4, 3)) is None and integer_convolution(nn.Linear(3, 4)) is None
