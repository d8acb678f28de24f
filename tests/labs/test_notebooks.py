"""Notebooks are in step with their sources; students' lack the solutions; every check is one that can be graded."""

from __future__ import annotations

import re

import nbformat
import pytest

from labs.build import cli
from labs.notebooks import FOLDER, VERSIONS, all_labs, lab_of
from tests.helpers import run_here

LABS = all_labs()
each_lab = pytest.mark.parametrize("lab", LABS.values(), ids=LABS)


@each_lab
@pytest.mark.parametrize("version", VERSIONS)
def test_notebooks_are_in_step_with_their_source(lab, version):
    path = FOLDER / version / f"{lab.name}.ipynb"
    assert path.read_text(encoding="utf-8") == lab.text(version), "run: make labs"
    nbformat.validate(nbformat.reads(lab.text(version), as_version=4))


def test_nothing_else_lies_there():
    for version in VERSIONS:
        assert sorted(path.stem for path in (FOLDER / version).glob("*.ipynb")) == list(LABS)


@each_lab
def test_the_students_version_lacks_solutions_and_notes_for_teachers(lab):
    sources = [cell.source for cell in lab.student.cells]
    solutions = re.findall(r"### BEGIN SOLUTION\n(.*?) *### END SOLUTION", lab.path.read_text(), flags=re.S)
    assert len(solutions) == sum("raise NotImplementedError(" in source for source in sources)
    for solution in solutions:
        assert not any(solution in source for source in sources)
    assert not any("SOLUTION" in source or "For teachers" in source for source in sources)
    assert any("For teachers" in cell.source for cell in lab.teacher.cells)


@each_lab
def test_checks_are_numbered_and_guarded(lab):
    number = lab.name[len("lab") :].partition("_")[0]
    assert list(lab.checks) == [f"{number}.{n + 1}" for n in range(len(lab.checks))]
    for check in lab.checks.values():
        assert "labs." not in check.source  # students' computers do not have this folder
        assert check.source.splitlines()[-1].endswith('else print("Run the cells in order, from the first one on.")')


@each_lab
def test_a_check_that_is_run_first_says_so(lab, capsys):
    for check in lab.checks.values():
        exec(check.source, {})
        assert capsys.readouterr().out == "Run the cells in order, from the first one on.\n"


@each_lab
def test_the_lab_is_known_even_where_a_tool_lost_the_metadata(lab):
    notebook = nbformat.reads(lab.text("student"), as_version=4)
    assert lab_of(notebook) == lab
    notebook.metadata = {}
    assert lab_of(notebook) == lab
    notebook.cells = notebook.cells[:2]
    assert lab_of(notebook) is None


def test_the_command_writes_them(tmp_path, monkeypatch, capsys):
    code, out, _ = run_here(cli, ["--out", tmp_path / "für alle"], monkeypatch, capsys)
    assert code == 0 and out.count("written to") == 2 * len(LABS)
    for path in (tmp_path / "für alle").rglob("*.ipynb"):
        assert path.read_bytes() == (FOLDER / path.relative_to(tmp_path / "für alle")).read_bytes()
