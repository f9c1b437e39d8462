"""Angles: pairs of edges that meet in a site, for layers on the line graph (Choudhary & DeCost 2021, ALIGNN, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops.segment import ptr_from_sorted


def angle_pairs(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Ordered pairs of different edges with one target: edge_index [2, E], targets non-decreasing -> [2, A] edge numbers.

    Row 1 is non-decreasing: the second edge is the node of the line graph that receives. A target of d edges gives d·(d − 1).

    >>> angle_pairs(torch.tensor([[0, 1, 2], [3, 3, 3]]), 4).tolist()
    [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    """
    target = edge_index[1]
    edge = torch.arange(len(target), device=target.device)
    ptr = ptr_from_sorted(target, num_nodes)
    first, others = ptr[target], ptr.diff()[target] - 1  # of each edge: first edge of its target, and how many besides it
    receiver = torch.repeat_interleave(edge, others)
    rank = torch.arange(len(receiver), device=target.device) - (others.cumsum(0) - others)[receiver]
    sender = first[receiver] + rank
    return torch.stack([sender + (sender >= receiver), receiver])


def edge_vectors(pos: Tensor, edge_index: Tensor, shift: Tensor, cell: Tensor, graph: Tensor | None = None) -> Tensor:
    """Vector [E, 3] Å from target to source: pos [N, 3], shift [E, 3], cell [B, 3, 3], graph [N] of each site (None = one crystal)."""
    source, target = edge_index
    steps = shift.to(pos.dtype)
    matrix = cell.to(pos.dtype)
    image = steps @ matrix[0] if graph is None else (steps.unsqueeze(1) @ matrix[graph[target]]).squeeze(1)
    return pos[source] - pos[target] + image


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle [...] rad in 0…π between vectors [..., 3]; by atan2, whose gradient is finite for parallel edges where acos has none."""
    sine = torch.linalg.cross(a, b).square().sum(-1)
    # The root of 0 has no gradient: it is taken only where there is something under it.
    positive = sine > 0
    return torch.atan2(torch.where(positive, sine, 1.0).sqrt().where(positive, 0.0), (a * b).sum(-1))
