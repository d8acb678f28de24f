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


def bf16_supported(device: str = "cpu") -> bool:
    """Returns whether a device, `cpu` or `cuda`, multiplies bfloat16 natively (x86: AVX512_BF16 or AMX; ARM: BF16)."""
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _has_any("avx512_bf16", "amx_bf16", "bf16")


def int8_supported() -> bool:
    """Returns whether the processor multiplies and sums 8-bit integers without saturating (x86: VNNI or AMX)."""
    return _has_any("avx512_vnni", "avx_vnni", "amx_int8")


def _has_any(*wanted: str) -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return any(flag in flags for flag in wanted)


def checked_device(name: str) -> str:
    """Returns the name of a device on which torch can compute.

    Raises:
        ValueError: It is not `cpu` or `cuda`, or torch finds no CUDA device.
    """
    import torch

    if name not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r} must be 'cpu' or 'cuda'")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch finds no CUDA device; use 'cpu'")
    return name


def torch_device_name(name: str) -> str:
    """Returns the model name of the processor, or of the first CUDA device."""
    import torch

    return torch.cuda.get_device_name(0) if name == "cuda" else processor_name()


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
