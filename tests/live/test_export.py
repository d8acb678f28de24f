from __future__ import annotations

import numpy as np

from compress_gym.kinds import get_case
from compress_gym.live.export import MAX_DIFFERENCE, export_onnx, largest_difference
from compress_gym.tasks import get_task


def test_the_exported_network_agrees_with_torch(tmp_path):
    task = get_task("digits-cnn")
    module = get_case("ChannelPrune", task).compressor().build([3, 2, 5, 1, 4])
    path = export_onnx(module, task.network().input_shape, tmp_path / "with spaces" / "net.onnx")
    images = np.random.default_rng(0).standard_normal((16, 1, 16, 16)).astype(np.float32)
    assert largest_difference(module, path, images) < MAX_DIFFERENCE
    # and the comparison sees a difference where there is one
    assert largest_difference(task.trained_module(), path, images) > MAX_DIFFERENCE
