"""What is timed under each runtime: one operation, or a whole compressed network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TypeAlias

from torch import nn

from compress_gym.devices.operations import Operation
from compress_gym.live.fold import fold_batch_norms
from compress_gym.live.session import open_session
from compress_gym.making.profile.onnx_runtime import operation_model, quantize_network, timed
from compress_gym.making.profile.timing import Timed
from compress_gym.networks import Network
from compress_gym.support.cards import write_atomically

# Opens something anew and returns a function that runs it once. Some lone operations stay far off their neighbours for
# as long as they are open, so everything is opened again for each visit.
Opener: TypeAlias = Callable[[], Timed]
# Makes a compressed network.
Build: TypeAlias = Callable[[], nn.Module]
RUNTIMES = {"onnxruntime": ("fp32", "int8", "mixed"), "torch": ("fp32", "bf16", "fp16")}


class OnnxBench:
    """ONNX Runtime on the processor, at one precision, with one number of threads.

    Attributes:
        packages: Packages whose versions are part of the provenance.
        measures_layout: Whether lone operations pay for layout changes that networks do not.
    """

    packages = ("onnxruntime", "onnx", "numpy", "torch")
    measures_layout = True

    def __init__(self, precision: str, threads: int, batch: int) -> None:
        """Opens the runtime; a missing library is told here."""
        self.precision, self.threads, self.batch = precision, threads, batch
        open_session(operation_model(Operation("call", 1, 1)), threads)

    def keeps(self, file: Path) -> bool:
        """Whether what takes long to build of a network is there already; `file` as of `network`."""
        return file.with_suffix(".onnx").exists()

    def operation(self, operation: Operation) -> Opener:
        """Returns what opens an operation."""
        return partial(self._open, operation_model(operation))

    def network(self, build: Build, network: Network, file: Path, floats: Collection[str]) -> Opener:
        """Returns what opens a compressed network.

        Args:
            build: Makes the network.
            network: Its description.
            file: May keep what takes long to build.
            floats: Layers in full precision, where that is a choice.
        """
        return partial(self._open, self.export(build, network, file, floats).read_bytes())

    def _open(self, model: bytes) -> Timed:
        return timed(open_session(model, self.threads))

    def export(self, build: Build, network: Network, file: Path, floats: Collection[str]) -> Path:
        """Exports a network unless the file is there already; with 8 bits it is quantised on random inputs."""
        from compress_gym.live.export import export_onnx

        path = file.with_suffix(".onnx")
        if path.exists():
            return path

        def write(temporary: Path) -> None:
            export_onnx(build(), network.input_shape, temporary, batch=self.batch)
            if self.precision in ("int8", "mixed"):
                kept = floats if self.precision == "mixed" else None
                temporary.write_bytes(quantize_network(temporary, network.input_shape, self.batch, kept))

        write_atomically(path, write)
        return path


class TorchBench:
    """torch, on the processor or on a CUDA device; methods as of `OnnxBench`."""

    packages = ("torch", "numpy")
    measures_layout = False

    def __init__(self, precision: str, threads: int, cuda: bool, batch: int) -> None:
        """Opens the runtime; a precision that is not to be had is told here."""
        import torch

        from compress_gym.making.profile.torch_runtime import check_precision

        check_precision(precision, cuda)
        torch.set_num_threads(threads)
        self.precision, self.cuda, self.batch = precision, cuda, batch

    def keeps(self, file: Path) -> bool:
        """No network is kept."""
        return False

    def operation(self, operation: Operation) -> Opener:
        """Returns what opens an operation."""
        from compress_gym.making.profile.torch_runtime import operation_module, timed_module

        return partial(timed_module, *operation_module(operation), self.precision, self.cuda)

    def network(self, build: Build, network: Network, file: Path, floats: Collection[str]) -> Opener:
        """Returns what opens a network, batch norms folded."""
        from compress_gym.making.profile.torch_runtime import timed_module

        shape, folded = (self.batch, *network.input_shape), fold_batch_norms(build().eval(), network)
        return partial(timed_module, folded, (shape,), self.precision, self.cuda)


Bench: TypeAlias = OnnxBench | TorchBench


def open_bench(runtime: str, precision: str, threads: int, cuda: bool, batch: int) -> Bench:
    """Opens a runtime.

    Raises:
        ValueError: The runtime, or this machine, does not know the precision.
    """
    if precision not in RUNTIMES[runtime]:
        raise ValueError(f"precision={precision!r} is not one of {RUNTIMES[runtime]} of runtime={runtime!r}")
    if runtime == "torch":
        return TorchBench(precision, threads, cuda, batch)
    if cuda:
        raise ValueError("--cuda needs --runtime torch; ONNX Runtime is measured on the processor")
    return OnnxBench(precision, threads, batch)
