"""Entry points as strings: what is named by `module:name` is imported when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from compress_gym.support.errors import missing_extra


def load(entry: str, folder: Path | None = None, extra: str = "live") -> Any:
    """Returns what an entry point names.

    Args:
        entry: `package.module:name`, or `file.py:name` below a folder.
        folder: Where files are looked for.
        extra: Which extra brings the libraries that may be missing.

    Raises:
        ValueError: The entry point is not of that form, or the module or file lacks the name.
        ImportError: The module, or a library that it needs, is not installed.
    """
    source, _, name = entry.partition(":")
    if not source or not name.isidentifier():
        raise ValueError(f"entry={entry!r} must be 'package.module:name' or 'file.py:name'")
    if source.endswith(".py"):
        module = _from_file((folder or Path()) / source)
    else:
        try:
            module = import_module(source)
        except ModuleNotFoundError as error:
            if error.name and (source == error.name or source.startswith(f"{error.name}.")):
                raise ImportError(f"entry={entry!r}: there is no module {error.name!r}") from error
            raise missing_extra(str(error.name), extra, f"{entry!r}") from error
    if not hasattr(module, name):
        raise ValueError(f"entry={entry!r}: {source} has no {name!r}")
    return getattr(module, name)


def _from_file(path: Path) -> Any:
    """Imports a file under a name of its own, once in a process; files beside it can be imported by it."""
    if not path.exists():
        raise ValueError(f"{path}: the file is missing")
    name = f"compress_gym_user_{abs(hash(str(path.resolve())))}"
    if name in sys.modules and getattr(sys.modules[name], "__mtime__", None) == path.stat().st_mtime_ns:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    vars(module)["__mtime__"] = path.stat().st_mtime_ns
    sys.modules[name] = module  # classes of it are pickled by this name
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module
