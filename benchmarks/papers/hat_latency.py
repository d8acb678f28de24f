"""HAT's published latencies: its predictor, trained by its protocol, beside coefficients of products of genes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from compress_gym.devices.device import TABLES
from compress_gym.devices.published import HatTable, read_published
from compress_gym.making.profile.transformer_latency import fit_coefficients, hat_features, write_coefficients
from compress_gym.support.cards import provenance, read_json, sha256, write_atomically, write_card
from compress_gym.support.errors import AssetError

# HAT's protocol (its `latency_predictor.py` and configs): what features are divided by, and the training.
FEATURE_NORM = np.array([640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2], dtype=np.float64)
HIDDEN, HIDDEN_LAYERS, STEPS, BATCH, LR = 400, 4, 5000, 128, 1e-5


@dataclass(frozen=True)
class Board:
    """One of HAT's devices.

    Attributes:
        device: Name of the device that is shipped.
        file: Ending of its files' names: `wmt14ende_` or `wmt14enfr_` comes before.
        kind: `cpu` or `gpu`.
        hardware: What it is.
        latency_norm: What HAT divides its latencies by, in milliseconds.
    """

    device: str
    file: str
    kind: str
    hardware: str
    latency_norm: float


BOARDS = (
    Board("hat-raspberrypi4", "cpu_raspberrypi_all.csv", "cpu", "Raspberry Pi 4 (ARM Cortex-A72)", 5000),
    Board("hat-xeon-e5-2640", "cpu_xeon_all.csv", "cpu", "Intel Xeon E5-2640", 300),
    Board("hat-titanxp", "gpu_titanxp_all.csv", "gpu", "NVIDIA Titan Xp", 200),
)
# Corpora by the name of the latency they become.
CORPORA = {"latency_ms": "wmt14ende", "latency_enfr_ms": "wmt14enfr"}


@dataclass(frozen=True)
class Errors:
    """How far predictions are from measurements.

    Attributes:
        rmse_ms: Root of the mean squared error, in milliseconds.
        mape: Mean of the absolute relative errors, in percent.
        r: Pearson's correlation.
    """

    rmse_ms: float
    mape: float
    r: float


def split(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the rows that train (80 %) and those that test (10 %); HAT's validation rows (10 %) choose nothing."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[: int(0.8 * rows)], order[int(0.8 * rows) + int(0.1 * rows) :]


def errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> Errors:
    """Compares predictions with measurements, both in milliseconds."""
    difference = predicted - measured
    return Errors(
        float(np.sqrt((difference**2).mean())),
        float(100 * np.abs(difference / measured).mean()),
        float(np.corrcoef(predicted, measured)[0, 1]),
    )


def hat_network(
    table: HatTable, train: NDArray[np.int64], test: NDArray[np.int64], norm: float, seed: int, steps: int
) -> NDArray[np.float64]:
    """Trains HAT's network as its release does and returns predictions for the test rows, in milliseconds."""
    torch.manual_seed(seed)
    sizes = [len(FEATURE_NORM), *[HIDDEN] * HIDDEN_LAYERS]
    layers = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*layers, nn.Linear(HIDDEN, 1))
    inputs = torch.from_numpy(table.features / FEATURE_NORM).float()
    targets, rows = torch.from_numpy(table.latency_ms / norm).float(), torch.from_numpy(train)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    for _ in track(range(steps), description=f"HAT's network, {table.path.stem}", transient=True):
        chosen = rows[torch.randperm(len(rows))[:BATCH]]
        loss = nn.functional.mse_loss(network(inputs[chosen]).squeeze(1), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        predicted: NDArray[np.float64] = network(inputs[torch.from_numpy(test)]).squeeze(1).double().numpy()
    return predicted * norm


def compare(path: Path, board: Board, work: Path, seed: int = 0) -> dict[str, Any]:
    """Compares both predictors on one published file; a finished comparison is read.

    Args:
        path: The published file.
        board: Its device.
        work: Folder of finished comparisons.
        seed: Of the split, and of the network.
    """
    done = work / f"{path.stem}-{seed}.json"
    if done.exists():
        return read_json(done)
    table = _hat_table(path)
    train, test = split(len(table), seed)
    features, measured = hat_features(table), table.latency_ms
    products = features[test] @ fit_coefficients(features[train], measured[train])
    linear, *_ = np.linalg.lstsq(_with_one(table.features[train]), measured[train], rcond=None)
    network = hat_network(table, train, test, board.latency_norm, seed, STEPS)
    predictions = {"products": products, "linear": _with_one(table.features[test]) @ linear, "hat_network": network}
    row: dict[str, Any] = {"file": path.name, "device": board.device, "rows": len(table), "test_rows": len(test)}
    row |= {name: vars(errors(predicted, measured[test])) for name, predicted in predictions.items()}
    write_atomically(done, lambda p: p.write_text(json.dumps(row, indent=1) + "\n"))
    return row


def ship(folder: Path, board: Board, rows: list[dict[str, Any]], command: str, out: Path = TABLES) -> None:
    """Fits the coefficients of a device to all rows of its files and writes them with their card.

    Args:
        folder: Holds the published files.
        board: The device.
        rows: Its comparisons, for the stated error.
        command: The command line, for the card.
        out: Folder to write to.
    """
    files = {metric: folder / f"{corpus}_{board.file}" for metric, corpus in CORPORA.items()}
    tables = {metric: _hat_table(path) for metric, path in files.items()}
    columns = [fit_coefficients(hat_features(t), t.latency_ms) for t in tables.values()]
    path = out / f"{board.device}.csv"
    write_coefficients(path, tuple(tables), np.stack(columns, axis=1))
    card = {
        "what": "latency of HAT's WMT'14 transformers, fitted to HAT's published measurements (2,000 of each corpus)",
        "kind": board.kind,
        "task": "hat-wmt14",
        "measured_on": board.hardware,
        "metrics": {metric: f"encoder and decoder, {CORPORA[metric]}" for metric in tables},
        "statistic": "trimmed mean (10th to 90th percentile) of a sentence of 30 tokens, beam 5, as published",
        "sources": {path.name: sha256(path) for path in files.values()},
        "licence": "the measurements are part of mit-han-lab/hardware-aware-transformers; NOTICE has its licence",
        "model": "latency = sum over features of coefficient * feature; coefficients not negative; all rows fitted",
        "stated_error": {
            "protocol": "80 % of the rows fitted, 10 % tested, as HAT's predictor",
            **{row["file"]: row["products"] for row in rows},
        },
        **provenance(command, ["numpy", "scipy"]),
    }
    write_card(path, card)


def table(rows: list[dict[str, Any]]) -> str:
    """Writes the Markdown table of all comparisons."""
    lines = [
        "## HAT's published latencies: test RMSE (ms) / MAPE (%) / r",
        "",
        "One split of 80 % (fitted) and 10 % (tested). HAT's network: 10-400-400-400-400-1, trained as in its release.",
        "Products of genes: 19 coefficients. Linear: HAT's ten features and a constant.",
        "",
        "| file | products of genes | HAT's network | linear |",
        "|---|---|---|---|",
    ]
    for row in rows:
        shown = [row[name] for name in ("products", "hat_network", "linear")]
        cells = " | ".join(f"{e['rmse_ms']:.2f} / {e['mape']:.2f} / {e['r']:.4f}" for e in shown)
        lines.append(f"| {row['file']} | {cells} |")
    won = sum(row["products"]["rmse_ms"] < row["hat_network"]["rmse_ms"] for row in rows)
    return "\n".join([*lines, "", f"Products have the lower test RMSE on {won} of {len(rows)} sets.", ""])


def _hat_table(path: Path) -> HatTable:
    found = read_published(path)
    if not isinstance(found, HatTable):
        raise AssetError(f"{path}: not one of HAT's latency data sets")
    return found


def _with_one(features: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(features)), features])
