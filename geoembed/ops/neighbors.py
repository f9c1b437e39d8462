"""Two forms of neighbors: an edge list sorted by target, and a table [N, K] with −1 for none; and the way between them."""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops.segment import ptr_from_sorted


def edges_from_table(table: Tensor) -> Tensor:
    """Neighbor table [N, K] of sources (−1 = none) -> edge_index [2, E], targets non-decreasing.

    >>> edges_from_table(torch.tensor([[1, -1], [0, 1]])).tolist()
    [[1, 0, 1], [0, 1, 1]]
    """
    target, slot = torch.nonzero(table >= 0, as_tuple=True)
    return torch.stack([table[target, slot], target])


def table_from_edges(edge_index: Tensor, num_nodes: int, width: int) -> tuple[Tensor, Tensor]:
    """Edge list sorted by target -> (sources [N, K], edge numbers [N, K]), −1 for none; K = ``width`` ≥ every in-degree."""
    target = edge_index[1]
    ptr = ptr_from_sorted(target, num_nodes)
    slot = torch.arange(target.shape[0], device=target.device) - ptr[target]
    none = edge_index.new_full((num_nodes, width), -1)
    number = torch.arange(target.shape[0], device=target.device)
    return none.index_put((target, slot), edge_index[0]), none.index_put((target, slot), number)


def sort_by_target(edge_index: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """edge_index [2, E] and tensors with E rows, reordered so that targets are non-decreasing; the order of equals is kept."""
    order = torch.argsort(edge_index[1], stable=True)
    return edge_index[:, order], *(row[order] for row in rows)


def gather_neighbors(x: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., N, F], table [N, K] -> neighbors [..., N, K, F] and whether each exists [N, K, 1]; missing ones hold row 0."""
    flat = table.clamp(min=0).flatten()
    return x.index_select(-2, flat).reshape(*x.shape[:-2], *table.shape, x.shape[-1]), (table >= 0).unsqueeze(-1)
