"""k nearest neighbors as one padded, stable sort: the form of :func:`geoembed.ops.knn.knn` for graphs that are exported.

Nothing in it depends on the numbers but the largest size, so that one graph serves every batch. Distances, order and ties are
those of the search.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from geoembed.ops.distance import pair_distance
from geoembed.ops.padding import padded_index, slot_of_rows


def dense_nearest(points: Tensor, ptr: Tensor, k: int, period: tuple[float | None, ...] | None) -> Tensor:
    """Neighbors of every row among the rows of its segment: folded points [N, P], ptr [B+1] -> [N, k] int64, −1 for none.

    Holds all segments padded to the largest, n: B · n² distances.
    """
    index, exists = padded_index(ptr)
    b, n = index.shape
    padded = pad(points, (0, 0, 0, 1))[index]  # [B, n, P]; slots beyond a segment read row 0: let there be one
    slot = torch.arange(n, device=ptr.device)
    possible = exists.unsqueeze(1) & (slot.unsqueeze(-1) != slot)  # [B, n, n]: no row is its own neighbor
    distance = pair_distance(padded, padded, period).masked_fill(~possible, torch.inf)
    distance = pad(distance, (0, k), value=torch.inf)  # k columns at least
    value, order = torch.sort(distance, dim=-1, stable=True)
    found = order[..., :k].where(value[..., :k] < torch.inf, -1)  # slots within the segment
    rows = found.flatten(0, 1)[slot_of_rows(ptr, [(torch.arange(b, device=ptr.device), n)], points.shape[0])]
    low = ptr[:-1].repeat_interleave(ptr.diff(), output_size=points.shape[0])
    return (rows + low.unsqueeze(-1)).where(rows >= 0, -1)
