"""Order among the best strategies of each part of the budget range, beside what the labels' own noise allows."""

from __future__ import annotations

from math import asin, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, pearsonr

PARTS = 10
BEST = 0.2


def label_ceiling(halves: NDArray[np.float64]) -> dict[str, float]:
    """States how well a perfect predictor of the true accuracy would order these labels.

    Where the noise is small beside the spread of accuracies, pairs change their order in proportion to the noise of
    their difference. That of a label and the truth is half that of two labels of half as many images each.

    Args:
        halves: Labels on each half of the images, float64 `[N, 2]`.

    Returns:
        Kendall's tau of the halves, and the ceiling, 1 - (1 - tau) / 2.
    """
    tau = float(kendalltau(halves[:, 0], halves[:, 1]).statistic)
    return {"tau_of_halves": round(tau, 4), "ceiling": round(1 - (1 - tau) / 2, 4)}


def front_order(
    predicted: NDArray[np.float64],
    live: NDArray[np.float64],
    halves: NDArray[np.float64] | None,
    cost_ratio: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Compares predicted and live order among the best fifth of each tenth of the budget range.

    Best are those that are predicted best, where agents go. Choosing by the labels would choose by their noise as well,
    which breaks the reliability (a perfect predictor would stand far above the "ceiling"); that tau is reported beside.

    The ceiling is what a perfect predictor of the true accuracy would reach against these labels. The labels'
    reliability follows from their two halves (Spearman and Brown): r = 2 r_halves / (1 + r_halves). A perfect
    predictor correlates with them by sqrt(r), which for normal errors is a Kendall's tau of 2 / pi asin(sqrt(r)).

    Args:
        predicted: Held-out predictions, float64 `[N]`.
        live: Labels, float64 `[N]`.
        halves: Labels on each half of the images, float64 `[N, 2]`; `None`: they were not kept, no ceiling is known.
        cost_ratio: Cost of each strategy as a fraction of the uncompressed one, float64 `[N]`.

    Returns:
        One entry a tenth: its range, the number of strategies, tau, tau among those of the best labels, the halves'
        tau, the ceiling and tau's share of it.
    """
    edges = np.linspace(cost_ratio.min(), 1.0, PARTS + 1)
    parts = []
    for lower, upper in zip(edges[:-1], edges[1:], strict=True):
        within = np.flatnonzero((cost_ratio >= lower) & (cost_ratio <= upper))
        count = int(len(within) * BEST)
        best = within[np.argsort(-predicted[within], kind="stable")[:count]]
        best_live = within[np.argsort(-live[within], kind="stable")[:count]]
        part: dict[str, Any] = {"from": round(float(lower), 3), "to": round(float(upper), 3), "strategies": len(best)}
        if len(best) >= 10:
            tau = float(kendalltau(predicted[best], live[best]).statistic)
            part |= {
                "kendall_tau": round(tau, 3),
                "tau_of_the_best_live": round(float(kendalltau(predicted[best_live], live[best_live]).statistic), 3),
            }
        if len(best) >= 10 and halves is not None:
            between = max(0.0, float(pearsonr(halves[best, 0], halves[best, 1]).statistic))
            ceiling = 2 / pi * asin(sqrt(2 * between / (1 + between)))
            part |= {
                "tau_of_halves": round(float(kendalltau(halves[best, 0], halves[best, 1]).statistic), 3),
                "ceiling": round(ceiling, 3),
                "share_of_ceiling": round(tau / ceiling, 3) if ceiling > 0 else None,
            }
        parts.append(part)
    return parts
