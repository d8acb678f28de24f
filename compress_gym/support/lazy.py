"""Objects named by strings, imported when they are needed: what lies above a module, or needs an extra."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from compress_gym.support.errors import missing_extra

# Module of an optional dependency to its package and the extra that brings it.
OPTIONAL = {
    "torch": ("torch", "live"),
    "safetensors": ("safetensors", "live"),
    "sklearn": ("scikit-learn", "live"),
    "pooch": ("pooch", "live"),
    "filelock": ("filelock", "live"),
    "scipy": ("scipy", "live"),
    "onnx": ("onnx", "devices"),
    "onnxruntime": ("onnxruntime", "devices"),
    "onnxscript": ("onnxscript", "devices"),
    "yaml": ("pyyaml", "devices"),
    "tokenizers": ("tokenizers", "translation"),
    "sacrebleu": ("sacrebleu", "translation"),
    "matplotlib": ("matplotlib", "render"),
}


def load(entry: str, folder: Path | None = None) -> Any:
    """Imports a module and returns what it calls by a name, as entry points do.

    Args:
        entry: `package.module:name`; the name may have dots. Or, where a folder is given, `file.py:name` in it.
        folder: Where files are looked for.

    Raises:
        ValueError: The entry has another form, or there is no such module or file, or nothing in it of that name.
        ImportError: The module needs a package that is not installed; the message says what installs it.
    """
    path, _, name = entry.partition(":")
    if path.endswith(".py") and folder is not None and name.isidentifier():
        found: Any = _from_file(folder / path)
    elif all(part.isidentifier() for text in (path, name) for part in text.split(".")):
        found = _module(entry, path)
    else:
        raise ValueError(f"entry={entry!r} must have the form 'package.module:name'")
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"entry={entry!r}: module {path!r} has no {name!r}")
        found = getattr(found, part)
    return found


def _module(entry: str, path: str) -> Any:
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        lacking = str(error.name)
        if f"{path}.".startswith(f"{lacking}."):
            raise ValueError(f"entry={entry!r}: there is no module {lacking!r}") from error
        package, extra = OPTIONAL.get(lacking.partition(".")[0], (lacking, ""))
        if not extra:
            raise ImportError(f"{entry!r} needs {lacking}, which is not installed") from error
        raise missing_extra(package, extra, repr(entry)) from error


def _from_file(path: Path) -> Any:
    """Imports a file under a name of its own, once as long as it is the same; it can import files beside it."""
    if not path.exists():
        raise ValueError(f"{path}: the file is missing")
    name, version = f"compress_gym_own_{path.resolve().as_posix().encode().hex()}", path.stat().st_mtime_ns
    if name in sys.modules and vars(sys.modules[name])["__version_ns__"] == version:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    vars(module)["__version_ns__"] = version
    sys.modules[name] = module  # its classes are pickled by this name
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module
