"""How every command of the project ends: bad input is one clear line and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import sys
from typing import NoReturn

import click
import gymnasium


def run_command(command: click.Command, name: str) -> NoReturn:
    """Runs a click command and exits."""
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(name, error.format_message())
    except OSError as error:
        _fail(name, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, KeyError, ImportError, gymnasium.error.Error) as error:
        _fail(name, str(error.args[0]) if error.args else repr(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(name: str, message: str) -> NoReturn:
    click.echo(f"{name}: error: {' '.join(message.split())}", err=True)
    sys.exit(2)
