"""k nearest neighbors inside the segments of a ragged point set, as a table [N, K]; distances in difference form.

Self is excluded by index, never by distance, so coincident points stay neighbors. Ties go to the smaller index. The
x² − 2xy + y² form is not used: it loses the neighbors of points far from the origin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops.padding import padded_index, size_buckets

PAIRS = 1 << 24
"""Pairs of one dense block (64 MiB a float32 component)."""


def knn(x: Tensor, ptr: Tensor, k: int, period: tuple[float | None, ...] | None = None) -> Tensor:
    """Neighbors of every row among the rows of its segment: x [N, P], ptr [B+1] -> [N, k] int64, nearest first.

    A segment of n rows gives min(k, n − 1) neighbors a row; the other slots are −1. ``period`` makes columns periodic
    (phi: 2π), None leaves one open.

    >>> knn(torch.tensor([[0.], [1.], [3.]]), torch.tensor([0, 3]), 2).tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    table = torch.full((x.shape[0], k), -1, dtype=torch.int64, device=x.device)
    points = x.detach()
    for members in size_buckets(ptr, PAIRS):
        index, exists = padded_index(ptr, members)
        if index.shape[1] > 1:
            _fill(table, points, index, exists, k, period)
    return table


def _fill(table: Tensor, x: Tensor, index: Tensor, exists: Tensor, k: int, period: tuple[float | None, ...] | None) -> None:
    """Write the neighbors of a padded group [b, n] into ``table``, in blocks of query rows."""
    n = index.shape[1]
    block = max(1, PAIRS // (index.shape[0] * n))
    candidates = x[index]  # [b, n, P]
    for low in range(0, n, block):
        queries = candidates[:, low : low + block]
        distance = squared_distance(queries, candidates, period)  # [b, q, n]
        itself = torch.arange(low, low + queries.shape[1], device=x.device).unsqueeze(-1) == torch.arange(n, device=x.device)
        distance = distance.masked_fill(~exists.unsqueeze(1) | itself, torch.inf)
        nearest, slot = torch.sort(distance, dim=-1, stable=True)  # stable: ties go to the smaller index
        nearest, slot = nearest[..., :k], slot[..., :k]
        rows = index.gather(1, slot.flatten(1)).view_as(slot)
        rows = rows.where(nearest < torch.inf, -1)
        here = exists[:, low : low + block]
        table[index[:, low : low + block][here], : rows.shape[-1]] = rows[here]


def squared_distance(a: Tensor, b: Tensor, period: tuple[float | None, ...] | None = None) -> Tensor:
    """Squared distances a [b, q, P], b [b, n, P] -> [b, q, n] as sums of squared differences, periodic where asked."""
    total = a.new_zeros(a.shape[0], a.shape[1], b.shape[1])
    for column in range(a.shape[-1]):  # P components: few, and no [b, q, n, P] array
        difference = a[..., column].unsqueeze(-1) - b[..., column].unsqueeze(-2)
        if period is not None and period[column] is not None:
            difference = wrap(difference, float(period[column] or 0.0))
        total = total.addcmul_(difference, difference)
    return total


def wrap(difference: Tensor, period: float) -> Tensor:
    """A difference folded into [−period/2, period/2]."""
    return difference - period * torch.round(difference / period)
