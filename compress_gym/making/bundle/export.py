"""Writes a bundle: the ONNX operations and networks of a task, and a script that measures them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import track

from compress_gym.making.profile.networks import network_files
from compress_gym.making.profile.onnx_runtime import operation_model
from compress_gym.making.profile.plan import ProfilePlan, contents, contents_digest
from compress_gym.support.cards import write_atomically
from compress_gym.tasks import Task

RUNNER = Path(__file__).with_name("runner.py")


def export_bundle(task: Task, plan: ProfilePlan, out: Path) -> Path:
    """Writes a zip with everything that a device needs to be measured, and returns its path.

    Raises:
        ValueError: The plan is for another runtime than ONNX Runtime on the processor.
    """
    if plan.runtime != "onnxruntime" or plan.cuda:
        raise ValueError("--export writes ONNX models; it needs --runtime onnxruntime without --cuda")
    operations, strategies = contents([task], plan, with_layout=True)

    def write(temporary: Path) -> None:
        items: list[dict[str, Any]] = []
        with TemporaryDirectory() as folder, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as bundle:
            for number, operation in enumerate(track(operations, description="writing operations")):
                items.append({"name": str(operation), "file": f"operations/{number:05d}.onnx"})
                bundle.writestr(items[-1]["file"], operation_model(operation))
            for number, model in enumerate(network_files(task, strategies[task.name], plan, Path(folder))):
                items.append({"name": f"network {number}", "file": f"networks/{number:03d}.onnx"})
                bundle.write(model, items[-1]["file"])
            digest = contents_digest(operations, strategies)
            manifest = {"bundle": digest, "task": task.name, "plan": asdict(plan), "items": items}
            bundle.writestr("manifest.json", json.dumps(manifest, indent=1))
            bundle.write(RUNNER, "run.py")

    write_atomically(out, write)
    return out
