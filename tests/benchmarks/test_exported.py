from __future__ import annotations

import json

import pytest

from benchmarks import exported
from compress_gym.devices import CALL, Device, Measurement, operation_of
from compress_gym.devices.correction import Correction
from compress_gym.kinds import get_case
from compress_gym.making.profile.plan import ProfilePlan, reachable_operations
from tests.helpers import run_here

CASE, PRUNED = (get_case(kind, "digits-cnn") for kind in ("JointPQ-v0", "ChannelPrune-v0"))


def eight_bits():
    """A device on which every operation takes as many microseconds as it has output channels."""
    operations = reachable_operations(CASE.task.network(), PRUNED.decisions(), ProfilePlan(precision="int8"))
    table = {o: Measurement(float(o.out_channels), float(o.out_channels), 1) for o in operations}
    return Device("eight", "cpu", {**table, CALL: Measurement(0.0, 0.0, 1)}, Correction(0.0, 1.0, 1.0), bits=(8, 8))


def test_files_are_scored_timed_and_set_beside_what_is_predicted(tmp_path):
    device = eight_bits()
    rows = exported.compare(CASE, device, 3, tmp_path / "work", rounds=1, repetitions=3)
    whole = rows[0]
    assert whole["channels"] == {d.name: d.values[-1] for d in PRUNED.decisions().decisions}
    layers = [operation_of(x, x.in_channels, x.out_channels, 8, 8) for x in CASE.task.network().layers]
    by_hand = sum(device.table[operation].median_us for operation in layers)
    assert whole["predicted_ms"] == pytest.approx(by_hand / 1000)
    images = exported.scored_images(CASE)
    # 0.3 points of 400 images are 1.2: one image off is within the aim, two are not (here: 0, 0 and 1).
    assert images == 400 and max(exported.images_apart(rows, images)) <= 0.003 * images
    assert all(row["measured_ms"] > 0 for row in rows)
    eight = get_case("MixedQuant-v0", "digits-cnn").measured().table[-1]
    assert whole["accuracy_of_the_evaluator"] == pytest.approx(eight, abs=1 / 400)
    text = exported.table(rows, "digits-cnn", "eight", images)
    assert text.count("| 32, ") >= 1 and "Kendall tau" in text
    assert "0 of 3 files miss it. Off by less" in text


def test_errors_by_hand():
    row = {"accuracy_of_the_file": 0.9, "accuracy_of_the_evaluator": 0.91}
    rows = [{**row, "predicted_ms": p, "measured_ms": m} for p, m in ((1.1, 1.0), (2.0, 2.0), (2.7, 3.0))]
    stated = exported.summary(rows)
    assert stated["median_absolute_error"] == pytest.approx(0.1) and stated["kendall_tau"] == pytest.approx(1.0)
    assert stated["largest_difference_of_accuracies"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((200, 201, 199), "0 of 3 files miss it. Off by less: 2; not at all: 1."),
        (
            (200, 202, 199),
            "1 of 3 files misses it: it is off by 2 images (0.50 points). Off by less: 1; not at all: 1.",
        ),
        ((204, 202, 198), "3 of 3 files miss it: they are off by 2, 2, 4 images (1.00 points at most). Off by less: 0"),
    ],
)
def test_files_that_miss_the_aim_are_counted(files, words):
    rows = [
        {
            "channels": {"a": 1},
            "accuracy_of_the_file": n / 400,
            "accuracy_of_the_evaluator": 200 / 400,
            "predicted_ms": 1.0 + n,
            "measured_ms": 1.0 + n,
        }
        for n in files
    ]
    text = exported.table(rows, "a-task", "a-device", 400)
    assert f"within 0.3 points, 1.2 of 400 validation images. {words}" in text


def test_the_stored_report_says_what_is_stored():
    facts = json.loads((exported.RESULTS / "digits-cnn.json").read_text())
    text = exported.table(facts["rows"], facts["task"], facts["device"], exported.scored_images(CASE))
    assert text == (exported.RESULTS / "digits-cnn.md").read_text()


def test_a_table_of_other_bits_is_refused(monkeypatch, capsys):
    code, _, err = run_here(exported.main, ["digits-cnn", "--device", "xeon-ort-fp32"], monkeypatch, capsys)
    assert code == 2 and "--precision int8" in err
