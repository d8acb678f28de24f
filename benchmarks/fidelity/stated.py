"""The error of accuracies in words, from what cards state of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks.fidelity.report import GAPS, bounded


def stated(card: Mapping[str, Any]) -> str:
    """Says in words what a card states of the error of accuracies."""
    error = card["stated_error"]
    if "sampling" in error:
        images = card["validation_images"]
        return f"same machine: {error['same_machine']}; another: {error['other_machine']}; {sampling(images)}"
    if not isinstance(error["held_out"], dict):
        return (
            f"held out ({error['held_out']:,} strategies): {100 * error['mean_absolute_error']:.2f} points, "
            f"Kendall tau {error['kendall_tau']:.2f}"
        )
    held_out = error["held_out"]["broad_sample"]
    words = f"held out: {100 * held_out['mae']:.2f} points, Kendall tau {held_out['kendall_tau']:.2f}"
    for gap in (error[key] for key in GAPS if key in error):
        where = f" within {gap['budget']} of {bounded(gap)}" if "cost" in gap else ""
        words += (
            f"; where a search drove it{where}: {100 * gap['signed_mean']:+.2f} points on average, 9 of 10 within "
            f"{100 * gap['p90_absolute']:.2f}"
        )
    return words


def standard_error(accuracy: float, images: int) -> float:
    """Returns the standard error of an accuracy on so many images, both as fractions of 1."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def sampling(images: int) -> str:
    """Says in words how far an accuracy on so many images can be expected to be from that on all."""
    return f"sampling: up to {100 * standard_error(0.5, images):.1f} points ({images:,} images)"
