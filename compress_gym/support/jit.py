"""The one place that says how kernels are compiled.

Most of what a first episode waits for is compiling, and numba takes its time for every function, once it is linked into
another one again. So Python calls few kernels, each of which is compiled when it is first called; what only some
problems need (repairing, skipping, predicting many at once) is a kernel of its own; and what no Python calls is not
given what Python would need to call it.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core import event
from numba.extending import register_jitable
from numpy.typing import NDArray

# What kernels read and write.
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

# All kernels that Python calls, as `jit` returned them.
KERNELS: list[Any] = []
# Seconds of compiling after which somebody may think that the process hangs.
PATIENCE = 2.0
_LOGGER = logging.getLogger(__name__)


def jit(function: Function) -> Function:
    """Compiles a kernel that Python calls, cached on disk where some cache folder is writable.

    No `fastmath`: sums keep their order, so the same strategy always costs the same, bit for bit.
    """
    try:
        compiled = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available", no folder can be written
        compiled = njit(nogil=True)(function)
    KERNELS.append(compiled)
    return cast(Function, compiled)


def within(function: Function) -> Function:
    """Compiles a part of kernels with those that call it; called from Python, it is plain Python."""
    return cast(Function, register_jitable(nogil=True, no_cfunc_wrapper=True)(function))


def inlined(function: Function) -> Function:
    """As `within`, into each of its callers: handing over many arrays would take longer than running it."""
    return cast(Function, register_jitable(nogil=True, forceinline=True, no_cfunc_wrapper=True)(function))


class Progress(event.Listener):
    """Logs one line when kernels have been compiled for longer than `PATIENCE`, so that nobody thinks it hangs.

    It looks at the clock whenever numba begins or ends a function, which is many times in a kernel, so it needs no
    thread and no timer. What other packages compile does not count, and worker processes stay silent. Python shows
    warnings of loggers on stderr unless logging is set up otherwise;
    `logging.getLogger("compress_gym").setLevel(logging.ERROR)` silences this one.
    """

    def __init__(self) -> None:
        """Begins at nothing."""
        self._depth, self._begun, self._seconds, self._told = 0, 0.0, 0.0, False

    def on_start(self, event: event.Event) -> None:
        """Follows a function that begins to be compiled."""
        function = getattr(event.data["dispatcher"], "py_func", None)
        if not self._depth and not getattr(function, "__module__", "").startswith("compress_gym."):
            return
        if not self._depth:
            self._begun = perf_counter()
        self._depth += 1
        self._look()

    def on_end(self, event: event.Event) -> None:
        """Follows a function that is compiled."""
        if not self._depth:
            return
        self._look()
        self._depth -= 1
        if not self._depth:
            self._seconds += perf_counter() - self._begun

    def _look(self) -> None:
        if self._told or self._seconds + perf_counter() - self._begun < PATIENCE:
            return
        self._told = True
        if multiprocessing.parent_process() is None:
            _LOGGER.warning(
                "compress_gym is compiling its kernels, which happens once after it is installed and takes up to half "
                "a minute; `compress-gym warm-up` does it beforehand"
            )


event.register("numba:compile", Progress())
