"""The kinds there are: one file each in `compress_gym/kinds`, and those of other packages."""

from __future__ import annotations

import warnings
from importlib import import_module, metadata
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import gymnasium

from compress_gym.kinds.shared.kind import Kind
from compress_gym.support.errors import unknown_name

if TYPE_CHECKING:
    from compress_gym.kinds.shared.environment import KindEnv

NAMESPACE = "compress_gym/"
PLUGINS = "compress_gym.plugins"
KINDS: dict[str, Kind] = {}


def register_kind(env: type[KindEnv]) -> type[KindEnv]:
    """Registers an environment class, and with it its kind, for every command and `gym.make`.

    Args:
        env: A subclass of `compress_gym.KindEnv` with the attribute `kind`.

    Returns:
        The class, so that this decorates one.

    Raises:
        TypeError: The class has no kind.
        ValueError: Another kind has the id.
    """
    kind = getattr(env, "kind", None)
    if not isinstance(kind, Kind):
        raise TypeError(f"{env!r} must have an attribute `kind`, a compress_gym.Kind")
    if KINDS.get(kind.id, kind) is not kind:
        raise ValueError(f"kind {kind.id!r} exists already; give yours another name")
    KINDS[kind.id] = kind
    gymnasium.register(
        id=f"{NAMESPACE}{kind.id}",
        entry_point=f"{env.__module__}:{env.__qualname__}",
        vector_entry_point=f"compress_gym.kinds.shared.environment:{kind.id}",
    )
    return env


def get_kind(name: str) -> Kind:
    """Returns a kind by its id, with or without the namespace and the version.

    Raises:
        KeyError: There is none; the message names the closest match.
    """
    short = name.removeprefix(NAMESPACE)
    found = KINDS.get(short) or next((kind for kind in KINDS.values() if kind.name == short), None)
    if found is None:
        raise unknown_name("env", name, KINDS)
    return found


def register_shipped() -> None:
    """Registers the kinds of this package: every file beside `shared` that holds one."""
    package = import_module("compress_gym.kinds")
    for name in sorted(f"{package.__name__}.{part.name}" for part in iter_modules(package.__path__) if not part.ispkg):
        for value in vars(import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name and hasattr(value, "kind"):
                register_kind(value)


def load_plugins() -> None:
    """Calls what other packages registered under `compress_gym.plugins`; one that fails is told, the others work."""
    for entry in metadata.entry_points(group=PLUGINS):
        known = set(KINDS)
        try:
            plugin: Any = entry.load()
            plugin()
        except (Exception, SystemExit) as error:  # whatever is wrong with a stranger's package
            for kind in set(KINDS) - known:
                del KINDS[kind], gymnasium.registry[f"{NAMESPACE}{kind}"]
            warnings.warn(
                f"the plugin {entry.name!r} ({entry.value}) of compress_gym does not load and is left out: {error!r}",
                stacklevel=2,
            )
