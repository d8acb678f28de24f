"""Runs the checks of a lab and says in words what is not right yet. Leave this cell as it is."""

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


class NotYet(Exception):
    """What is not right yet; notebooks show the words alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


for _package in ("compress_gym", "matplotlib", "onnx", "onnxruntime", "sacrebleu", "scipy", "tokenizers", "torch"):
    if find_spec(_package) is None:
        raise NotYet(f"{_package} is not installed. Run in a terminal: pip install 'compress_gym[labs]'")


def run_check(check: Callable[..., str | None]) -> None:
    """Calls a check with the notebook's variables of its arguments' names; it returns what is wrong, or `None`."""
    notebook: dict[str, Any] = check.__globals__
    names = list(inspect.signature(check).parameters)
    missing = [name for name in names if name not in notebook]
    if missing:
        raise NotYet(
            f"there is no {' and no '.join(f'`{name}`' for name in missing)}. Write the exercise above and run the "
            "cells in order, from the first one on (Run > Run All Above Selected Cell)."
        )
    try:
        wrong = check(*(notebook[name] for name in names))
    except NotImplementedError as error:
        raise NotYet(f"an exercise is not written yet ({error}).") from None
    if wrong:
        raise NotYet(wrong)
    print(f"Right. {check.__doc__}")
