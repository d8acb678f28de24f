"""Gradients on a CUDA device without the host's work between kernels, which for small networks is most of the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

_WARM_UP = 3
# From images and labels to a loss.
Losses = Callable[[Tensor, Tensor], Tensor]


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    images: Tensor
    labels: Tensor
    gradients: list[Tensor | None]


class RecordedGradients:
    """Computes a loss's gradients; the kernels are recorded once for each shape of images and played again after."""

    def __init__(self, module: nn.Module, losses: Losses) -> None:
        """Prepares nothing yet.

        Args:
            module: On the CUDA device, in training mode.
            losses: Its loss; it must not wait for the device.
        """
        self._module, self._losses = module, losses
        self._recordings = dict[torch.Size, _Recording]()

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Replaces the gradients of the module's parameters; images and labels may lie on the processor."""
        if images.shape not in self._recordings:
            self._recordings[images.shape] = self._record(images.to("cuda", copy=True), labels.to("cuda", copy=True))
        recording = self._recordings[images.shape]
        recording.images.copy_(images)
        recording.labels.copy_(labels)
        recording.graph.replay()
        for parameter, gradient in zip(self._module.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient

    def _record(self, images: Tensor, labels: Tensor) -> _Recording:
        before = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):  # libraries choose their kernels, which cannot be recorded
                self._module.zero_grad()
                self._losses(images, labels).backward()
        torch.cuda.current_stream().wait_stream(side)
        self._module.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._losses(images, labels).backward()
        self._module.load_state_dict(before)  # the warm-up moved the statistics of batch norms
        return _Recording(graph, images, labels, [p.grad for p in self._module.parameters()])
