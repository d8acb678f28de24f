from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from agents.demo import markdown

ROOT = Path(__file__).parents[2]


def test_a_short_demo(tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "agents.demo", "--evaluations", "15", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads((out / "results.json").read_text())
    methods = [row["method"] for row in results["rows"]]
    assert methods == ["uncompressed", "ddpg", "ppo", "uniform", "random", "hill-climb", "evolution", "true optimum"]
    assert all(row["regret_points"] >= 0 for row in results["rows"] if row["regret_points"] is not None)
    assert all(row["measured_ms"] > 0 and 0.05 < row["test_accuracy"] <= 1 for row in results["rows"])
    assert results["onnx_largest_logit_difference"] < 1e-4
    for name in ("curve.png", "pareto.png", "best.onnx", "table.md", "ddpg/policy.safetensors"):
        assert (out / name).stat().st_size > 0
    assert (out / "table.md").read_text() == markdown(results)
    assert "One seed of each" in done.stdout and "Traceback" not in done.stderr
