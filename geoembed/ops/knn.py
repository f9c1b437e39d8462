"""k nearest neighbors inside the segments of a ragged point set, as a table [N, K]; distances in difference form.

Self is excluded by index, never by distance, so coincident points stay neighbors. Ties go to the smaller index. Points of up to
four columns are compared in float64, features of more in their own precision, those of 16 bits as they are with sums in float32.
Segments are searched densely, grouped by size; on a GPU with Triton by fused kernels, places with the same result, features up to
the rounding that :mod:`geoembed.ops.fused_features_knn` states; on a CPU places in segments of
:data:`geoembed.ops.tree_search.LARGE` rows or more by a k-d tree, with the same result.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geoembed.ops.dense_nearest import traced_knn
from geoembed.ops.distance import block_pairs, centered, folded, geometry, pair_distance, product_distance
from geoembed.ops.fused_features_knn import nearest_features, serves_features
from geoembed.ops.fused_nearest import fill_table, serves
from geoembed.ops.padding import padded_index, size_buckets
from geoembed.ops.tree_search import has_tree, nearest


def knn(
    x: Tensor, ptr: Tensor, k: int, period: tuple[float | None, ...] | None = None, largest: int | None = None
) -> Tensor:
    """Neighbors of every row among the rows of its segment: x [N, P], ptr [B+1] -> [N, k] int64, nearest first.

    A segment of n rows gives min(k, n − 1) neighbors a row; the other slots are −1. ``period`` makes columns periodic
    (phi: 2π), None leaves one open. ``largest``: rows of the largest segment, where they are known, so that a GPU need not be
    waited for.

    >>> knn(torch.tensor([[0.], [1.], [3.]]), torch.tensor([0, 3]), 2).tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    if torch.compiler.is_compiling():
        return traced_knn(x, ptr, k, period, largest)
    points = folded(geometry(x.detach()), period)
    if serves_features(points, k, period):
        found: Tensor = nearest_features(points, ptr, k)
        return found
    points = points.float() if points.dtype in (torch.float16, torch.bfloat16) else points  # differences are not rounded to 16 bits
    table = torch.full((x.shape[0], k), -1, dtype=torch.int64, device=x.device)
    if serves(points, k):
        left = fill_table(table, points, ptr, period, largest)
        groups = [left] if len(left) else []
    else:
        groups = size_buckets(ptr, block_pairs(x.device))
    for members in groups:
        if has_tree(points, ptr, members):
            nearest(points, ptr, members, k, period, table)
            continue
        index, exists = padded_index(ptr, members)
        if index.shape[1] > 1 and k:
            _fill(table, points, index, exists, k, period)
    return table


def _fill(table: Tensor, x: Tensor, index: Tensor, exists: Tensor, k: int, period: tuple[float | None, ...] | None) -> None:
    """Write the neighbors of a padded group [b, n] into ``table``, in blocks of query rows."""
    n = index.shape[1]
    block = max(1, block_pairs(x.device) // (index.shape[0] * n))
    candidates = x[index]  # [b, n, P]
    on_cpu = x.device.type == "cpu"
    select = _smallest_cpu if on_cpu else smallest
    features = on_cpu and x.dtype == torch.float32 and period is None
    candidates = centered(candidates, exists) if features else candidates
    for low in range(0, n, block):
        queries = candidates[:, low : low + block]
        distance = product_distance(queries, candidates) if features else pair_distance(queries, candidates, period)  # [b, q, n]
        itself = torch.arange(low, low + queries.shape[1], device=x.device).unsqueeze(-1) == torch.arange(n, device=x.device)
        distance = distance.masked_fill_(~exists.unsqueeze(1) | itself, torch.inf)
        slot = select(distance, min(k, n))
        rows = index.gather(1, slot.flatten(1)).view_as(slot)
        rows = rows.where(distance.gather(-1, slot) < torch.inf, -1)
        here = exists[:, low : low + block]
        table[index[:, low : low + block][here], : rows.shape[-1]] = rows[here]


def smallest(distance: Tensor, k: int) -> Tensor:
    """Slots of the k smallest of each row, in order, ties by the smaller slot: [..., n] -> [..., k] int64; NaN sorts last.

    The selection leaves open which of several equal values at the k-th place it takes; rows where there are some are sorted whole.
    """
    slot = torch.topk(distance, k, dim=-1, largest=False, sorted=False).indices.sort(dim=-1).values
    value, order = torch.sort(distance.gather(-1, slot), dim=-1, stable=True)
    slot = slot.gather(-1, order)
    tied = ~((distance <= value[..., -1:]).sum(-1) == k)  # NaN at the k-th place counts as tied
    # Sorted whole only where needed: one question to the device, asked once a block
    if bool(tied.any()):
        slot[tied] = torch.sort(distance[tied], dim=-1, stable=True).indices[..., :k]
    return slot


def _smallest_cpu(distance: Tensor, k: int) -> Tensor:
    """The same on a CPU, where NumPy's partition finds the k-th value several times faster than topk."""
    n = distance.shape[-1]
    values = (distance.float() if distance.dtype == torch.bfloat16 else distance).numpy().reshape(-1, n)
    last = np.partition(values, k - 1, axis=-1)[:, k - 1 : k]
    within = values <= last
    tied = np.flatnonzero(np.count_nonzero(within, axis=-1) != k)
    if len(tied):
        within[tied] = np.arange(n) < k  # a place for the answer below
    slot = (np.flatnonzero(within) % n).reshape(-1, k)  # in order of slots, k a row
    order = np.argsort(np.take_along_axis(values, slot, axis=-1), axis=-1, kind="stable")
    slot = np.take_along_axis(slot, order, axis=-1)
    if len(tied):
        slot[tied] = np.argsort(values[tied], axis=-1, kind="stable")[:, :k]
    return torch.from_numpy(slot).view(*distance.shape[:-1], k)
