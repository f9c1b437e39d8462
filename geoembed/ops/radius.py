"""All pairs, and all pairs within a radius, inside the segments of a ragged point set, as edges sorted by target.

Distances are summed in float64 in difference form; a pair at exactly the radius belongs. Self is excluded by index, so
coincident points are neighbors. There is no cap: ``most`` is a budget that is refused aloud, never cut to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.errors import BudgetError, ValueRangeError
from geoembed.ops.distance import block_pairs, folded, geometry, pair_distance
from geoembed.ops.padding import padded_index, size_buckets
from geoembed.ops.segment import segment_ids
from geoembed.ops.tree_search import has_tree, pairs_within


def radius_edges(
    x: Tensor, ptr: Tensor, radius: float, period: tuple[float | None, ...] | None = None, most: int | None = None
) -> Tensor:
    """Pairs no farther apart than ``radius``: x [N, P], ptr [B+1] -> edge_index [2, E], by target, then by source.

    ``period`` makes columns periodic (phi: 2π), None leaves one open. :class:`BudgetError` where there are more than ``most``.

    >>> radius_edges(torch.tensor([[0.], [1.], [3.]]), torch.tensor([0, 3]), 1.0).tolist()
    [[1, 0], [0, 1]]
    """
    if not radius >= 0:
        raise ValueRangeError(where="radius", found=radius, expected="at least 0", remedy="Give a radius in the unit of the points.")
    points = folded(geometry(x.detach()), period)
    parts: list[Tensor] = [torch.zeros(2, 0, dtype=torch.int64, device=x.device)]
    total = 0
    for members in size_buckets(ptr, block_pairs(x.device)):
        if has_tree(points, ptr, members):
            found = pairs_within(points, ptr, members, radius, period)
        else:
            found = _dense(points, ptr, members, radius, period)
        total += found.shape[1]
        if most is not None and total > most:
            raise BudgetError(where=f"radius {radius:g}", found=f"over {most} edges ({total} and counting)", expected=f"at most {most}",
                              remedy="Raise the budget 'most', or take a smaller radius.")
        parts.append(found)
    edges = torch.cat(parts, dim=1)
    return edges[:, torch.argsort(edges[1] * len(x) + edges[0])]  # N² < 2⁶³; a pair occurs once, so no tie


def _dense(points: Tensor, ptr: Tensor, members: Tensor, radius: float, period: tuple[float | None, ...] | None) -> Tensor:
    index, exists = padded_index(ptr, members)
    n = index.shape[1]
    if n < 2:
        return index.new_zeros(2, 0)
    candidates, parts = points[index], []
    block = max(1, block_pairs(points.device) // (index.shape[0] * n))
    for low in range(0, n, block):
        distance = pair_distance(candidates[:, low : low + block], candidates, period)
        itself = torch.arange(low, min(low + block, n), device=points.device).unsqueeze(-1) == torch.arange(n, device=points.device)
        near = (distance <= radius * radius) & exists.unsqueeze(1) & exists[:, low : low + block].unsqueeze(2) & ~itself
        segment, target, source = torch.nonzero(near, as_tuple=True)
        parts.append(torch.stack([index[segment, source], index[segment, target + low]]))
    return torch.cat(parts, dim=1)


def full_edges(ptr: Tensor) -> Tensor:
    """Every ordered pair of different rows of a segment: ptr [B+1] -> edge_index [2, E], by target, then by source.

    >>> full_edges(torch.tensor([0, 2, 3])).tolist()
    [[1, 0], [0, 1]]
    """
    rows = int(ptr[-1])
    segment = segment_ids(ptr, rows)
    others = ptr.diff()[segment] - 1  # [N], ≥ 0: each row is in a segment of one at least
    target = torch.repeat_interleave(torch.arange(rows, device=ptr.device), others)
    slot = torch.arange(len(target), device=ptr.device) - (others.cumsum(0) - others)[target]
    low = ptr[segment][target]
    return torch.stack([low + slot + (slot >= target - low), target])
