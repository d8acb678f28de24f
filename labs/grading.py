"""Grades one notebook: run from its first cell to its last in a process of its own, with the original checks."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress_gym.support.errors import missing_extra

try:
    import ipykernel  # noqa: F401  (the process that a notebook runs in)
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbformat import NotebookNode
except ModuleNotFoundError as error:
    raise missing_extra(str(error.name), "labs", "grading") from error

from labs.notebooks import CHECK, CHECKING, Lab, lab_of

NOT_RUN = "not run"


@dataclass(frozen=True)
class Grade:
    """What a notebook is worth.

    Attributes:
        status: `graded`; `time limit` or `crashed` (what was reached counts); `unreadable` or `no lab` (nothing was
            run); the first remark says more.
        lab: Name of the lab; "" if there is none.
        points: What the checks that passed are worth.
        possible: What all of the lab's checks are worth.
        changed: Names of the checks that the notebook lacks or has in another form. The originals were run.
        remarks: What is wrong, in words.
    """

    status: str = "graded"
    lab: str = ""
    points: int = 0
    possible: int = 0
    changed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def grade(path: Path, seconds: float) -> Grade:
    """Grades a notebook; what it does is its own fault and never raises.

    Args:
        path: Of the notebook.
        seconds: Time limit of the whole notebook.
    """
    token = secrets.token_hex(16)
    try:
        notebook = nbformat.read(path, as_version=4)
        lab = lab_of(notebook)
        cells, changed = with_original_checks(notebook, lab, token) if lab else ([], [])
    except Exception as error:  # a stranger's file can be broken in many ways
        what = " ".join(f"no notebook can be read from it ({error})".split())[:200]
        return Grade("unreadable", remarks=("the file is empty" if not path.stat().st_size else what,))
    if lab is None:
        return Grade("no lab", remarks=("neither its metadata nor a check says which lab it is",))
    status, remarks, found = _run(cells, token, seconds)
    if changed:
        remarks.insert(0, f"checks changed or removed (the originals were run): {', '.join(changed)}")
    wrong = {name: words for name in lab.checks if (words := found.get(name, NOT_RUN)) is not None}
    remarks += [f"{name}: {words}" for name, words in wrong.items()]
    points = sum(check.points for name, check in lab.checks.items() if name not in wrong)
    possible = sum(check.points for check in lab.checks.values())
    return Grade(status, lab.name, points, possible, tuple(changed), tuple(remarks))


def with_original_checks(notebook: NotebookNode, lab: Lab, token: str) -> tuple[list[NotebookNode], list[str]]:
    """Puts the original checks back, each with its runner, so that nothing defined in between counts.

    Args:
        notebook: The student's; checks are known by their first line.
        lab: Has the originals.
        token: Printed by a check that passed, and by nothing that could be written before.

    Returns:
        The code cells to run, and the names of the checks that were changed or are missing (run at the end).
    """
    runner = CHECKING.read_text(encoding="utf-8")
    cells, seen, changed = [], set[str](), list[str]()

    def original(name: str) -> NotebookNode:
        # The runner comes just before the call, which is the check's last line.
        body, _, call = lab.checks[name].source.rpartition("\n")
        return nbformat.v4.new_code_cell(f'{body}\n\n{runner}\n{call}\nprint("{token}")', metadata={"check": name})

    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        match = CHECK.match(cell.source)
        name = match["name"] if match else ""
        if name not in lab.checks or name in seen:
            cells.append(nbformat.v4.new_code_cell(cell.source))
            continue
        seen.add(name)
        if cell.source.strip() != lab.checks[name].source.strip():
            changed.append(name)
        cells.append(original(name))
    missing = [name for name in lab.checks if name not in seen]
    return cells + [original(name) for name in missing], changed + missing


class _Client(NotebookClient):
    """Keeps of the cell that is run its error and the end of what it prints: a loop may print for ever."""

    wrong: str | None
    printed: str

    def output(self, outs: Any, msg: Any, display_id: Any, cell_index: Any) -> None:
        """Takes a message of the running process."""
        content = msg["content"]
        if msg["msg_type"] == "error":
            words = " ".join(content["evalue"].split())
            self.wrong = words if content["ename"] == "NotYet" else f"{content['ename']}: {words}"
        elif msg["msg_type"] == "stream" and content["name"] == "stdout":
            self.printed = (self.printed + content["text"])[-1000:]


def _run(cells: list[NotebookNode], token: str, seconds: float) -> tuple[str, list[str], dict[str, str | None]]:
    """Runs cells until the end, the time limit or a crash.

    Returns:
        The status, remarks on it, and name of a check that was run to what is wrong, `None` if it passed.
    """
    found: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = _Client(
            nbformat.v4.new_notebook(cells=cells),
            kernel_name="python3",
            allow_errors=True,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": folder}},
        )
        environment = {**os.environ, "IPYTHONDIR": folder, "MPLBACKEND": "agg"}
        with client.setup_kernel(env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            ends = time.monotonic() + seconds
            for number, cell in enumerate(cells):
                client.wrong, client.printed = None, ""
                client.timeout = max(1, round(ends - time.monotonic()))
                try:
                    client.execute_cell(cell, number)
                except CellTimeoutError:
                    return "time limit", [f"stopped after {seconds:.0f} s in: {_first_line(cell)}"], found
                except DeadKernelError:
                    return "crashed", [f"Python itself ended in: {_first_line(cell)}"], found
                if name := cell.metadata.get("check"):
                    passed = token in client.printed.splitlines()  # not where an error quotes this cell
                    found[name] = client.wrong or (None if passed else "it ended without a result")
    return "graded", [], found


def _first_line(cell: NotebookNode) -> str:
    return next((line.strip() for line in cell.source.splitlines() if line.strip()), "an empty cell")[:80]
