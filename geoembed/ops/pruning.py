"""Edges taken away on purpose: those without a reverse, and the longest beyond a budget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from geoembed.ops.crystals import Neighbors, has_reverse
from geoembed.ops.shells import TIE


class Budgeted(NamedTuple):
    """Pairs that a budget left, how many it took, and into how many parts the graph fell before and after."""

    pairs: Neighbors
    dropped: int
    components_before: int
    components_after: int


def mutual(found: Neighbors, ptr: Tensor) -> Neighbors:
    """The pairs whose reverse is there too: k nearest of both ends, so that messages go both ways along every bond."""
    return found.where(has_reverse(found, ptr))


def within_budget(found: Neighbors, num_nodes: int, budget: int, tie: float = TIE) -> Budgeted:
    """At most ``budget`` pairs: the shortest, in whole shells.

    A pair and its reverse have one length, so both stay or both go, and equal bonds share their fate: what is left does not
    depend on the order of the sites.
    """
    count = len(found.distance)
    before = components(found.edge_index, num_nodes)
    if count <= budget:
        return Budgeted(found, 0, before, before)
    order = torch.sort(found.distance).values
    # The last gap between shells that lies within the budget: what is longer goes.
    gaps = torch.nonzero(order[1:] - order[:-1] > tie).squeeze(1) + 1
    fits = gaps[gaps <= budget]
    kept = found.where(found.distance < order[fits[-1]]) if len(fits) else found.where(torch.zeros_like(found.distance, dtype=torch.bool))
    return Budgeted(kept, count - len(kept.distance), before, components(kept.edge_index, num_nodes))


def components(edge_index: Tensor, num_nodes: int) -> int:
    """Number of connected parts of a graph, whatever the direction of its edges: edge_index [2, E], target-sorted -> int."""
    return int(components_of_each(edge_index, torch.tensor([0, num_nodes]))[0])


def components_of_each(edge_index: Tensor, ptr: Tensor) -> Tensor:
    """The same for each graph of a batch: edge_index [2, E], target-sorted, ptr [B+1] -> [B] int64."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    source, target = edge_index.cpu().numpy()
    bounds, nodes = ptr.cpu().numpy(), int(ptr[-1])
    rows = np.searchsorted(target, np.arange(nodes + 1))
    matrix = csr_matrix((np.ones(len(source), np.int8), source, rows), shape=(nodes, nodes))
    _, label = connected_components(matrix, directed=False)
    _, first = np.unique(label, return_index=True)  # a part never spans two graphs: count each where it begins
    counts = np.bincount(np.searchsorted(bounds, first, side="right") - 1, minlength=len(bounds) - 1)
    return torch.from_numpy(counts.astype(np.int64))
