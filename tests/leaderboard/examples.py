"""Submissions that tests share: valid ones on small tracks, and files by those who mean no good."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.tracks import Track

CLASS = Track(
    name="class",
    title="a class's track",
    env="compress_gym/ChannelPrune-v0",
    tasks=("digits-cnn",),
    device="epyc-milan-ort-fp32",
    cost="latency_ms",
    budget=0.6,
    evaluations=50,
    seeds=2,
)
SURROGATE = CLASS.model_copy(update={"name": "surrogate", "tasks": ("cifar10-resnet20",)})
BOTH = CLASS.model_copy(update={"name": "both", "tasks": ("digits-cnn", "cifar10-resnet20"), "device": "auto"})
HELD_OUT = CLASS.model_copy(update={"name": "held-out", "zero_shot": True})
# Of an environment that is to come: what is made for the present one is then an earlier version.
LATER = CLASS.model_copy(update={"name": "later", "env": "compress_gym/ChannelPrune-v1"})
TRACKS = {track.name: track for track in (CLASS, SURROGATE, BOTH, HELD_OUT)}


def valid(track: Track = CLASS, name: str = "mine") -> dict[str, Any]:
    """What a correct submission holds: random strategies within the budget, told as they are."""
    rng, origins, results = np.random.default_rng(0), {}, []
    for task in track.tasks:
        problem = track.problem(task)
        told = ("task_version", "asset_hash", "device", "device_hash")
        source = problem.accuracy_model.source
        origins[task] = {"accuracy_source": source, **{key: problem.origin[key] for key in told}}
        rows = problem.random(rng, track.seeds)
        worth = problem.evaluate(rows)
        for seed, row in enumerate(rows):
            results.append(
                {
                    "task": task,
                    "seed": seed,
                    "strategy": problem.describe(row),
                    "evaluations": track.evaluations,
                    "wall_seconds": 2.5,
                    "training_seconds": 1,
                    "cost": float(worth.costs[track.cost][seed]),
                    "validation_accuracy": float(worth.accuracy[seed]),
                }
            )
    return {
        "schema_version": 1,
        "track": track.name,
        "name": name,
        "method": "Random search",
        "authors": ["Änne Ångström"],
        "version": "1.0",
        "link": "https://example.org/source",
        "modified_source": False,
        "deterministic": False,
        "trained_on": [],
        "parameters": {"rate": 0.1, "layers": "[64, 64]", "on": True, "none": None},
        "ranges_tried": {"rate": "0.01 to 1"},
        "env": track.env,
        "origins": origins,
        "results": results,
    }


def changed(values: dict[str, Any], *path: str | int, to: Any) -> dict[str, Any]:
    """A copy with one value replaced, or added."""
    copied = copy.deepcopy(values)
    at: Any = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return copied


def written(folder: Path, values: Any, name: str = "mine") -> Path:
    """Writes a submission, or bytes."""
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(values if isinstance(values, bytes) else json.dumps(values).encode())
    return path


def nasty_cases() -> dict[str, tuple[bytes, str]]:
    """Name to a stranger's file and words of the reason for which it is refused."""
    good = valid()
    text = json.dumps(good)
    first = next(iter(good["results"][0]["strategy"]))

    def but(*path: str | int, to: Any) -> bytes:
        return json.dumps(changed(good, *path, to=to)).encode()

    look_alike = first.replace("o", "\u043e")  # Cyrillic
    strategy = good["results"][0]["strategy"]
    return {
        "script tag as name": (but("name", to="<script>alert(1)</script>"), "name"),
        "script tag as decision": (but("results", 0, "strategy", "<script>", to=1), "strategy"),
        "script tag as key": (but("<script>", to=1), "Extra inputs"),
        "javascript link": (but("link", to="javascript:alert(1)"), "link"),
        "plain http link": (but("link", to="http://example.org"), "link"),
        "link with a user": (but("link", to="https://example.org@evil.example/"), "link"),
        "link that breaks out": (but("link", to='https://e.org/"onclick="x" y='), "link"),
        "link with a backslash": (but("link", to="https://example.org\\.evil.com/"), "link"),
        "link to a dot": (but("link", to="https://."), "link"),
        "link to a tag": (but("link", to="https://a<script>"), "link"),
        "link to one word": (but("link", to="https://localhost/"), "link"),
        "link to an address": (but("link", to="https://127.0.0.1/"), "link"),
        "link to an impossible port": (but("link", to="https://example.org:999999/"), "link"),
        "link to no port": (but("link", to="https://example.org:0/"), "link"),
        "damaged link": (but("link", to="https://[::1"), "link"),
        "name that leaves the folder": (but("name", to="../../index"), "name"),
        "track that leaves the folder": (but("track", to="../class"), "track"),
        "absolute name": (but("name", to="/etc/passwd"), "name"),
        "name of another file": (but("name", to="yours"), "not the name of the file"),
        "name with a look-alike": (but("name", to="min\u0435"), "name"),
        "decision with a look-alike": (
            but("results", 0, "strategy", to={look_alike if k == first else k: v for k, v in strategy.items()}),
            "strategy",
        ),
        "method with a look-alike": (but("method", to="Random se\u0430rch"), "method"),
        "text that runs backwards": (but("authors", 0, to="\u202eevil"), "does not print"),
        "invisible character": (but("authors", 0, to="a\u200bb"), "does not print"),
        **{
            f"invisible U+{ord(unseen):04X}": (but("authors", 0, to=f"a{unseen}b"), "does not print")
            for unseen in "\u3164\u115f\u1160\u2800\u034f\ufe0f\u180b"
        },
        "marks that pile up": (but("authors", 0, to="x\u0323\u0336\u0336"), "combining marks"),
        "wide letters": (but("authors", 0, to="\uff21nna"), "stand for others"),
        "a ligature": (but("authors", 0, to="\ufb01sh"), "stand for others"),
        "Latin with Cyrillic": (but("authors", 0, to="P\u0430ul"), "Latin and Cyrillic"),
        "Latin with Greek": (but("authors", 0, to="Paul J\u03bfnes"), "Latin and Greek"),
        "escape sequence of a terminal": (but("authors", 0, to="\x1b[31mred"), "does not print"),
        "not normalised": (but("authors", 0, to="A\u030angstro\u0308m"), "normal form"),
        "half a character": (text.replace("1.0", "\\ud800").encode(), "JSON"),
        "a decision too many": (but("results", 0, "strategy", "conv9.channels", to=8), "unknown decisions"),
        "a decision too few": (but("results", 0, "strategy", to={first: strategy[first]}), "missing decisions"),
        "a value that does not exist": (but("results", 0, "strategy", first, to=5), "is not one of"),
        "a truth as a value": (but("results", 0, "strategy", first, to=True), "strategy"),
        "a list as a value": (but("results", 0, "strategy", first, to=[8]), "strategy"),
        "a huge parameter": (but("parameters", "rate", to=10**19), "parameters"),
        "a huge fraction as parameter": (but("parameters", "rate", to=-1.5e18), "parameters"),
        "85,000 keys": (
            json.dumps({f"k{n}": 0 for n in range(85_000)}, separators=(",", ":")).encode(),
            "an object of 85,000 keys",
        ),
        "a later environment": (but("env", to="compress_gym/ChannelPrune-v99"), "later"),
        "a later task": (but("origins", "digits-cnn", "task_version", to=1000), "later"),
        "a huge value": (but("results", 0, "strategy", first, to=10**18), "strategy"),
        "an endless integer": (text.replace(": 50,", f": {'9' * 5000},", 1).encode(), "characters"),
        "an overflowing float": (text.replace(": 2.5,", ": 1e999,", 1).encode(), "too large"),
        "NaN": (text.replace(": 2.5,", ": NaN,", 1).encode(), "no number"),
        "negative infinity": (text.replace(": 2.5,", ": -Infinity,", 1).encode(), "no number"),
        "negative seconds": (but("results", 0, "wall_seconds", to=-1), "wall_seconds"),
        "accuracy above 1": (but("results", 0, "validation_accuracy", to=1.01), "validation_accuracy"),
        "a number as text": (but("results", 0, "evaluations", to="50"), "evaluations"),
        "a key twice": (text.replace("{", '{"name": "other", ', 1).encode(), "more than once"),
        "a decision twice": (text.replace(f'{{"{first}"', f'{{"{first}": 8, "{first}"', 1).encode(), "more than once"),
        "a seed twice": (but("results", 1, "seed", to=0), "given twice"),
        "a seed that is not asked for": (but("results", 1, "seed", to=7), "not part of the track"),
        "a task that is not asked for": (but("results", 1, "task", to="cifar10-resnet20"), "not part of the track"),
        "an unknown track": (but("track", to="olympics"), "not known"),
        "another environment": (but("env", to="compress_gym/JointPQ-v0"), "the track's is"),
        "another device": (but("origins", "digits-cnn", "device", to="xeon-ort-fp32"), "device"),
        "origin of a foreign task": (but("origins", "other", to=good["origins"]["digits-cnn"]), "no task of the track"),
        "long text": (but("authors", 0, to="a" * 301), "authors"),
        "many authors": (but("authors", to=["a"] * 21), "authors"),
        "no results": (but("results", to=[]), "results"),
        "deep lists": (b"[" * 100_000, "nested"),
        "deep objects": (b'{"a":' * 100_000, "nested"),
        "laughs": (json.dumps({"a": _laughs(20)}).encode(), "nested"),
        "too large": (b" " * 1_000_001, "larger"),
        "empty": (b"", "not JSON"),
        "a list": (b"[]", "the file"),
        "a number": (b"1", "the file"),
        "cut": (text.encode()[:-20], "not JSON"),
        "something after": (text.encode() + b"{}", "not JSON"),
        "no UTF-8": (b"\xff\xfe" + text.encode(), "UTF-8"),
        "a pickle": (b"\x80\x04\x95\x00\x00.", "UTF-8"),
        "YAML": (b"!!python/object/apply:os.system ['true']", "not JSON"),
    }


def _laughs(levels: int) -> Any:
    """Lists of lists of one object: a billion laughs as far as JSON can write them."""
    value: Any = "lol"
    for _ in range(levels):
        value = [value, "lol"]
    return value
