"""Measures a bundle: `python run.py [--threads N] [--rounds N] [--out results.csv]`.

Needs Python 3.8 or newer, NumPy and ONNX Runtime, nothing else. Run it alone on the machine, from the unpacked folder.
Killed, it goes on with the next round. Bring results.csv back and install it:

    compress-gym profile --import results.csv --name my-device
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
WARMUP = 3


def open_item(path: Path, threads: int) -> Callable[[], object]:
    """Opens a model and returns a function that runs it once, on fixed random inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # As in the package: x86 processors without VNNI otherwise saturate sums of 8-bit products.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {}
    for entry in session.get_inputs():
        if entry.type == "tensor(uint8)":
            feed[entry.name] = rng.integers(0, 256, entry.shape, dtype=np.uint8)
        else:
            feed[entry.name] = rng.standard_normal(entry.shape).astype(np.float32)
    return lambda: session.run(None, feed)


def sample_us(run: Callable[[], object], repetitions: int) -> list[float]:
    """Times single calls after a warm-up, in microseconds."""
    for _ in range(WARMUP):
        run()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def processor() -> str:
    """Returns the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def measure(items: list[dict[str, str]], folder: Path, rounds: int, repetitions: int, threads: int) -> np.ndarray:
    """Visits everything once a round, in random order; each visit's fastest call is kept in the folder."""
    started, before = time.monotonic(), 0
    for number in range(rounds):
        path = folder / f"round-{number:02d}.npy"
        if path.exists():
            before += 1
            continue
        fastest = np.empty((len(items), 1))
        order = list(range(len(items)))
        random.Random(number).shuffle(order)
        for visit, i in enumerate(order):
            # Opened anew each time, as in the profiler: some stay far off for as long as they are open.
            fastest[i] = min(sample_us(open_item(HERE / items[i]["file"], threads), repetitions))
            if visit % 50 == 0:
                print(f"\rround {number + 1} of {rounds}: {visit} of {len(items)}", end="", flush=True)
        partial = path.with_suffix(".tmp")
        with partial.open("wb") as file:
            np.save(file, fastest)
        partial.replace(path)
        seconds = (time.monotonic() - started) * (rounds - number - 1) / (number + 1 - before)
        print(f"\rround {number + 1} of {rounds} done, about {seconds / 60:.1f} minutes left", flush=True)
    return np.concatenate([np.load(folder / f"round-{n:02d}.npy") for n in range(rounds)], axis=1)


def main() -> None:
    """Measures the bundle beside this script and writes its results."""
    manifest = json.loads((HERE / "manifest.json").read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=manifest["plan"]["threads"])
    parser.add_argument("--rounds", type=int, default=manifest["plan"]["rounds"])
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    arguments = parser.parse_args()
    repetitions, items = manifest["plan"]["repetitions"], manifest["items"]
    if arguments.rounds * repetitions < 30:
        sys.exit(
            f"--rounds {arguments.rounds} x {repetitions} repetitions is fewer than 30 timed calls; raise --rounds"
        )
    # Of another bundle in the same place, or other numbers, nothing is taken over.
    folder = HERE / f"rounds-{manifest['bundle']}-{arguments.threads}-threads-{repetitions}-calls"
    folder.mkdir(exist_ok=True)
    visits = measure(items, folder, arguments.rounds, repetitions, arguments.threads)
    calls = arguments.rounds * repetitions
    header = {
        "bundle": manifest["bundle"],
        "task": manifest["task"],
        "plan": {**manifest["plan"], "threads": arguments.threads, "rounds": arguments.rounds},
        "hardware": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    partial = arguments.out.with_suffix(".tmp")
    with partial.open("w", newline="") as file:
        file.write(f"# {json.dumps(header)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", "fastest_us", "median_us", "p10_us", "repetitions"])
        for item, times in zip(items, visits):  # noqa: B905 (Python 3.8 has no strict)
            numbers = [np.min(times), np.median(times), np.quantile(times, 0.1)]
            writer.writerow([item["name"], *(f"{number:.3f}" for number in numbers), calls])
    partial.replace(arguments.out)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
