"""Rows of many graphs picked out of flat arrays: the copy that every shuffled batch consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

Bounds = NDArray[np.int64]


class RaggedRows:
    """Flat fields, cut into graphs by the bounds [B+1] of their levels, on one device.

    On a CPU each graph's rows are bytes that Arrow copies as they lie, several times faster than row by row; on a GPU the numbers
    of the rows are found once a level and every field is one gather.
    """

    def __init__(
        self, fields: Mapping[str, Tensor], levels: Mapping[str, str], axes: Mapping[str, int], bounds: Mapping[str, Bounds]
    ) -> None:
        self.fields, self.levels, self.axes, self.bounds = fields, levels, axes, bounds
        self._lists: dict[str, list[pa.LargeBinaryArray]] = {}

    def take(self, index: Bounds) -> tuple[dict[str, Tensor], dict[str, Bounds]]:
        """The fields of the graphs of these numbers, repeats allowed, one after the other, and their bounds."""
        bounds = {level: _bounds(np.diff(old)[index]) for level, old in self.bounds.items()}
        rows: dict[str, Tensor] = {}
        numbers: dict[str, Tensor] = {}
        graphs, picked = torch.from_numpy(index), pa.array(index)
        for name, tensor in self.fields.items():
            level = self.levels[name]
            if level == "graph":
                rows[name] = tensor.index_select(0, graphs.to(tensor.device))
            elif tensor.device.type == "cpu":
                rows[name] = self._copied(name, picked, int(bounds[level][-1]))
            else:
                if level not in numbers:
                    numbers[level] = self._numbers(level, index, bounds[level], tensor.device)
                rows[name] = tensor.index_select(self.axes[name], numbers[level])
        return rows, bounds

    def _copied(self, name: str, picked: pa.Array, rows: int) -> Tensor:
        tensor = self.fields[name]
        if name not in self._lists:
            parts = [tensor] if self.axes[name] == 0 else list(tensor.unbind(0))
            self._lists[name] = [_as_bytes(part, self.bounds[self.levels[name]]) for part in parts]
        copies = [_as_tensor(one.take(picked), tensor.dtype) for one in self._lists[name]]
        if self.axes[name] == 1:
            return torch.stack(copies)
        return copies[0].view(rows, *tensor.shape[1:])

    def _numbers(self, level: str, index: Bounds, bounds: Bounds, device: torch.device) -> Tensor:
        """Numbers of the rows of some graphs."""
        step = torch.from_numpy(self.bounds[level][:-1][index] - bounds[:-1]).to(device, non_blocking=True)
        counts = torch.from_numpy(np.diff(bounds)).to(device, non_blocking=True)
        total = int(bounds[-1])
        return torch.repeat_interleave(step, counts, output_size=total) + torch.arange(total, device=device)


def _bounds(counts: NDArray[Any]) -> Bounds:
    return np.concatenate([[0], counts.cumsum()]).astype(np.int64)


def _as_bytes(tensor: Tensor, bounds: Bounds) -> pa.LargeBinaryArray:
    """The rows of each graph as one string of bytes, without a copy."""
    width = tensor.element_size() * (tensor[0].numel() if len(tensor) else 1)
    data = tensor.contiguous().view(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds * width), pa.py_buffer(data)])


def _as_tensor(array: pa.LargeBinaryArray, dtype: torch.dtype) -> Tensor:
    """The joined bytes of an array that :meth:`take` has just made."""
    data = array.buffers()[2]
    if data is None or not data.size:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype)
