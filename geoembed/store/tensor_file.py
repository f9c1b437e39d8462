"""Tensors as a safetensors file, straight from the pieces that make them: nothing is joined in memory first.

The format is that of the safetensors library (8 bytes with the length of a JSON header, the header, the data), which reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geoembed.store.atomic import replace_with

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
DTYPES = frozenset(_NAMES)
"""What can be stored."""


def write_tensors(path: Path, tensors: Mapping[str, Sequence[Tensor]], about: Mapping[str, object]) -> str:
    """Write tensors, each given as pieces of one dtype along its first dimension, and ``about`` as metadata; returns the sha256."""
    header: dict[str, object] = {"__metadata__": {"geoembed": json.dumps(about)}}
    parts: list[memoryview] = []
    start = 0
    # Wide numbers first and names in order, so that each tensor is aligned and equal tensors give equal bytes.
    for name in sorted(tensors, key=lambda name: (-tensors[name][0].element_size(), name)):
        pieces = [piece.contiguous() for piece in tensors[name]]
        stop = start + sum(piece.nbytes for piece in pieces)
        shape = [sum(piece.shape[0] for piece in pieces), *pieces[0].shape[1:]]
        header[name] = {"dtype": _NAMES[pieces[0].dtype], "shape": shape, "data_offsets": [start, stop]}
        parts += [_bytes(piece) for piece in pieces if piece.numel()]
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return replace_with(path, len(text).to_bytes(8, "little") + text, *parts)


def _bytes(tensor: Tensor) -> memoryview:
    flat: npt.NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
    return flat.data
