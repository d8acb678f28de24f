"""Settings of the whole suite."""

import hashlib
import os
import signal
import tempfile
from pathlib import Path

# A shell that runs the tests in the background lets them, and what they start, ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Numba notices changes of a function's own file only, not of the kernels it calls: one cache a state of the kernels.
_SOURCES = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "compress_gym").rglob("*.py"))]
# `envs/program.py` has no kernel, but the places where kernels find what they read.
_KERNELS = [
    source
    for source in _SOURCES
    if b"compress_gym.support.jit" in source or b"njit" in source or b"AT_STAGES" in source
]
_STATE = hashlib.sha256(b"".join(_KERNELS)).hexdigest()[:12]
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"compress-gym-numba-{_STATE}"))

# Small networks are trained in two processes at once: torch's threads would wait for one another (8 times as long).
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings  # noqa: E402  (after the environment is set)

# Compilation falls into the first example: deadlines would measure numba, not the code.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
