"""From a compressed torch model to an ONNX file, checked against the model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress_gym.support.errors import needing

MAX_DIFFERENCE = 1e-4


def export_onnx(module: nn.Module, input_shape: tuple[int, ...], path: Path, batch: int = 1) -> Path:
    """Writes a model in evaluation mode for inputs of a fixed batch size as ONNX (batch norms folded by the exporter).

    One file, weights included; its path is returned. The shape is that of one input, without the batch.
    """
    with needing("onnxscript", "devices", "exporting to ONNX"):
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        torch.onnx.export(
            module.eval(),
            (torch.zeros(batch, *input_shape),),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


def largest_difference(module: nn.Module, path: Path, images: np.ndarray) -> float:
    """Returns the largest absolute difference between torch's and ONNX Runtime's logits of images `[N, ...]`."""
    from compress_gym.live.session import open_session

    session = open_session(path.read_bytes())
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    found = np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])
    return float(np.abs(expected - found).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's advice about libraries we do not use off the user's screen."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
