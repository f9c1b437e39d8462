"""Between ragged rows [N, F] with ``ptr`` and padded rows [B, n, F] with a mask, for dense work on small sets."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_index(ptr: Tensor, members: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Row of each slot [b, n] int64 and whether it exists [b, n] bool, for all segments or for ``members`` [b].

    n is the largest size among them. Slots beyond a segment point to row 0 and are False.

    >>> padded_index(torch.tensor([0, 2, 3]))[0].tolist()
    [[0, 1], [2, 0]]
    """
    chosen = torch.arange(len(ptr) - 1, device=ptr.device) if members is None else members
    low, count = ptr[chosen], ptr[chosen + 1] - ptr[chosen]
    slot = torch.arange(int(count.max()) if len(count) else 0, device=ptr.device)
    exists = slot < count.unsqueeze(-1)  # [b, n]
    return (low.unsqueeze(-1) + slot).where(exists, 0), exists


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
        groups.extend(torch.split(members, max(1, budget // int(w * w))))
    return groups
