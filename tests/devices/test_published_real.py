"""Readers of published tables, on the real ones where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

from compress_gym.devices.published import (
    read_published,
)
from compress_gym.support.errors import AssetError

REAL = Path(__file__).parents[2].parent / "shared" / "published"
real = pytest.mark.skipif(not REAL.exists(), reason=f"the published files are not at {REAL}")


@real
def test_the_published_haq_table():
    table = read_published(REAL / "haq" / "qmobilenetv2_imagenet100_batch16_latency_table.npy")
    assert table.cycles.shape == (53, 8, 8)
    assert (table.cycles.min(), table.cycles.max()) == (3184, 4860688)
    # What the unit is read from: see the module's docstring.
    assert table.cycles[2, 0, 0] == 16 * 112 * 112 and table.cycles[52, 0, 0] == 1280 * 1000 / 256
    # More bits never take less.
    assert (np.diff(table.cycles, axis=1) >= 0).all() and (np.diff(table.cycles, axis=2) >= 0).all()


@real
def test_the_published_apq_table():
    table = read_published(REAL / "apq" / "BitFusion_new.b1.dict")
    assert len(table) == 6569 and len(table.layers) == 779
    layers = table.column("in_channels") > 0
    bits = np.stack([table.column("weight_bits"), table.column("activation_bits")])[:, layers]
    assert np.unique(bits, axis=1).T.tolist() == [[w, a] for w in (4, 6, 8) for a in (4, 6, 8)]
    assert not ((table.column("kernel") == 7) & (table.column("activation_bits") == 4)).any()
    for name in ("head", "tail"):
        assert min(table.end_cost(name)) > 0
    latency_ms, energy_mj = table.column("latency_ms"), table.column("energy_mj")
    assert latency_ms.min() == pytest.approx(0.010128) and latency_ms.max() == pytest.approx(5.537808)
    assert energy_mj.min() == pytest.approx(0.017863, abs=1e-6) and energy_mj.max() == pytest.approx(3.874752, abs=1e-6)


@real
def test_the_published_hat_tables():
    paths = sorted((REAL / "hat").glob("*.csv"))
    assert len(paths) == 6
    for path in paths:
        table = read_published(path)
        assert len(table) == 2000
        assert set(np.unique(table.column("encoder_embed_dim"))) == {512, 640}
        assert (table.decoder_ms > table.encoder_ms).all()
        low, high = {"raspberrypi": (2e3, 2e4), "xeon": (50, 1e3), "titanxp": (30, 1e3)}[path.stem.split("_")[2]]
        assert low < table.latency_ms.min() < table.latency_ms.max() < high


@real
def test_the_licences_are_no_tables():
    for path in REAL.glob("*/LICENSE"):
        with pytest.raises(AssetError, match="in none of the published formats"):
            read_published(path)
