"""Reductions over contiguous segments of rows, bounded by ``ptr`` [S+1]: the one way to sum over nodes or edges.

What an empty segment gives, in every back end: sum 0, mean 0, max 0, argmax −1, softmax nothing, logsumexp −inf; its
gradient is 0. Half precision accumulates in float32. The gradient of a maximum goes to the first of equal rows. NaN propagates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops import backends, fused_segment


def segment_ids(ptr: Tensor, rows: int | None = None) -> Tensor:
    """Segment of each row: ptr [S+1] -> [N] int64; ``rows`` = N spares a synchronization with the GPU.

    >>> segment_ids(torch.tensor([0, 2, 2, 3])).tolist()
    [0, 0, 2]
    """
    return torch.repeat_interleave(ptr.diff(), output_size=rows)


def ptr_from_sorted(index: Tensor, size: int) -> Tensor:
    """Bounds of the runs of a non-decreasing index [N] with values below ``size`` -> [size+1].

    >>> ptr_from_sorted(torch.tensor([0, 0, 2]), 4).tolist()
    [0, 2, 2, 3, 3]
    """
    return torch.searchsorted(index.contiguous(), torch.arange(size + 1, device=index.device))


def segment_sum(x: Tensor, ptr: Tensor) -> Tensor:
    """Sum of each segment of rows: x [..., N, F], ptr [S+1] -> [..., S, F]; an empty segment is 0.

    >>> segment_sum(torch.tensor([[1.], [3.], [8.]]), torch.tensor([0, 2, 2, 3])).tolist()
    [[4.0], [0.0], [8.0]]
    """
    if fused_segment.serves(x, ptr):
        return fused_segment.fused_sum(x, ptr)
    return backends.reduction("segment_sum")(x, ptr)


def segment_mean(x: Tensor, ptr: Tensor) -> Tensor:
    """Mean of each segment of rows: x [..., N, F], ptr [S+1] -> [..., S, F]; an empty segment is 0.

    >>> segment_mean(torch.tensor([[1.], [3.], [8.]]), torch.tensor([0, 2, 2, 3])).tolist()
    [[2.0], [0.0], [8.0]]
    """
    if fused_segment.serves(x, ptr):
        return fused_segment.fused_mean(x, ptr)
    count = ptr.diff().clamp(min=1).unsqueeze(-1)
    if x.dtype in (torch.float16, torch.bfloat16):  # the quotient is rounded once, not the sum before it
        return (segment_sum(x.float(), ptr) / count).to(x.dtype)
    return segment_sum(x, ptr) / count


def segment_max(x: Tensor, ptr: Tensor) -> Tensor:
    """Maximum of each segment and column: x [..., N, F], ptr [S+1] -> [..., S, F]; an empty segment is 0.

    >>> segment_max(torch.tensor([[-1.], [-3.], [-8.]]), torch.tensor([0, 2, 2, 3])).tolist()
    [[-1.0], [0.0], [-8.0]]
    """
    return backends.reduction("segment_max")(x, ptr)


def segment_argmax(x: Tensor, ptr: Tensor) -> Tensor:
    """Row of the first maximum of each segment and column: x [..., N, F] -> [..., S, F] int64; −1 for an empty segment."""
    segments, rows = ptr.shape[0] - 1, x.shape[-2]
    shape = (*x.shape[:-2], segments, x.shape[-1])
    index = segment_ids(ptr, rows).unsqueeze(-1).expand_as(x)
    top = x.new_full(shape, -torch.inf).scatter_reduce(-2, index, x, "amax")
    is_top = (x == top.gather(-2, index)) | x.isnan()
    row = torch.arange(rows, device=x.device).unsqueeze(-1).expand_as(x).where(is_top, rows)
    first = torch.full(shape, rows, dtype=torch.int64, device=x.device).scatter_reduce(-2, index, row, "amin")
    return first.where(first < rows, -1)


def segment_logsumexp(x: Tensor, ptr: Tensor) -> Tensor:
    """log Σ exp of each segment and column: x [..., N, F] -> [..., S, F]; −inf for an empty segment or one of −inf only.

    Differentiable at every finite row; a row of −inf has gradient 0.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    top = segment_max(wide.detach(), ptr)
    top = top.where(torch.isfinite(top), 0.0)
    ids = segment_ids(ptr, x.shape[-2])
    total = segment_sum((wide - top.index_select(-2, ids)).exp(), ptr)
    empty = total == 0
    return (total.where(~empty, 1.0).log() + top).where(~empty, -torch.inf).to(x.dtype)


def scatter_sum(x: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum of rows by an unsorted index: x [..., N, F], index [N] in 0…size−1 -> [..., size, F]."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    out = wide.new_zeros(*x.shape[:-2], size, x.shape[-1]).index_add(-2, index, wide)
    return out.to(x.dtype)


def _torch_sum(x: Tensor, ptr: Tensor) -> Tensor:
    # Not torch.segment_reduce: on a CPU it takes 1.8 to 5 times as long from 64 columns on, and has no second derivative.
    return scatter_sum(x, segment_ids(ptr, x.shape[-2]), ptr.shape[0] - 1)


def _torch_max(x: Tensor, ptr: Tensor) -> Tensor:
    if x.shape[-2] == 0:
        return x.new_zeros(*x.shape[:-2], ptr.shape[0] - 1, x.shape[-1])
    first = segment_argmax(x.detach(), ptr)
    return x.gather(-2, first.clamp(min=0)).where(first >= 0, 0.0)


backends.register("torch", "segment_sum", _torch_sum)
backends.register("torch", "segment_max", _torch_max)
