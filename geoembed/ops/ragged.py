"""Runs of rows picked out of a flat array, one after the other: what it takes to put a shuffled batch together."""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops import backends


def ragged_rows(rows: Tensor, start: Tensor, ptr: Tensor, total: int, add: Tensor | None = None, *, dim: int = 0) -> Tensor:
    """Run i of the result, rows ``ptr[i]`` … ``ptr[i + 1] - 1``, is what begins at ``start[i]``: runs may repeat and overlap.

    Args:
        rows: [N, …], or [M, N] with ``dim=1``; any dtype.
        start: [R] int64, first row of each run.
        ptr: [R+1] int64 from 0, bounds of the runs in the result; ``total`` is its last entry, known without asking the device.
        add: [R] int64, added to every entry of a run; the result is then int64.

    >>> ragged_rows(torch.tensor([5, 6, 7, 8]), torch.tensor([2, 0]), torch.tensor([0, 2, 3]), 3, torch.tensor([10, 20])).tolist()
    [17, 18, 25]
    """
    if backends.runs(KERNEL, rows.device) and rows.numel():
        return _fused(rows, start, ptr, total, add, dim)
    return by_numbers(rows, start, ptr, total, add, dim)


def by_numbers(rows: Tensor, start: Tensor, ptr: Tensor, total: int, add: Tensor | None, dim: int) -> Tensor:
    """The specification: the number of every row, then one gather."""
    counts = ptr.diff()
    numbers = torch.repeat_interleave(start - ptr[:-1], counts, output_size=total) + torch.arange(total, device=rows.device)
    found = rows.index_select(dim, numbers)
    return found if add is None else found + torch.repeat_interleave(add, counts, output_size=total)


def _fused(rows: Tensor, start: Tensor, ptr: Tensor, total: int, add: Tensor | None, dim: int) -> Tensor:
    """One program a run and line copies its rows as they lie; no number of a row is ever written."""
    from geoembed.ops.kernels import copy_runs

    rows = rows.contiguous()
    shape = list(rows.shape)
    shape[dim] = total
    found = torch.empty(shape, dtype=rows.dtype if add is None else torch.int64, device=rows.device)
    lines, width = (rows.shape[0], 1) if dim == 1 else (1, rows[0].numel())
    if found.numel():
        whole = (rows.view(torch.uint8), found.view(torch.uint8)) if rows.dtype == torch.bool else (rows, found)
        copy_runs[(len(start), lines)](
            whole[1], whole[0], start, ptr, ptr if add is None else add, rows.stride(0), found.stride(0), WIDTH=width, ADD=add is not None,
            BLOCK=512,
        )
    return found


def disagreement(device: torch.device) -> str:
    """What differs from the specification for rows of one, three and no columns, two lines, and bool; empty where nothing does."""
    start, ptr = torch.tensor([7, 0, 3, 3], device=device), torch.tensor([0, 2, 2, 6, 9], device=device)
    add = torch.tensor([100, 200, 300, 400], device=device)
    flat = torch.arange(30, dtype=torch.uint8, device=device)
    table = flat.view(10, 3)
    cases = ((flat, None, 0), (flat, add, 0), (table.float(), None, 0), (flat.view(2, 15), add, 1), (table > 12, None, 0))
    for rows, more, dim in cases:
        if not torch.equal(_fused(rows, start, ptr, 9, more, dim), by_numbers(rows, start, ptr, 9, more, dim)):
            return f"runs of {list(rows.shape)} {rows.dtype}"
    return ""


KERNEL = "triton runs of rows"
backends.register_kernel(KERNEL, disagreement)
