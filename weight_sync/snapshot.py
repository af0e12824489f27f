"""A version's weights as one safetensors file, written tensor by tensor.

The safetensors format (https://github.com/huggingface/safetensors) is a header that gives every tensor's
dtype, shape and place, followed by the raw bytes. The header can be written before any tensor is at hand,
so sharded weights are gathered one at a time and a second full copy of the model is never held. Any
safetensors reader opens the result.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Name, dtype and full shape of one tensor of the checkpoint."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def write_snapshot(path: Path, layout: Sequence[TensorLayout], tensors: Iterable[torch.Tensor], version: int) -> int:
    """Write the tensors in the order of `layout` and make the file visible under `path` when complete.

    Returns:
        Size of the file in bytes.

    Raises:
        ValueError: if a tensor differs from its layout, their numbers differ, or its dtype has no name here.
            No file is left then.
    """
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(_header(layout, version))
            for expected, tensor in zip(layout, tensors, strict=True):
                if tensor.dtype != expected.dtype or tuple(tensor.shape) != expected.shape:
                    raise ValueError(
                        f"{expected.name}: expected {expected.dtype} {expected.shape}, "
                        f"got {tensor.dtype} {tuple(tensor.shape)}"
                    )
                flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
                file.write(flat.numpy().data)
            size = file.tell()
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size


def _header(layout: Sequence[TensorLayout], version: int) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"version": str(version), "format": "pt"}}
    offset = 0
    for tensor in layout:
        if tensor.dtype not in _DTYPE_NAMES:
            raise ValueError(f"{tensor.name}: {tensor.dtype} is none of {', '.join(map(str, _DTYPE_NAMES))}")
        size = tensor.dtype.itemsize
        for extent in tensor.shape:
            size *= extent
        entries[tensor.name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
