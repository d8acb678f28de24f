from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress_gym.devices import load_device
from compress_gym.devices.correction import MixedCorrection, errors_by_task
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.devices.operations import CALL
from compress_gym.making.profile import networks as profiler
from compress_gym.making.profile.networks import profile
from compress_gym.making.profile.plan import (
    ProfilePlan,
    chosen_strategies,
    contents,
    contents_digest,
    decisions_of,
    networks_of,
    reachable_operations,
)
from compress_gym.support.resume import claim, save_array
from compress_gym.tasks import get_task
from tests.helpers import write_tiny_task

PLAN = {"rounds": 60, "repetitions": 30, "fit_networks": 2, "check_networks": 2}
SCRIPT = """
import sys
from pathlib import Path
from compress_gym.making.profile.plan import ProfilePlan
from compress_gym.making.profile.networks import profile
from compress_gym.tasks import Task
from tests.helpers import TINY
task = Task("tiny", 1, "digits", TINY, "adaptive-bn", 64, 3, "", assets=Path(sys.argv[1]))
profile([task], ProfilePlan(**{plan}), Path(sys.argv[2]), "test")
"""


def start(folder: Path, out: Path) -> subprocess.Popen:
    script = folder / "run.py"
    script.write_text(SCRIPT.replace("{plan}", repr(PLAN)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, script, folder, out], env=environment, stdout=subprocess.DEVNULL)


def test_a_killed_profile_goes_on(tmp_path):
    task = write_tiny_task(tmp_path)
    out = tmp_path / "mine.csv"
    process = start(tmp_path, out)
    rounds = tmp_path / "mine.partial"
    deadline = time.monotonic() + 120
    while not list(rounds.glob("round-*.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.read_bytes() for path in rounds.glob("round-*.npy")}
    assert 0 < len(finished) < PLAN["rounds"] and not out.exists()
    with pytest.raises(ValueError, match="another measurement"):
        profile([task], ProfilePlan(rounds=3), out, "test")
    resumed = start(tmp_path, out)
    while resumed.poll() is None and not out.exists():
        for path, content in finished.items():
            assert not path.exists() or path.read_bytes() == content, "a finished round was measured again"
        time.sleep(0.05)
    assert resumed.wait() == 0 and not rounds.exists()

    device = load_device(out)
    expected = reachable_operations(task.network(), task.channel_decisions(), with_layout=True)
    assert set(device.table) == set(expected)
    assert all(m.repetitions == 1800 and 0 < m.us <= m.p10_us <= m.median_us for m in device.table.values())
    assert {"network_us", "weighted", "other", "layout"} <= set(device.card["correction"])
    assert device.card["stated_error"]["checked_on"].startswith("2 whole networks")


SMALL = ProfilePlan(rounds=2, repetitions=15, fit_networks=6, check_networks=2)


def plant(monkeypatch, tasks, plan):
    """Writes times that follow from the shapes instead of measured ones, which a busy machine would make unusable.

    Of each task one network is built, a second each; what is measured of them is planted.
    """
    operations, strategies = contents(tasks, plan, True)
    known = {o: 5.0 + o.macs / 500 + o.out_channels / 10 + (o.weight_bits == 32) for o in operations}
    networks = [n for own in networks_of(tasks, strategies, plan).values() for n in own]
    times = [*known.values(), *(sum(known[o] - 5.0 for o in network) for network in networks)]

    def measure(openers, plan, work, minutes):
        assert len(openers) == len(times)
        assert all(opener() for opener in openers[-3:])
        for r in range(plan.rounds):
            save_array(work / f"round-{r:02d}.npy", np.array(times)[:, None] * (1 + 0.1 * r))

    builders = profiler._builders

    def one_built(*arguments):
        own = builders(*arguments)
        return dict.fromkeys(own, list(own.values())[-1])

    monkeypatch.setattr(profiler, "_measure", measure)
    monkeypatch.setattr(profiler, "_builders", one_built)


def two_tiny_tasks(folder):
    tiny = write_tiny_task(folder)
    shutil.copytree(tiny.folder, folder / "other")
    return tiny, replace(tiny, name="other")


def test_several_tasks_share_a_table_and_each_has_its_errors(tmp_path, monkeypatch):
    tasks = two_tiny_tasks(tmp_path)
    plant(monkeypatch, tasks, SMALL)
    device = profile([*tasks, tasks[0]], SMALL, tmp_path / "two.csv", "test")
    error = device.card["stated_error"]
    assert device.card["tasks"] == ["tiny", "other"] == list(error["tasks"]) == list(errors_by_task(device.card))
    for facts in error["tasks"].values():
        assert facts["two_halves_of_the_visits"]["median_absolute_difference"] == 0.0
    plant(monkeypatch, tasks[:1], SMALL)
    alone = profile(tasks[:1], SMALL, tmp_path / "one.csv", "test")
    assert set(alone.table) == set(device.table) and "tiny" in errors_by_task(alone.card)
    assert load_device(tmp_path / "two.csv").digest == device.digest


def test_a_few_networks_and_operations_say_how_long_it_takes(monkeypatch):
    """Told before all networks are built; the first one waits for what is loaded once, and does not count."""
    now, built = [0.0], []
    monkeypatch.setattr(profiler.time, "perf_counter", lambda: now[0])

    def visit(opener, plan):
        now[0] += opener()

    def builder(task, number, seconds):
        def build():
            now[0] += 100.0 if not built else seconds
            built.append((task, number))
            return lambda: 2.0

        return build

    monkeypatch.setattr(profiler, "_visit", visit)

    class Kept:
        def keeps(self, file):
            return file in kept

    paths = [Path(f"{n}") for n in range(20)]
    kept = {*paths[:5], paths[19]}
    builders = [{p: builder("one", p.name, 3.0) for p in paths}, {p: builder("other", p.name, 6.0) for p in paths[:10]}]
    building, a_round = profiler._pilot([lambda: 0.5] * 300, builders, Kept(), ProfilePlan())
    assert built == [("one", "5"), ("one", "18"), ("other", "9")]
    assert building == pytest.approx((14 * 3 + 5 * 6) / 60)
    assert a_round == pytest.approx((300 * 0.5 + 30 * 2.0) / 60)


def test_rounds_of_other_tasks_or_another_order_are_refused(tmp_path):
    tasks = two_tiny_tasks(tmp_path)
    digests = {contents_digest(*contents(chosen, SMALL, True)) for chosen in (tasks, tasks[::-1], tasks[:1])}
    assert len(digests) == 3
    work = tmp_path / "mine.partial"
    claim(work, {"contents": "another"})
    with pytest.raises(ValueError, match="another measurement"):
        profile(tasks, SMALL, tmp_path / "mine.csv", "test")


def test_a_profile_of_two_precisions_serves_joint_decisions(tmp_path, monkeypatch):
    task = write_tiny_task(tmp_path)
    plan = replace(SMALL, precision="mixed", fit_networks=24)
    plant(monkeypatch, [task], plan)
    device = profile([task], plan, tmp_path / "mixed.csv", "test")
    read = load_device(tmp_path / "mixed.csv")
    assert isinstance(read.correction, MixedCorrection) and read.digest == device.digest
    decisions = decisions_of(task, plan)
    terms = network_cost_terms(task.network(), decisions, read)
    rows = chosen_strategies(decisions, plan)
    assert (terms.evaluate(rows)[:, terms.column("latency_ms")] > 0).all()


def test_precisions_are_drawn_apart_from_channels():
    decisions = decisions_of(get_task("cifar10-resnet20"), ProfilePlan(precision="mixed"))
    rows = chosen_strategies(decisions, ProfilePlan(precision="mixed"))[2:]
    choice = np.array([d.kind == "precision" and len(d.values) == 2 for d in decisions.decisions])
    channels = np.array([d.kind == "channels" for d in decisions.decisions])
    floats, width = rows[:, choice].mean(axis=1), (rows / np.maximum(decisions.sizes - 1, 1))[:, channels].mean(axis=1)
    assert floats.min() < 0.2 and floats.max() > 0.8 and abs(np.corrcoef(floats, width)[0, 1]) < 0.3
    assert (width == 1).sum() >= len(rows) // 5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rounds": 1, "repetitions": 40}, "rounds=1: two halves"),
        ({"check_networks": 1}, "check_networks=1 must be a whole number, at least 2"),
        ({"threads": 0}, "threads=0 must be"),
        ({"repetitions": 1.5}, "repetitions=1.5 must be"),
        ({"precision": "fp64"}, "precision='fp64': must be one of"),
        ({"runtime": "tvm"}, "runtime='tvm'"),
    ],
)
def test_plans_that_cannot_be_measured_are_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        ProfilePlan(**changed)


def test_too_few_repetitions_are_refused():
    with pytest.raises(ValueError, match="rounds=2 x repetitions=3 is fewer than 30"):
        ProfilePlan(rounds=2, repetitions=3)


def test_every_operation_of_every_strategy_is_reachable():
    task = get_task("digits-cnn")
    found = reachable_operations(task.network(), task.channel_decisions())
    # the empty call; conv1: 8; conv2 to conv5: 64 pairs each; pooling: 8; linear: 8
    assert len(found) == len(set(found)) == 1 + 8 + 4 * 64 + 8 + 8
    assert found[0] == CALL
