"""Runs a model once with hooks on its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn


def run_with_hooks(
    module: nn.Module, hooks: Mapping[str, Callable[..., Any]], batches: Iterable[torch.Tensor], before: bool = False
) -> None:
    """Runs batches through a model while forward hooks, or those called before a forward, are on some of its layers."""
    targets = {name: module.get_submodule(name) for name in hooks}
    handles = [
        targets[name].register_forward_pre_hook(hook) if before else targets[name].register_forward_hook(hook)
        for name, hook in hooks.items()
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                module(batch)
    finally:
        for handle in handles:
            handle.remove()
