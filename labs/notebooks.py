"""Labs: from a source (jupytext, py:percent) to the student's notebook and the teacher's.

In a source, what stands between `### BEGIN SOLUTION` and `### END SOLUTION` (nbgrader's marks) is removed from the
student's notebook, as are cells tagged `teacher`. A cell that begins with `# Check 1.2 (3 points): ...` is a check.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compress_gym.support.errors import missing_extra

try:
    import jupytext
    import nbformat
    from nbformat import NotebookNode
except ModuleNotFoundError as error:
    raise missing_extra(str(error.name), "labs", "a lab's notebook") from error

FOLDER = Path(__file__).parent
SOURCES, CHECKING = FOLDER / "sources", FOLDER / "checking.py"
VERSIONS = ("student", "teacher")
CHECK = re.compile(r"# Check (?P<name>(?P<lab>\d+)\.\d+) \((?P<points>\d+) points?\): ")
_SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", flags=re.M | re.S)
_IMPORT, _CALL = "from labs.checking import run_check", re.compile(r"^run_check\((\w+)\)$", flags=re.M)
# A check that is run first must say so in words, too: nothing but this line is there then.
_GUARDED = r'run_check(\1) if "run_check" in globals() else print("Run the cells in order, from the first one on.")'


@dataclass(frozen=True)
class Check:
    """A check of a lab.

    Attributes:
        name: `1.2`: the lab, and which of its checks.
        points: What it is worth.
        source: The cell.
    """

    name: str
    points: int
    source: str


@dataclass(frozen=True)
class Lab:
    """A lab by its source.

    Attributes:
        path: Of the source, `lab1_some_name.py`.
    """

    path: Path

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.stem

    @cached_property
    def teacher(self) -> NotebookNode:
        """The teacher's notebook: all of the source, without outputs."""
        notebook = jupytext.read(self.path, fmt="py:percent")
        for number, cell in enumerate(notebook.cells):
            cell.id = f"{self.name.partition('_')[0]}-{number:02}"
            cell.metadata = NotebookNode(tags=cell.metadata.tags) if "tags" in cell.metadata else NotebookNode()
            if cell.source == _IMPORT:
                cell.source = CHECKING.read_text(encoding="utf-8").rstrip()
                cell.metadata["jupyter"] = NotebookNode(source_hidden=True)  # folded in JupyterLab
            if CHECK.match(cell.source):
                cell.source = _CALL.sub(_GUARDED, cell.source)
        # What jupytext says of itself would change with its releases.
        notebook.metadata = NotebookNode(
            kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3"),
            language_info=NotebookNode(name="python"),
            compress_gym=NotebookNode(lab=self.name),
        )
        notebook.nbformat, notebook.nbformat_minor = 4, 5
        return notebook

    @cached_property
    def student(self) -> NotebookNode:
        """The student's notebook: without solutions and the cells for teachers."""
        notebook = deepcopy(self.teacher)
        notebook.cells = [cell for cell in notebook.cells if "teacher" not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            cell.source = _SOLUTION.sub(r'\1raise NotImplementedError("write your answer here")', cell.source)
        return notebook

    @cached_property
    def checks(self) -> dict[str, Check]:
        """Name of a check to the check, in order."""
        found = {}
        for cell in self.teacher.cells:
            if match := CHECK.match(cell.source):
                found[match["name"]] = Check(match["name"], int(match["points"]), cell.source)
        return found

    def text(self, version: str) -> str:
        """Returns the file of the `student` or `teacher` version."""
        return str(nbformat.writes(getattr(self, version))) + "\n"


def all_labs() -> dict[str, Lab]:
    """Returns lab name to lab, in order."""
    return {path.stem: Lab(path) for path in sorted(SOURCES.glob("lab*.py"))}


def lab_of(notebook: NotebookNode) -> Lab | None:
    """Returns the lab that a notebook was handed out as: by its metadata, or by its checks where a tool lost them."""
    labs = all_labs()
    named = notebook.metadata.get("compress_gym", {}).get("lab")
    if named in labs:
        return labs[named]
    numbers = [match["lab"] for cell in notebook.cells if (match := CHECK.match(cell.source))]
    return next((lab for lab in labs.values() if numbers and lab.name.startswith(f"lab{numbers[0]}_")), None)
