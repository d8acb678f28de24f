"""Code blocks of Markdown pages: run from top to bottom, or looked through where running them is too expensive.

Languages: `python` and `sh` are run, all of a page in one namespace and one folder; `output` is compared with what
the block before it printed; `pycon` is a doctest; `text` is no code; one with a `title` is saved as that file. A block
that is not run says why in a comment before it, `<!-- not run in tests: it trains for hours -->`; its imports, commands
and options are checked to exist.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from markdown_it import MarkdownIt

from compress_gym.support.home import HOME_VARIABLE

ROOT = Path(__file__).parents[1]
NOT_RUN = re.compile(r"<!-- not run in tests: (.+?) -->", flags=re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
# Commands of Python itself, and the script that lies in a bundle for devices without this package.
OF_PYTHON, OF_A_BUNDLE = ("venv", "pip", "pytest"), "run.py"


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        language: What stands behind the opening fence; "" of an indented block.
        code: The text inside.
        line: Where it starts in the page.
        not_run: Why it is not run; "" where it is.
        title: The file that it is saved as instead of being run; "" where it is none.
    """

    language: str
    code: str
    line: int
    not_run: str = ""
    title: str = ""


def blocks_of(text: str) -> Iterator[Block]:
    """Yields the code blocks of a page."""
    reason = ""
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block"):
            line = token.map[0] + 1 if token.map else 0
            title = TITLE.search(token.info)
            yield Block(token.info.split(" ")[0], token.content, line, reason, title[1] if title else "")
        found = NOT_RUN.search(token.content) if token.type == "html_block" else None
        reason = " ".join(found[1].split()) if found else ""


def run_blocks(text: str, folder: Path) -> None:
    """Runs the blocks of a page from top to bottom in a folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    with _working_in(folder):
        for block in blocks_of(text):
            where = f"line {block.line}"
            if block.title:
                (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
                (folder / block.title).write_text(block.code)
            elif block.not_run:
                look_through(block)
            elif block.language == "python":
                printed = run_python(block, names)
            elif block.language == "sh":
                printed = _run_shell(block.code, folder)
            elif block.language == "pycon":
                _run_doctest(block, where)
            elif block.language == "output":
                assert block.code.split() == printed.split(), f"{where}: what was printed is\n{printed}"
            else:
                assert block.language == "text", f"{where}: a block of language {block.language!r} would not be run"


def run_python(block: Block, names: dict[str, Any]) -> str:
    """Runs a block in a namespace and returns what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.code, f"<line {block.line}>", "exec"), names)
    return printed.getvalue()


def look_through(block: Block) -> None:
    """Checks what can be checked of a block without running it."""
    if block.language == "python":
        imports = [n for n in ast.parse(block.code).body if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), f"<line {block.line}>", "exec"), {})
        return
    assert block.language in ("sh", ""), block
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            check_command(words[:end])
            words = words[end + 1 :]


def check_command(words: Sequence[str]) -> None:
    """Checks that a command, its sub-command and its options exist.

    Raises:
        AssertionError: They do not.
        click.UsageError: An option does not.
    """
    program, *arguments = Path(words[0]).name, *words[1:]
    if program.startswith("python") and arguments[0] == "-m":
        module, *arguments = arguments[1:]
        if module not in OF_PYTHON:
            _check_options(_command_of(module), arguments)
    elif program.startswith("python") and arguments[0] != "-c":
        assert arguments[0] == OF_A_BUNDLE or (ROOT / arguments[0]).exists(), f"{arguments[0]} is not there"
    elif program == "compress-gym":
        _check_options(_command_of("compress_gym.cli"), arguments)
    elif program == "make":
        for target in (a for a in arguments if "=" not in a):
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    elif program == "pip":
        offered = (ROOT / "pyproject.toml").read_text()
        for extra in re.findall(r"\[(\w+)\]", " ".join(arguments)):
            assert re.search(rf"^{extra} = \[", offered, re.MULTILINE), f"there is no extra {extra!r}"
    else:
        assert program in ("unzip", "tensorboard", "git", "cd") or shutil.which(program), f"{program!r} is not known"


def _command_of(module: str) -> click.Command:
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module!r}"
    loaded = import_module(f"{module}.__main__" if spec.submodule_search_locations else module)
    commands = [found for name in ("main", "cli") if isinstance(found := getattr(loaded, name, None), click.Command)]
    assert commands, f"{module!r} has no command"
    return commands[0]


def _check_options(command: click.Command, arguments: Sequence[str]) -> None:
    arguments = list(arguments)
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"{command.name} has no command {arguments[0]!r}"
        return _check_options(command.commands[arguments[0]], arguments[1:])
    context = click.Context(command)
    given, left, order = command.make_parser(context).parse_args(arguments)
    assert not left or isinstance(command, click.Group), f"{command.name} takes no {left}"
    for parameter in order:
        if isinstance(parameter.type, click.Choice) and isinstance(given[str(parameter.name)], str):
            parameter.type.convert(given[str(parameter.name)], parameter, context)


def _run_shell(code: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, f"{code}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def _run_doctest(block: Block, where: str) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, {}, where, None, block.line)
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert not told, "".join(told)


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Works in a folder, which holds the user's own tasks and devices, too."""
    before, home = Path.cwd(), os.environ.get(HOME_VARIABLE)
    os.chdir(folder)
    os.environ[HOME_VARIABLE] = str(folder / "home")
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop(HOME_VARIABLE)
        os.environ.update({} if home is None else {HOME_VARIABLE: home})
