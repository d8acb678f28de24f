"""HAT's predictor beside products of genes, on made-up measurements and on the published ones where at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.papers import hat_latency
from benchmarks.papers.hat_latency import BOARDS, compare, errors, hat_network, ship, split, table
from compress_gym.devices import load_device
from compress_gym.devices.published import read_published
from compress_gym.devices.published.hat import HEADER
from compress_gym.making.profile.transformer_latency import fit_coefficients, hat_features

REAL = Path(__file__).parents[2].parent / "shared" / "published" / "hat"


@pytest.fixture
def published(tmp_path):
    """Files of one board in HAT's format: latency grows with depth, width and feed-forward network."""
    rng = np.random.default_rng(0)
    for corpus in hat_latency.CORPORA.values():
        lines = [",".join(HEADER)]
        for _ in range(120):
            e, d, depth = rng.choice([512, 640]), rng.choice([512, 640]), rng.integers(1, 7)
            ffn = rng.choice([1024, 2048, 3072], 2)
            decoder = 50 + depth * (20 + d * ffn[1] / 1e5) + rng.normal()
            lines.append(f"{e},6,{ffn[0]},4.0,{d},{depth},{ffn[1]},4.0,4.0,2.0,10.0,{decoder},0.1,0.1")
        (tmp_path / f"{corpus}_{BOARDS[1].file}").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_comparison_is_made_once_and_shipped(published, monkeypatch):
    monkeypatch.setattr(hat_latency, "STEPS", 5)
    path, work = published / f"wmt14ende_{BOARDS[1].file}", published / "work"
    row = compare(path, BOARDS[1], work)
    assert row["test_rows"] == 12 and row["products"]["rmse_ms"] < 5
    monkeypatch.setattr(hat_latency, "hat_network", None)
    assert compare(path, BOARDS[1], work) == row
    ship(published, BOARDS[1], [row], "command", published)
    device = load_device(published / f"{BOARDS[1].device}.csv")
    assert (device.task, device.kind, device.metrics) == ("hat-wmt14", "cpu", tuple(hat_latency.CORPORA))
    measured = read_published(path)
    assert errors((hat_features(measured) @ device.coefficients)[:, 0], measured.latency_ms).mape < 3
    assert "Products have the lower test RMSE on" in table([row])


def test_hats_network_is_the_released_one(published):
    measured = read_published(published / f"wmt14ende_{BOARDS[1].file}")
    train, test = split(len(measured), 0)
    sizes = []
    build = torch.nn.Linear

    class Counted(build):
        def __init__(self, inputs, outputs):
            super().__init__(inputs, outputs)
            sizes.append((inputs, outputs))

    torch.nn.Linear = Counted
    try:
        predicted = hat_network(measured, train, test, 300, 0, steps=1)
    finally:
        torch.nn.Linear = build
    assert sizes == [(10, 400), (400, 400), (400, 400), (400, 400), (400, 1)] and predicted.shape == test.shape


def test_splits_are_hats():
    train, test = split(2000, 0)
    assert (len(train), len(test)) == (1600, 200) and not set(train) & set(test)


def test_errors_are_computed():
    found = errors(np.array([1.0, 3.0]), np.array([2.0, 4.0]))
    assert (found.rmse_ms, found.mape, found.r) == pytest.approx((1.0, 37.5, 1.0))


@pytest.mark.skipif(not REAL.exists(), reason=f"the published files are not at {REAL}")
@pytest.mark.parametrize("board", BOARDS)
def test_shipped_devices_are_those_of_the_published_files(board):
    device = load_device(board.device)
    for m, corpus in enumerate(hat_latency.CORPORA.values()):
        measured = read_published(REAL / f"{corpus}_{board.file}")
        fitted = fit_coefficients(hat_features(measured), measured.latency_ms)
        assert np.allclose(
            hat_features(measured) @ fitted, hat_features(measured) @ device.coefficients[:, m], rtol=1e-4
        )
        assert errors(hat_features(measured) @ device.coefficients[:, m], measured.latency_ms).r > 0.9
