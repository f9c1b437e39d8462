"""What the kernels of the gated convolution want to know of the edges of a batch: made once, used by every layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geoembed.errors import ValueRangeError

WINDOW = 1024
"""Targets that are put in order of degree together: enough to fill tiles evenly, few enough to stay beside their sources."""


class EdgePlan(NamedTuple):
    """Edges sorted by target, in int32: source, target [E], bounds [N+1], order [N]; for gradients by_source [E], source_bounds [N+1]."""

    source: Tensor
    target: Tensor
    bounds: Tensor
    order: Tensor
    by_source: Tensor
    source_bounds: Tensor


def plan_edges(edge_index: Tensor, ptr: Tensor, *, gradients: bool, unsafe: bool = False) -> EdgePlan:
    """The plan of edges [2, E], sorted by target, whose bounds by target are ``ptr`` [N+1].

    Args:
        gradients: whether a backward pass will need the edges by source; sorting them costs more than all else here.
        unsafe: skip the check of order and range, for edges that :func:`geoembed.schema.check_batch` has seen.

    Raises:
        ValueRangeError: edges that are not sorted by target, or that name nodes which do not exist.
    """
    nodes = ptr.shape[0] - 1
    if not unsafe:
        _check(edge_index, ptr, nodes)
    source, target = edge_index.to(torch.int32).unbind(0)
    bounds = ptr.to(torch.int32)
    none = source.new_zeros(0)
    if not gradients:
        return EdgePlan(source, target, bounds, by_degree(bounds), none, none)
    ordered, by_source = torch.sort(source, stable=True)
    places = torch.arange(nodes + 1, device=source.device, dtype=torch.int32)
    source_bounds = torch.searchsorted(ordered, places, out_int32=True)
    return EdgePlan(source, target, bounds, by_degree(bounds), by_source.to(torch.int32), source_bounds)


def by_degree(bounds: Tensor) -> Tensor:
    """Targets [N] int32, in windows of :data:`WINDOW` by falling degree; equal ones keep their order."""
    nodes = bounds.shape[0] - 1
    if bounds.device.type == "cuda":
        order = torch.empty(nodes, dtype=torch.int32, device=bounds.device)
        return order_into(order, bounds)
    window = torch.arange(nodes, device=bounds.device) // WINDOW
    key = window * (1 << 32) - bounds.diff().long()
    return torch.sort(key, stable=True).indices.to(torch.int32)


def order_into(order: Tensor, bounds: Tensor) -> Tensor:
    """The same by a kernel that sorts each window on the chip."""
    from geoembed.ops.gated_kernels import order_by_degree

    if len(order):
        order_by_degree[(-(-len(order) // WINDOW),)](order, bounds, len(order), WINDOW=WINDOW, LOW=WINDOW.bit_length() - 1)
    return order


def _check(edge_index: Tensor, ptr: Tensor, nodes: int) -> None:
    """One look at the device: range of both rows, and that targets do not fall and agree with ``ptr``."""
    target = edge_index[1]
    if not edge_index.shape[1]:
        return
    least, most = torch.aminmax(edge_index)
    falls = (target.diff() < 0).any() | (torch.bincount(target.clamp(0, max(nodes - 1, 0)), minlength=nodes) != ptr.diff()).any()
    low, high, unsorted = torch.stack([least, most, falls.to(least.dtype)]).tolist()
    where = f"edge_index [2, {edge_index.shape[1]}]"
    if low < 0 or high >= nodes:
        raise ValueRangeError(where=where, found=f"nodes {low} … {high}", expected=f"0 … {nodes - 1}", remedy="Number nodes from 0.")
    if unsorted:
        raise ValueRangeError(where=where, found="edges that ptr does not bound", expected="edges sorted by target, with their bounds",
                              remedy="Sort them with geoembed.ops.sort_by_target; ptr_from_sorted gives the bounds.")
