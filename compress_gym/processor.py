"""What this machine's processor is and can do, and how torch uses it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def processor_name() -> str:
    """Returns the processor's model name, with family and model numbers since names can be generic."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    fields = {key.strip(): value.strip() for key, value in pairs}
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def bf16_supported() -> bool:
    """Returns whether this processor multiplies bfloat16 natively (x86: AVX512_BF16 or AMX; ARM: BF16)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread: sums keep their order, so scores repeat exactly."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
