"""Between ragged rows [N, F] with ``ptr`` and padded rows [B, n, F] with a mask, for dense work on small sets."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_index(ptr: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Row of each slot [B, n] int64 and whether it exists [B, n] bool; ``size`` = n spares a synchronization.

    Slots beyond a segment point to row 0 and are False.

    >>> padded_index(torch.tensor([0, 2, 3]))[0].tolist()
    [[0, 1], [2, 0]]
    """
    count = ptr.diff()
    n = int(count.max()) if size is None and len(count) else (size or 0)
    slot = torch.arange(n, device=ptr.device)
    exists = slot < count.unsqueeze(-1)  # [B, n]
    return (ptr[:-1].unsqueeze(-1) + slot).where(exists, 0), exists


def size_buckets(ptr: Tensor, budget: int) -> list[Tensor]:
    """Segments grouped so that each group's padded pair matrix stays below ``budget`` entries: list of int64 [b].

    Segments of similar size share a group (sizes rounded up to powers of two), so padding at most quadruples the work. A
    segment that exceeds the budget alone forms its own group.
    """
    count = ptr.diff()
    order = torch.argsort(count, stable=True)
    width = torch.pow(2, torch.ceil(torch.log2(count[order].clamp(min=1).double()))).long()
    groups: list[Tensor] = []
    for w in torch.unique(width):  # ≤ 64 widths, whatever the number of segments
        members = order[width == w]
        groups.extend(members.split(max(1, budget // int(w * w))))
    return groups
