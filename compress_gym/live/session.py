"""Runs exported models under ONNX Runtime."""

from __future__ import annotations

from typing import Any

from compress_gym.support.errors import needing


def open_session(model: bytes, threads: int = 1) -> Any:
    """Opens an ONNX model for the processor.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """
    with needing("onnxruntime", "devices", "running an exported model"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # x86 processors without VNNI otherwise saturate sums of 8-bit products: 396 correct images became 386.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
