"""Between ragged rows [N, F] with ``ptr`` and padded rows [B, n, F] with a mask, for dense work on small sets."""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops.segment import segment_ids


def padded_index(ptr: Tensor, members: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Row of each slot [b, n] int64 and whether it exists [b, n] bool, for all segments or for ``members`` [b].

    n is the largest size among them (in a traced graph 1 at least). Slots beyond a segment point to row 0 and are False.

    >>> padded_index(torch.tensor([0, 2, 3]))[0].tolist()
    [[0, 1], [2, 0]]
    """
    chosen = torch.arange(len(ptr) - 1, device=ptr.device) if members is None else members
    low, count = ptr[chosen], ptr[chosen + 1] - ptr[chosen]
    slot = torch.arange(_largest(count), device=ptr.device)
    exists = slot < count.unsqueeze(-1)  # [b, n]
    return (low.unsqueeze(-1) + slot).where(exists, 0), exists


def _largest(count: Tensor) -> int:
    if torch.compiler.is_compiling():
        n = int(count.max().clamp(min=1))  # a traced graph has a slot at least, so that nothing in it asks whether there is one
        torch._check(n >= 1)  # type: ignore[no-untyped-call]
        return n
    return int(count.max()) if len(count) else 0


def size_buckets(ptr: Tensor, budget: int) -> list[Tensor]:
    """Segments grouped so that each group's padded pair matrix stays below ``budget`` entries: list of int64 [b].

    Segments of similar size share a group (sizes rounded up to powers of two), so padding at most quadruples the work. A
    segment that exceeds the budget alone forms its own group. A compiled or exported graph cannot depend on the sizes: there all
    segments form one group, padded to the largest.
    """
    count = ptr.diff()
    if torch.compiler.is_compiling():
        return [torch.arange(count.shape[0], device=ptr.device)]
    order = torch.argsort(count, stable=True)
    width = torch.pow(2, torch.ceil(torch.log2(count[order].clamp(min=1).double()))).long()
    groups: list[Tensor] = []
    for w in torch.unique(width):  # ≤ 64 widths, whatever the number of segments
        members = order[width == w]
        groups.extend(torch.split(members, max(1, budget // int(w * w))))
    return groups


def slot_of_rows(ptr: Tensor, groups: list[tuple[Tensor, int]], rows: int) -> Tensor:
    """Where each of the ``rows`` of a ragged array lies in padded groups laid end to end -> [N] int64: the way back.

    Args:
        ptr: bounds [B+1] of the segments.
        groups: (members [b], padded size n) of each group; every segment with rows is in one.

    >>> slot_of_rows(torch.tensor([0, 2, 3]), [(torch.tensor([1]), 1), (torch.tensor([0]), 2)], 3).tolist()
    [1, 2, 0]
    """
    start, before = torch.zeros_like(ptr[:-1]), 0
    for members, n in groups:
        start = start.index_put((members,), before + n * torch.arange(members.shape[0], device=ptr.device))
        before += n * members.shape[0]
    owner = segment_ids(ptr, rows)
    return torch.arange(rows, device=ptr.device) + (start - ptr[:-1])[owner]
