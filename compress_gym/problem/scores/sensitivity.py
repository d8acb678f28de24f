"""How sensitive a network is to compressing one layer alone: what Galen's agents see beside shapes and costs.

After Krieger et al. 2022 (Galen): the Kullback-Leibler divergence between the outputs of the original network and of
one in which a single layer is pruned or quantised, on training images, at several levels a method (here three, there
ten).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_gym.networks import Network
from compress_gym.problem.decisions import BIT_KINDS, DecisionSpace
from compress_gym.problem.observations import ExtraFeatures
from compress_gym.support.cards import stored_arrays, write_arrays
from compress_gym.support.errors import AssetError

# Levels of each method: the share of channels that stays, and bits.
SHARES, BITS = (0.25, 0.5, 0.75), (2, 4, 8)
# Divergences, in nats, that are seen as 0 and as 1.
KL_AT_0, KL_AT_1 = 1e-6, 10.0
CHANNEL_NAMES = tuple(f"sensitivity_channels_{share:.0%}".rstrip("%") for share in SHARES)
BIT_NAMES = tuple(f"sensitivity_{what}_{bits}" for what in ("weights", "input") for bits in BITS)


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Divergences, in nats, mean over images.

    Attributes:
        channels: Channel group to those at each of `SHARES`, float64 `[3]`; what cannot be kept is the next larger
            legal count.
        weights: Layer to those at each of `BITS` of its weights, float64 `[3]`.
        inputs: The same of its input.
    """

    channels: dict[str, NDArray[np.float64]]
    weights: dict[str, NDArray[np.float64]]
    inputs: dict[str, NDArray[np.float64]]

    def features(self, network: Network, decisions: DecisionSpace) -> ExtraFeatures:
        """Describes, for each decision, the layer that it is about, a group standing for its first producer.

        The columns of channels are 0 at layers that decide none, and missing where no layer does.

        Raises:
            ValueError: A layer or group was not measured.
        """
        producer = {group.name: group.producers[0] for group in network.groups}
        group_of = {layer: group for group, layer in producer.items()}
        decides_channels = any(d.kind == "channels" for d in decisions.decisions)
        rows = []
        for decision in decisions.decisions:
            layer = decision.subject if decision.kind in BIT_KINDS else producer[decision.subject]
            group = group_of.get(layer)
            try:
                kept = np.zeros(len(SHARES)) if group is None else self.channels[group]
                seen = [*(kept if decides_channels else ()), *self.weights[layer], *self.inputs[layer]]
            except KeyError as error:
                raise ValueError(f"sensitivities of {error.args[0]!r} in {network.name!r} were not measured") from None
            rows.append([_seen(divergence) for divergence in seen])
        names = (*(CHANNEL_NAMES if decides_channels else ()), *BIT_NAMES)
        return ExtraFeatures(names, np.array(rows, dtype=np.float32))

    def save(self, path: Path) -> None:
        """Writes them."""
        parts = {"channels": self.channels, "weights": self.weights, "inputs": self.inputs}
        arrays = {f"{name}_{what}": a for name, part in parts.items() for what, a in _packed(part).items()}
        write_arrays(path, shares=np.array(SHARES), bits=np.array(BITS), **arrays)

    @classmethod
    def load(cls, path: Path) -> Sensitivities:
        """Reads what `save` wrote.

        Raises:
            AssetError: The file is missing or damaged, or holds other levels.
        """
        with stored_arrays(path, "sensitivities") as file:
            levels = tuple(file["shares"].tolist()), tuple(file["bits"].tolist())
            parts = [
                dict(zip(file[f"{name}_of"].tolist(), file[f"{name}_kl"].astype(np.float64), strict=True))
                for name in ("channels", "weights", "inputs")
            ]
        divergences = [kl for part in parts for kl in part.values()]
        if levels != (SHARES, BITS) or any(kl.shape != (len(SHARES),) for kl in divergences):
            raise AssetError(f"{path}: measured at shares and bits {levels}, not at {(SHARES, BITS)}")
        if not all(np.isfinite(kl).all() and (kl >= 0).all() for kl in divergences):
            raise AssetError(f"{path}: holds divergences that are negative or not finite")
        return cls(*parts)


def _seen(divergence: float) -> float:
    return float(np.clip(log10(max(divergence, KL_AT_0) / KL_AT_0) / log10(KL_AT_1 / KL_AT_0), 0, 1))


def _packed(part: dict[str, NDArray[np.float64]]) -> dict[str, NDArray]:
    return {"of": np.array(list(part)), "kl": np.array(list(part.values())).reshape(len(part), -1)}
