"""Settings of the whole suite."""

import hashlib
import os
import tempfile
from pathlib import Path

# Numba notices changes of a function's own file only, not of the kernels it calls: one cache a state of the kernels.
_KERNELS = [
    "costs/kernels.py",
    "costs/increments.py",
    "budgets.py",
    "rewards.py",
    "envs/program.py",
    "envs/kernels.py",
    "jit.py",
    "accuracy/surrogate.py",
    "devices/energy.py",
]
_KERNELS += ["devices/simulators/bitfusion.py", "devices/simulators/bismo.py"]
_ROOT = Path(__file__).parent.parent / "compress_gym"
_STATE = hashlib.sha256(b"".join((_ROOT / name).read_bytes() for name in _KERNELS)).hexdigest()[:12]
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"compress-gym-numba-{_STATE}"))

from hypothesis import settings  # noqa: E402  (after the cache folder is set)

# Compilation falls into the first example: deadlines would measure numba, not the code.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
