"""The safetensors format, as much of it as a checkpoint needs: Debian has no package of it.

An 8-byte little-endian length, a JSON header {name: {dtype, shape, data_offsets}}, then the tensors back to back.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {"F16": np.float16, "F32": np.float32}


def save_file(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    header, arrays, at = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        array = tensors[name].numpy()
        dtype = next(key for key, value in DTYPES.items() if array.dtype == value)
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        arrays.append(array)
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())


def load_file(path: Path) -> dict[str, Tensor]:
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:begin]).items():
        if name == "__metadata__":
            continue
        start, end = (begin + at for at in entry["data_offsets"])
        array = np.frombuffer(data[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors
