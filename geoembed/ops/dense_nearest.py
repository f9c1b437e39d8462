"""k nearest neighbors in graphs that are compiled or exported, where nothing may depend on the numbers.

Compiled code calls the search as one operation. An exported graph holds it written out: one padded, stable sort. Distances, order
and ties are those of :func:`geoembed.ops.knn.knn` on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from geoembed.ops.distance import centered, folded, geometry, pair_distance, product_distance
from geoembed.ops.padding import padded_index, slot_of_rows


def traced_knn(x: Tensor, ptr: Tensor, k: int, period: tuple[float | None, ...] | None, largest: int | None) -> Tensor:
    """:func:`geoembed.ops.knn.knn` for a tracer, with the same arguments."""
    if torch.compiler.is_exporting():
        return dense_nearest(folded(geometry(x.detach()), period), ptr, k, period)
    found: Tensor = knn_op(x.detach(), ptr, k, None if period is None else [width or 0.0 for width in period], largest)
    return found


def dense_nearest(points: Tensor, ptr: Tensor, k: int, period: tuple[float | None, ...] | None) -> Tensor:
    """Neighbors of every row among the rows of its segment: folded points [N, P], ptr [B+1] -> [N, k] int64, −1 for none.

    Holds all segments padded to the largest, n: B · n² distances.
    """
    index, exists = padded_index(ptr)
    b, n = index.shape
    padded = pad(points, (0, 0, 0, 1))[index]  # [B, n, P]; slots beyond a segment read row 0: let there be one
    if points.dtype == torch.float32 and period is None:
        padded = centered(padded, exists)
        distance = product_distance(padded, padded)
    else:
        distance = pair_distance(padded, padded, period)
    slot = torch.arange(n, device=ptr.device)
    possible = exists.unsqueeze(1) & (slot.unsqueeze(-1) != slot)  # [B, n, n]: no row is its own neighbor
    distance = pad(distance.masked_fill(~possible, torch.inf), (0, k), value=torch.inf)  # k columns at least
    value, order = torch.sort(distance, dim=-1, stable=True)
    found = order[..., :k].where(value[..., :k] < torch.inf, -1)  # slots within the segment
    rows = found.flatten(0, 1)[slot_of_rows(ptr, [(torch.arange(b, device=ptr.device), n)], points.shape[0])]
    low = ptr[:-1].repeat_interleave(ptr.diff(), output_size=points.shape[0])
    return (rows + low.unsqueeze(-1)).where(rows >= 0, -1)


@torch.library.custom_op("geoembed::knn", mutates_args=())
def knn_op(x: Tensor, ptr: Tensor, k: int, period: list[float] | None, largest: int | None) -> Tensor:
    """The search as it runs without a compiler; a period of 0 is none."""
    from geoembed.ops.knn import knn

    return knn(x, ptr, k, None if period is None else tuple(width or None for width in period), largest)


@knn_op.register_fake
def _(x: Tensor, ptr: Tensor, k: int, period: list[float] | None, largest: int | None) -> Tensor:
    return ptr.new_empty(x.shape[0], k)
