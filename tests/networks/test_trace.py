from __future__ import annotations

import pytest
from torch import nn

from compress_gym.networks import Layer, Network
from compress_gym.networks.trace import trace
from compress_gym.tasks import get_task


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class Sine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x).sin()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Residual(), "'add' has 2 inputs.*only plain chains"),
        (Sine(), "cannot trace operation 'sin'"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), "convolution '0'.*'same'-padded"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)), "convolution '1'"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(2)), "pooling '1' has output_size=2"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(1024, 10)), "follow global pooling"),
        (nn.Sequential(nn.Conv2d(1, 4, 2, padding=1)), "convolution '0'.*odd"),
        (nn.Sequential(nn.Conv2d(1, 10, 3, padding=1), nn.AdaptiveAvgPool2d(1)), "must end in a linear layer"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4)), "cannot trace operation '_2'"),
        (nn.Sequential(nn.Flatten()), "it ends in nothing"),
        (nn.Sequential(nn.MaxPool2d(2)), "cannot trace operation '_0'"),
    ],
)
def test_what_is_not_understood_is_named(module, words):
    with pytest.raises(ValueError, match=words):
        trace(module, (1, 16, 16), "net")


def test_json_round_trip():
    network = get_task("digits-cnn").network()
    assert Network.from_json(network.to_json()) == network
    assert network.layer("conv3").out_height == 8
    assert network.groups[0].producers == ("conv1",) and network.groups[0].consumers == ("conv2",)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind='convolution'"):
        Layer("a", "convolution", 1, 1, 1, 1)
