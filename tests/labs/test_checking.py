"""The runner of checks says in words what is missing, not written, or wrong."""

from __future__ import annotations

import types

import pytest

from labs.checking import NotYet, run_check
from labs.notebooks import CHECKING


def check(answer):
    """The answer is 42."""
    if answer() != 42:
        return f"the answer is not {answer()}."


def in_notebook(**variables):
    """The check as a notebook's cell with these variables would define it."""
    return types.FunctionType(check.__code__, variables)


def not_written():
    raise NotImplementedError("write your answer here")


@pytest.mark.parametrize(
    "variables, words",
    [
        ({}, "there is no `answer`. Write the exercise above and run the cells in order"),
        ({"answer": not_written}, "an exercise is not written yet"),
        ({"answer": lambda: 41}, "the answer is not 41."),
    ],
)
def test_what_is_not_right_is_said_without_a_traceback(variables, words):
    with pytest.raises(NotYet, match=words) as raised:
        run_check(in_notebook(**variables))
    (shown,) = raised.value._render_traceback_()
    assert shown == f"Not yet: {raised.value}"


def test_what_is_right_is_said(capsys):
    named = in_notebook(answer=lambda: 42)
    named.__doc__ = check.__doc__
    run_check(named)
    assert capsys.readouterr().out == "Right. The answer is 42.\n"


def test_errors_of_the_students_own_code_are_shown_as_they_are():
    with pytest.raises(ZeroDivisionError):
        run_check(in_notebook(answer=lambda: 1 / 0))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(Exception, match=r"onnxruntime is not installed. .* pip install 'compress_gym\[labs\]'"):
        exec(CHECKING.read_text(encoding="utf-8"), {"__name__": "notebook"})
