"""Long measurements in pieces on disk: killed at any moment, they go on where they were."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from compress_gym.support.cards import read_json, write_atomically


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Marks a folder of pieces with what they belong to.

    Raises:
        ValueError: The folder holds pieces of another measurement, which are never mixed in.
    """
    mark, text = folder / "identity.json", json.dumps(identity, indent=1)
    if not mark.exists():
        write_atomically(mark, lambda p: p.write_text(text))
        return
    there, wanted = read_json(mark), json.loads(text)
    differing = sorted(key for key in there.keys() | wanted.keys() if there.get(key) != wanted.get(key))
    if differing:
        raise ValueError(
            f"{folder} holds pieces of another measurement (other: {', '.join(differing)}); remove the folder, or "
            "choose another by --out or --work"
        )


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes one piece; it is there whole or not at all."""
    write_atomically(path, lambda p: np.save(p, array, allow_pickle=False))


def load_arrays(paths: list[Path], axis: int) -> np.ndarray:
    """Reads pieces and joins them."""
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths], axis=axis)


def end_with_parent() -> None:
    """Ends this spawned worker process when its parent is gone: a killed parent cannot tell its workers to stop."""
    began_in = multiprocessing.parent_process()
    parent = os.getppid() if began_in is None else began_in.pid  # it may be gone already

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
