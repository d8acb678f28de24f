"""A network small enough to be profiled inside a test, large enough that its latency grows with its channels."""

import torch
from torch import nn


class TinyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48)
        self.conv2, self.bn2 = nn.Conv2d(48, 48, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(48)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(48, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(torch.flatten(self.pool(x), 1))
