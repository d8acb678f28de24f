"""Networks for tests of tracing, pruning, folding and refitting: three a user might bring, and the bundled ones."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from compress_gym.networks import Network
from compress_gym.networks.cifar_resnet import plain20, resnet20, resnet56
from compress_gym.networks.digits_cnn import DigitsCNN
from compress_gym.networks.mobilenet_v2 import MobileNetV2
from compress_gym.networks.resnet18 import ResNet18
from compress_gym.networks.trace import trace
from compress_gym.networks.vgg16 import VGG16


class DenseLayer(nn.Module):
    """Batch norm and ReLU before the convolution, whose output is put beside the input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(torch.relu(self.bn(x)))], 1)


class DenseNetLike(nn.Module):
    """Concatenations; batch norms that cannot be folded; a head that averages by `mean`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.dense1 = nn.Sequential(DenseLayer(12, 8), DenseLayer(20, 8))
        self.transition = nn.Sequential(nn.BatchNorm2d(28), nn.ReLU(), nn.Conv2d(28, 16, 1, bias=False))
        self.dense2 = nn.Sequential(DenseLayer(16, 8), DenseLayer(24, 8))
        self.bn = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.transition(self.dense1(self.stem(x)))
        x = self.dense2(F.avg_pool2d(x, 2))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


class ResNeXtBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 24, 3, stride, 1, groups=4, bias=False), nn.BatchNorm2d(24)
        self.conv3, self.bn3 = nn.Conv2d(24, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y)


class ResNeXtLike(nn.Module):
    """Grouped convolutions, residual sums, strides; the projections have a bias and no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block1, self.block2 = ResNeXtBlock(16, 32, 1), ResNeXtBlock(32, 32, 1)
        self.block3 = ResNeXtBlock(32, 24, 2)
        self.fc = nn.Linear(24, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.stem(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        y = torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.excite(y))


class SqueezeExciteNet(nn.Module):
    """Depth-wise convolution, hardswish, squeeze and excitation, 16 features a channel, batch norm of features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.expand, self.bn2 = nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32)
        self.depthwise, self.bn3 = nn.Conv2d(32, 32, 5, 1, 2, groups=32, bias=False), nn.BatchNorm2d(32)
        self.gate = SqueezeExcite(32, 8)
        self.project, self.bn4 = nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.pool, self.swish = nn.AdaptiveAvgPool2d(4), nn.Hardswish()
        self.fc1, self.bn5 = nn.Linear(256, 24), nn.BatchNorm1d(24)
        self.fc2 = nn.Linear(24, 10)

    def forward(self, x):
        x = self.swish(self.bn1(self.stem(x)))
        y = self.swish(self.bn2(self.expand(x)))
        y = self.gate(self.swish(self.bn3(self.depthwise(y))))
        x = x + self.bn4(self.project(y))
        x = torch.flatten(self.pool(x), 1)
        return self.fc2(self.swish(self.bn5(self.fc1(x))))


CIFAR = (3, 32, 32)
ZOO = {
    "digits-cnn": (DigitsCNN, (1, 16, 16)),
    "plain20": (plain20, CIFAR),
    "resnet20": (resnet20, CIFAR),
    "resnet56": (resnet56, CIFAR),
    "vgg16": (VGG16, CIFAR),
    "resnet18": (ResNet18, CIFAR),
    "mobilenet-v2": (MobileNetV2, CIFAR),
}
USER_NETS = {
    "densenet-like": (DenseNetLike, (3, 16, 16)),
    "resnext-like": (ResNeXtLike, (3, 16, 16)),
    "squeeze-excite": (SqueezeExciteNet, (3, 16, 16)),
}
EVERY = {**ZOO, **USER_NETS}


@lru_cache
def traced(name: str) -> Network:
    build, shape = EVERY[name]
    return trace(build(), shape, name)


def build(name: str) -> nn.Module:
    """A network with random weights; none of its batch norms is trivial. In evaluation mode."""
    return copy.deepcopy(_randomised(name))


@lru_cache
def _randomised(name: str) -> nn.Module:
    builder, shape = EVERY[name]
    torch.manual_seed(0)
    module = randomise_batch_norms(builder(), torch.randn(4, *shape))
    return module


def randomise_batch_norms(module: nn.Module, images: torch.Tensor) -> nn.Module:
    """Statistics of some images, so that activations stay of order one, with noise; random scales and shifts."""
    norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
            norm.momentum = None
        module.train()(images)
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.2 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt()
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return module.eval()
