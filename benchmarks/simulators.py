"""The simulated accelerators against published numbers: `python -m benchmarks.simulators --published FOLDER`.

- APQ (Wang et al., CVPR 2020) published a table of 6,569 rows, (layer, weight bits, activation bits) -> (ms, mJ), of
  Bit Fusion, batch 1, for the layers its search space can reach at 224 x 224. Two of them, `head` and `tail`, are
  constants of every network. A key is (in channels, out channels, input side, kernel, stride, padding, groups)-W.A.
- HAQ (Wang et al., CVPR 2019) published a table [layer, weight bits - 1, activation bits - 1] of cycles of MobileNetV2,
  batch 16. It does not say of which device; times that grow with the product of both bit widths are bit-serial ones.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from compress_gym.devices import Operation
from compress_gym.devices.simulators import BISMO_PRESETS, Bismo, BitFusion
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command

RESULTS = Path(__file__).parent / "results" / "simulators"
APQ_TABLE = "apq/BitFusion_new.b1.dict"
HAQ_TABLE = "haq/qmobilenetv2_imagenet100_batch16_latency_table.npy"
REQUIRED = {"spearman": 0.98, "median_error": 0.15}
_KEY = re.compile(r"\((\d+), (\d+), (\d+), (\d+), (\d+), (\d+), (\d+)\)-W(\d+)A(\d+)")
_NOT_LAYERS = ("head", "tail")


def read_apq(path: Path) -> tuple[list[Operation], NDArray[np.float64]]:
    """Reads APQ's table.

    Returns:
        The operations, and their latencies in ms and energies in mJ, float64 `[N, 2]`.

    Raises:
        ValueError: A key is not of the format.
    """
    operations, published = [], []
    for key, row in json.loads(path.read_text()).items():
        if key in _NOT_LAYERS:
            continue
        found = _KEY.fullmatch(key)
        if not found:
            raise ValueError(f"{path}: {key!r} is not (in, out, side, kernel, stride, padding, groups)-W.A.")
        inputs, outputs, side, kernel, stride, padding, groups, wb, ab = map(int, found.groups())
        if padding != kernel // 2:
            raise ValueError(f"{path}: {key!r} has padding {padding}, expected half the kernel")
        kind = "depthwise" if groups > 1 else "conv"
        operations.append(Operation(kind, inputs, outputs, kernel, stride, groups, side, side, wb, ab))
        published.append((row["latency"], row["energy"]))
    return operations, np.array(published)


def simulate(device: BitFusion | Bismo, operations: list[Operation]) -> NDArray[np.float64]:
    """Returns latencies in ms and energies in mJ, float64 `[N, 2]`."""
    return np.array([device.cost(operation) for operation in operations]) * [1e-3, 1.0]


def agreement(simulated: NDArray[np.float64], published: NDArray[np.float64]) -> dict[str, Any]:
    """States rank correlation and relative errors."""
    error = np.abs(simulated / published - 1)
    return {
        "rows": len(error),
        "spearman": round(float(spearmanr(simulated, published)[0]), 6),
        "median_error": round(float(np.median(error)), 6),
        "p95_error": round(float(np.quantile(error, 0.95)), 6),
        "largest_error": round(float(error.max()), 6),
        "share_within_1e-6": round(float((error < 1e-6).mean()), 4),
    }


def fitted_core_pj(
    device: BitFusion, operations: list[Operation], published_mj: NDArray[np.float64], chosen: NDArray[np.int64]
) -> float:
    """Fits the array's energy per cycle, the one number that no source gives, by least squares of relative errors.

    Args:
        device: The others of its parameters are kept.
        operations: All operations.
        published_mj: Their energies.
        chosen: Indices of those to fit on.
    """
    some, step = [operations[i] for i in chosen], 10.0
    energy = simulate(device, some)[:, 1]
    slope = (simulate(replace(device, core_pj=device.core_pj + step), some)[:, 1] - energy) / step
    relative, missing = slope / published_mj[chosen], 1 - energy / published_mj[chosen]
    return device.core_pj + float(relative @ missing / (relative @ relative))


def check_apq(path: Path, seed: int = 0) -> dict[str, Any]:
    """Compares Bit Fusion with APQ's table; the energy per cycle is fitted on one half, errors are of the other."""
    operations, published = read_apq(path)
    shuffled = np.random.default_rng(seed).permutation(len(operations))
    fitting, held_out = np.sort(shuffled[: len(shuffled) // 2]), np.sort(shuffled[len(shuffled) // 2 :])
    device = BitFusion()
    core_pj = fitted_core_pj(device, operations, published[:, 1], fitting)
    shipped, fitted = simulate(device, operations), simulate(replace(device, core_pj=core_pj), operations)
    deep = np.array([o.kind == "depthwise" for o in operations])
    bits = {f"W{w}A{a}": (w, a) for w in (4, 6, 8) for a in (4, 6, 8)}
    held = agreement(fitted[held_out, 0], published[held_out, 0])
    return {
        "core_pj": {"fitted_on_one_half": round(core_pj, 2), "shipped": device.core_pj},
        "passed": held["spearman"] >= REQUIRED["spearman"] and held["median_error"] <= REQUIRED["median_error"],
        "required": REQUIRED,
        "held_out_half": {"latency": held, "energy": agreement(fitted[held_out, 1], published[held_out, 1])},
        "shipped_parameters_all_rows": {
            name: agreement(shipped[:, i], published[:, i]) for i, name in enumerate(("latency", "energy"))
        },
        "latency_by_kind": {
            name: agreement(shipped[rows, 0], published[rows, 0])
            for name, rows in (("1x1", ~deep), ("depthwise", deep))
        },
        "energy_by_bits": {
            name: agreement(shipped[rows, 1], published[rows, 1])
            for name, (w, a) in bits.items()
            for rows in [np.array([(o.weight_bits, o.activation_bits) == (w, a) for o in operations])]
        },
    }


def mobilenet_v2(batch: int) -> list[Operation]:
    """Returns the 53 layers with weights of MobileNetV2 (Sandler et al., 2018, table 2) at 224 x 224."""
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    shapes = [("conv", 3, 32, 3, 2, 1, 224)]
    channels, side = 32, 112
    for expansion, outputs, blocks, first_stride in stages:
        for block in range(blocks):
            stride, wide = (first_stride if block == 0 else 1), expansion * channels
            if expansion > 1:
                shapes.append(("conv", channels, wide, 1, 1, 1, side))
            shapes.append(("depthwise", wide, wide, 3, stride, wide, side))
            side //= stride
            shapes.append(("conv", wide, outputs, 1, 1, 1, side))
            channels = outputs
    shapes += [("conv", channels, 1280, 1, 1, 1, side), ("linear", 1280, 1000, 1, 1, 1, 1)]
    return [Operation(*shape, in_width=shape[-1], batch=batch) for shape in shapes]


def check_haq(path: Path) -> dict[str, Any]:
    """Compares precision curves, a layer's times over those at 8 x 8 bits, with HAQ's table."""
    table = np.load(path, allow_pickle=False).astype(np.float64)
    layers = mobilenet_v2(batch=16)
    if table.shape != (len(layers), 8, 8):
        raise ValueError(f"{path}: shape {table.shape}, expected {(len(layers), 8, 8)}")
    cases: dict[str, tuple[BitFusion | Bismo, tuple[int, ...]]] = {
        **{f"bismo-{name}": (device, tuple(range(1, 9))) for name, device in BISMO_PRESETS.items()},
        "bitfusion": (BitFusion(), (2, 4, 6, 8)),
    }
    facts = {}
    for name, (device, widths) in cases.items():
        grid = [replace(o, weight_bits=w, activation_bits=a) for o in layers for w in widths for a in widths]
        simulated = simulate(device, grid)[:, 0].reshape(len(layers), len(widths), len(widths))
        index = np.array(widths) - 1
        published = table[:, index[:, None], index]
        curves = [x / x[:, -1:, -1:] for x in (simulated, published)]
        facts[name] = {
            "bits": widths,
            "curve": agreement(curves[0].ravel(), curves[1].ravel()),
            "spearman_of_times": round(float(spearmanr(simulated.ravel(), published.ravel())[0]), 4),
            "median_spearman_within_a_layer": round(
                float(
                    np.median([spearmanr(s.ravel(), p.ravel())[0] for s, p in zip(simulated, published, strict=True)])
                ),
                4,
            ),
        }
        if isinstance(device, Bismo):
            cycles = simulated * 1e3 * device.frequency_mhz
            facts[name]["cycles_over_published"] = {
                f"p{q}": round(float(np.percentile(cycles / published, q)), 4) for q in (0, 10, 50, 90, 100)
            }
    return facts


def report(facts: dict[str, Any]) -> str:
    """Returns the results as Markdown."""
    apq, haq = facts["apq"], facts["haq"]
    head = "| | rows | Spearman | median error | 95 % | largest | equal to 1e-6 |\n|---|---|---|---|---|---|---|\n"

    def line(name: str, f: dict[str, Any]) -> str:
        errors = " | ".join(f"{f[key]:.3%}" for key in ("median_error", "p95_error", "largest_error"))
        return f"| {name} | {f['rows']} | {f['spearman']:.5f} | {errors} | {f['share_within_1e-6']:.1%} |\n"

    text = (
        "# Simulated accelerators against published numbers\n\n"
        "`python -m benchmarks.simulators --published FOLDER` writes this page.\n\n"
    )
    text += "## Bit Fusion against APQ's table\n\n" + head
    text += "".join(line(f"{name}, held-out half", f) for name, f in apq["held_out_half"].items())
    text += "".join(line(f"{name}, all rows", f) for name, f in apq["shipped_parameters_all_rows"].items())
    text += "".join(line(f"latency, {name}", f) for name, f in apq["latency_by_kind"].items())
    text += "".join(line(f"energy, {name}", f) for name, f in apq["energy_by_bits"].items())
    text += (
        f"\nRequired on latency: Spearman >= {REQUIRED['spearman']}, median error <= {REQUIRED['median_error']:.0%}: "
        f"{'passed' if apq['passed'] else 'FAILED'}. The array's energy per cycle is fitted on the other half "
        f"({apq['core_pj']['fitted_on_one_half']} pJ; shipped: {apq['core_pj']['shipped']} pJ); every other number is "
        "from the configuration, synthesis and CACTI results that Bit Fusion's authors released.\n\n"
        "Rules that no paper states were inferred from these rows: which released configuration they are of; that "
        "6-bit operands are computed and buffered as 8 bits and packed in DRAM; that buffered tiles are padded to the "
        "array; that depth-wise layers run as dense blocks of 8 channels a fused engine; that leakage is of the "
        "buffers alone, and that the columns share a read of an input. They were found by looking at rows of the whole "
        "table, so for them the halves are no test.\n\n"
        "What is left in latency is rounding of bursts to whole cycles, and a few rows where fusing bricks for wider "
        "operands than the layer has is faster than the published schedule (allowed here, so that fewer bits are never "
        "slower). Fewer channels or inputs can be, in fewer than 1 % of random layers, since buffers are filled "
        "before computing starts; energy is that of the fastest schedule, so it can rise where latency falls. What is "
        "left in energy is which of several "
        "equally fast schedules is taken, and how often the output buffers are visited.\n\n"
        "`head` and `tail` are sums of layers that the table does not name, and are not compared.\n\n"
        "## Precision curves against HAQ's table\n\n"
        "Times of MobileNetV2's layers, batch 16, over those at 8 x 8 bits.\n\n"
    )
    text += head + "".join(line(name, f["curve"]) for name, f in haq.items())
    text += (
        "\n| | bits | Spearman of times | median Spearman within a layer | cycles over published, 10 / 50 / 90 % |\n"
    )
    text += "|---|---|---|---|---|\n"
    for name, f in haq.items():
        ratios = f.get("cycles_over_published")
        told = " / ".join(f"{ratios[q]:.3f}" for q in ("p10", "p50", "p90")) if ratios else "not its device"
        bits = ", ".join(map(str, f["bits"]))
        text += f"| {name} | {bits} | {f['spearman_of_times']} | {f['median_spearman_within_a_layer']} | {told} |\n"
    text += (
        "\nHAQ does not say which device the table is of. Its numbers are cycles of a bit-serial array of HAQ's cloud "
        "size: 16 x 16 units of 256 bits with ports of 256 bits. So BISMO's curves are the ones to compare; Bit "
        "Fusion, whose throughput has steps at powers of two and whose outputs move at 32 bits, is another device. "
        "That the weights are fetched with every image, over a port of their own, was inferred from the table, and so "
        "was the width of the ports in use. BISMO's model leaves out how the pipeline fills and drains, which is most "
        "of what is missing from the cycles of late layers.\n"
    )
    return text


@click.command()
@click.option(
    "--published",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with the tables that APQ and HAQ published, in apq/ and haq/.",
)
@click.option("--seed", default=0, show_default=True, help="Of the halves.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="Where results are written.")
def main(published: Path, seed: int, out: Path) -> None:
    """Compares the simulated accelerators with what APQ and HAQ published."""
    facts = {"apq": check_apq(published / APQ_TABLE, seed), "haq": check_haq(published / HAQ_TABLE)}
    command = f"python -m benchmarks.simulators --published FOLDER --seed {seed}"
    card = {**facts, **provenance(command, ["numpy", "numba", "scipy"])}
    out.mkdir(parents=True, exist_ok=True)
    for ending, content in (("json", json.dumps(card, indent=1) + "\n"), ("md", report(facts))):
        write_atomically(out / f"simulators.{ending}", partial(Path.write_text, data=content))
    click.echo(report(facts))


if __name__ == "__main__":
    run_command(main, "benchmarks.simulators")
