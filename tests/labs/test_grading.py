"""Grading a class: every notebook in a process of its own, what is broken is told and not fatal."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labs.grade import COLUMNS, cli
from labs.grading import grade
from labs.notebooks import Lab, all_labs
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]
LABS = all_labs()
SOURCE = '''# %%
from labs.checking import run_check

# %%
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %%
# Check 9.1 (2 points): double
def check_double(double):
    """Doubled."""
    if double(2) != 4:
        return f"twice 2 is 4, not {double(2)}."


run_check(check_double)

# %%
word = ""
### BEGIN SOLUTION
word = "grün"
### END SOLUTION

# %%
# Check 9.2 (3 points): word
def check_word(word):
    """A word."""
    if word != "grün":
        return "another colour."


run_check(check_word)
'''


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The only lab there is."""
    path = tmp_path / "sources" / "lab9_tiny.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr("labs.notebooks.SOURCES", path.parent)
    return Lab(path)


def handed_in(lab, path, version="teacher", **cells):
    """Writes a notebook with some cells replaced: `cell3="..."`."""
    notebook = nbformat.reads(lab.text(version), as_version=4)
    for name, source in cells.items():
        notebook.cells[int(name[len("cell") :])].source = source
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def rows_of(text):
    return {row["file"]: tuple(row[c] for c in COLUMNS[1:]) for row in csv.DictReader(text.splitlines())}


def test_a_class_of_prepared_cases(lab, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "Übung 1"
    handed_in(lab, folder / "Müller Änne" / "lab 1.ipynb")
    handed_in(lab, folder / "wrong.ipynb", cell1="def double(x):\n    return x + 3")
    (folder / "empty.ipynb").touch()
    handed_in(lab, folder / "loop.ipynb", cell3="while True:\n    print('for ever')")
    handed_in(lab, folder / "crash.ipynb", cell1="import os\nos._exit(3)")
    tampered = {"cell1": "double = None", "cell2": "# Check 9.1 (2 points): double\nprint('Right.')"}
    handed_in(lab, folder / "tampered.ipynb", **tampered)
    (folder / "report.pdf").write_bytes(b"%PDF")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "wrong-checkpoint.ipynb").touch()

    out = tmp_path / "grades.csv"
    code, _, err = run_here(cli, [folder, "--out", out, "--seconds", "8"], monkeypatch, capsys)
    assert code == 0 and "6 notebooks graded; 1 other files left alone, the first: report.pdf" in err
    assert out.read_bytes().startswith(b"\xef\xbb\xbffile,lab")
    assert rows_of(out.read_text(encoding="utf-8-sig")) == {
        "Müller Änne/lab 1.ipynb": ("lab9_tiny", "5", "5", "graded", "", ""),
        "wrong.ipynb": ("lab9_tiny", "3", "5", "graded", "", "9.1: twice 2 is 4, not 5."),
        "empty.ipynb": ("", "0", "0", "unreadable", "", "the file is empty"),
        "loop.ipynb": ("lab9_tiny", "2", "5", "time limit", "", "stopped after 8 s in: while True:; 9.2: not run"),
        "crash.ipynb": (
            "lab9_tiny",
            "0",
            "5",
            "crashed",
            "",
            "Python itself ended in: import os; 9.1: not run; 9.2: not run",
        ),
        "tampered.ipynb": (
            "lab9_tiny",
            "3",
            "5",
            "graded",
            "9.1",
            "checks changed or removed (the originals were run): 9.1; "
            "9.1: TypeError: 'NoneType' object is not callable",
        ),
    }


def test_ways_to_cheat_do_not_count(lab, tmp_path):
    fakes = [
        "run_check = print",
        "import builtins\nrun_check = lambda check: None\nbuiltins.NotYet = type('NotYet', (Exception,), {})",
        "get_ipython().set_custom_exc((Exception,), lambda *told: None)",
        "import sys, atexit\nsys.excepthook = print",
    ]
    for fake in fakes:
        handed_in(lab, tmp_path / "a.ipynb", cell1=f"{fake}\ndouble = abs", cell3="word = 'rot'")
        assert grade(tmp_path / "a.ipynb", 60).points == 0


def test_removed_and_doubled_checks_are_run_once(lab, tmp_path):
    notebook = nbformat.reads(lab.text("teacher"), as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(notebook.cells[2].source + "\nprint('mine')"))
    del notebook.cells[4]
    nbformat.write(notebook, tmp_path / "a.ipynb")
    result = grade(tmp_path / "a.ipynb", 60)
    assert (result.points, result.changed) == (5, ("9.2",))


def test_a_notebook_that_only_works_out_of_order_is_told_so(lab, tmp_path):
    notebook = nbformat.reads(lab.text("teacher"), as_version=4)
    notebook.cells.append(notebook.cells.pop(1))
    nbformat.write(notebook, tmp_path / "a.ipynb")
    result = grade(tmp_path / "a.ipynb", 60)
    assert result.points == 3
    assert "9.1: there is no `double`. Write the exercise above and run the cells in order" in result.remarks[0]


@pytest.mark.parametrize(
    "text, status, words",
    [
        ("{", "unreadable", "no notebook can be read from it"),
        ("[1]", "unreadable", "no notebook can be read from it"),
        ('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "no lab", "which lab it is"),
        (
            '{"cells": [{"cell_type": "code"}, 7], "metadata": 3, "nbformat": 4, "nbformat_minor": 5}',
            "unreadable",
            "no",
        ),
        ('{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "unreadable", "no notebook"),
    ],
)
def test_strange_files_are_told(text, status, words, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    result = grade(path, 60)
    assert result.status == status and words in result.remarks[0]


def test_a_students_text_is_no_formula(lab, tmp_path, monkeypatch, capsys):
    handed_in(lab, tmp_path / "class" / "=1+1.ipynb", cell1="double = lambda x: '=2'")
    code, out, _ = run_here(cli, [tmp_path / "class"], monkeypatch, capsys)
    (row,) = csv.DictReader(out.splitlines())
    assert code == 0 and row["file"] == "'=1+1.ipynb" and row["points"] == "3"


def test_a_folder_without_notebooks_is_told(tmp_path, monkeypatch, capsys):
    code, _, err = run_here(cli, [tmp_path], monkeypatch, capsys)
    assert code == 2 and err.count("\n") == 1 and "holds no notebook (a file ending in .ipynb)" in err


@pytest.mark.parametrize("command", ["grade", "build"])
def test_a_missing_extra_is_told(command, tmp_path):
    (tmp_path / "a.ipynb").touch()
    (tmp_path / "nbformat.py").write_text("raise ModuleNotFoundError(name='nbformat')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from compress_gym.support.commands import run_command; "
        f"from labs.{command} import cli; run_command(cli, 'labs')"
    )
    arguments = [str(tmp_path)] if command == "grade" else []
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "needs nbformat; install it with: pip install 'compress_gym[labs]'" in done.stderr


@pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
def test_the_teachers_version_passes_its_own_checks(lab, tmp_path):
    path = tmp_path / "lab.ipynb"
    path.write_text(lab.text("teacher"), encoding="utf-8")
    result = grade(path, 600)
    assert (result.status, result.changed, result.remarks) == ("graded", (), ())
    assert result.points == result.possible > 0


@pytest.mark.parametrize("lab", LABS.values(), ids=LABS)
def test_the_untouched_students_version_fails_each_check(lab, tmp_path):
    path = tmp_path / "lab.ipynb"
    path.write_text(lab.text("student"), encoding="utf-8")
    result = grade(path, 600)
    assert (result.status, result.changed, result.points) == ("graded", (), 0)
    assert [remark.partition(":")[0] for remark in result.remarks] == list(lab.checks)
    assert all("not written yet" in remark or "there is no `" in remark for remark in result.remarks)
