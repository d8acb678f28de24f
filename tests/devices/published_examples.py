"""Small tables in each published format."""

import io
import json

import numpy as np

from compress_gym.devices.published.hat import HEADER

BLOCK = "expanded_conv-input:56x56x24-output:28x28x40-expand:3-kernel:5-stride:2-idskip:0"
BLOCK3 = "expanded_conv-input:56x56x32-output:28x28x48-expand:96-kernel:5-stride:2-idskip:0-se:1-hs:0"
APQ = {
    "(96, 456, 14, 1, 1, 0, 1)-W4A8": {"energy": 0.25, "latency": 0.125},
    "(96, 456, 14, 1, 1, 0, 1)-W8A8": {"energy": 0.5, "latency": 0.25},
    "(456, 456, 14, 3, 2, 1, 456)-W4A4": {"energy": 0.0625, "latency": 0.03125},
    "head": {"energy": 1.0, "latency": 2},
}
HAT_ROWS = ["640,6,2048.5,6.0,512,3,1024.0,4.0,2.5,1.0,10.5,200.25,0.5,2.0", "512,6,512,2,640,1,512,2,2,1,9,100,0,1"]


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def haq_array(layers=3):
    layer, weight, activation = np.indices((layers, 8, 8))
    return (100 * (layer + 1) * (weight + 1) + activation).astype(np.int64)


def yaml_of(keys, **fields):
    fields = fields or {"count": 500, "mean": 1.5, "std": 0.25}
    return "".join(f"{key}:\n" + "".join(f"  {k}: {v}\n" for k, v in fields.items()) for key in keys)


YAML = yaml_of(["Conv-input:224x224x3-output:112x112x24", "Logits-input:1x1x1536-output:1000", BLOCK3])
HAT = "\n".join([",".join(HEADER), *HAT_ROWS]) + "\n"
GOOD = {
    "table.npy": npy(haq_array()),
    "table.dict": json.dumps(APQ).encode(),
    "table.yaml": YAML.encode(),
    "table.csv": HAT.encode(),
}


def write(tmp_path, content, name="table.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
