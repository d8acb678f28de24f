"""Objects named by strings, imported when they are needed: what lies above a module, or needs an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from compress_gym.support.errors import missing_extra

# Module of an optional dependency to its package and the extra that brings it.
OPTIONAL = {
    "torch": ("torch", "live"),
    "safetensors": ("safetensors", "live"),
    "sklearn": ("scikit-learn", "live"),
    "pooch": ("pooch", "live"),
    "filelock": ("filelock", "live"),
    "onnx": ("onnx", "devices"),
    "onnxruntime": ("onnxruntime", "devices"),
    "onnxscript": ("onnxscript", "devices"),
    "scipy": ("scipy", "devices"),
    "yaml": ("pyyaml", "devices"),
    "tokenizers": ("tokenizers", "translation"),
    "sacrebleu": ("sacrebleu", "translation"),
    "matplotlib": ("matplotlib", "render"),
}


def load(entry: str) -> Any:
    """Imports a module and returns what it calls by a name, as entry points do.

    Args:
        entry: `package.module:name`; the name may have dots.

    Raises:
        ValueError: The entry has another form, or there is no such module, or nothing in it of that name.
        ImportError: The module needs a package that is not installed; the message says what installs it.
    """
    path, _, name = entry.partition(":")
    if not all(part.isidentifier() for text in (path, name) for part in text.split(".")):
        raise ValueError(f"entry={entry!r} must have the form 'package.module:name'")
    try:
        found: Any = import_module(path)
    except ModuleNotFoundError as error:
        lacking = str(error.name)
        if f"{path}.".startswith(f"{lacking}."):
            raise ValueError(f"entry={entry!r}: there is no module {lacking!r}") from error
        package, extra = OPTIONAL.get(lacking.partition(".")[0], (lacking, ""))
        if not extra:
            raise ImportError(f"{entry!r} needs {lacking}, which is not installed") from error
        raise missing_extra(package, extra, repr(entry)) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"entry={entry!r}: module {path!r} has no {name!r}")
        found = getattr(found, part)
    return found
