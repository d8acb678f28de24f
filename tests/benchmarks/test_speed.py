from __future__ import annotations

import numpy as np

from benchmarks.speed import costs, live
from compress_gym.processor import bf16_supported, one_thread
from compress_gym.tasks import get_task

TASK = get_task("digits-cnn")


def test_the_evaluators_that_are_compared_agree():
    """Masked at full size, channels first, unfolded: the same answers but for rounding."""
    plain = live._plain(TASK, 400)
    evaluate = TASK.live(images=400).count_correct
    with one_thread():
        for strategy in (TASK.channel_decisions().sizes[None] - 1, *live.half_macs(TASK, 3)[:, None]):
            assert abs(plain(strategy) - int(evaluate(strategy)[0])) <= 2


def test_the_report_of_live_evaluation(monkeypatch):
    monkeypatch.setattr(live, "REPETITIONS", 1)
    with one_thread():
        rows = live.compare(TASK, 100)
    names = ["plain", "live"] + ["live, bf16"] * bf16_supported()
    assert [(row["case"], row["evaluator"]) for row in rows] == [
        (case, name) for case in ("uncompressed", "half the MACs") for name in names
    ]
    assert all(row["times_plain"] == 1.0 for row in rows if row["evaluator"] == "plain")


def test_half_the_macs_is_half():
    from compress_gym.costs.build import channel_cost_terms

    terms = channel_cost_terms(TASK.network(), TASK.channel_decisions())
    rows = np.concatenate([live.half_macs(TASK, 5), TASK.channel_decisions().sizes[None] - 1])
    macs = terms.evaluate(rows)[:, terms.column("macs")]
    assert np.abs(macs[:-1] / macs[-1] / 0.5 - 1).max() <= 0.05


def test_the_report_of_cost_evaluation(monkeypatch):
    monkeypatch.setattr(costs, "STRATEGIES", 1000)
    monkeypatch.setattr(costs, "REPETITIONS", 2)
    rows = costs.measure(TASK, None)
    assert [row["case"] for row in rows] == ["bounded cost", "all costs", "compiling the cost terms, seconds"]
    assert rows[0]["strategies_per_second"] > 0
