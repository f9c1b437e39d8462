"""Messages of the crystal graph convolution (Xie & Grossman 2018, eq. 5) in factorized form: projections cost N rows, not E."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from geoembed.errors import SchemaError, ValueRangeError
from geoembed.ops.segment import scatter_sum, segment_mean, segment_sum

Nodes = Tensor | tuple[Tensor, Tensor]
"""x [..., N, C], or of sources [..., S, C'] and of targets [..., N, C]."""


class GateWeights(NamedTuple):
    """Two linear maps of z = [x_target, x_source, e], filter f and core s: weights [C, C + C' + D], biases [C] or None."""

    filter: Tensor
    core: Tensor
    filter_bias: Tensor | None = None
    core_bias: Tensor | None = None


def cgconv(
    x: Nodes, edge_index: Tensor, edge_attr: Tensor | None, weights: GateWeights, *, ptr: Tensor | None = None, mean: bool = False,
    residual: bool = True,
) -> Tensor:
    """x_t + Σ over edges (s → t) of sigmoid(W_f z + b_f) · softplus(W_s z + b_s), z = [x_t, x_s, e]: -> [..., N, C].

    W z is made of products with the columns of W for x_t, x_s and e; the first two have N rows and are gathered. The result is that
    of the concatenated form to rounding.

    Args:
        edge_index: [2, E] source, target, in any order; repeated edges and self-loops count as often as they occur.
        edge_attr: [E, D], shared by leading dimensions of x; None where D = 0.
        ptr: bounds [N+1] of the edges of each target, where they are sorted by target; spares the scatter.
        mean: divide the sum by the number of edges; a target without edges gets 0 either way.
        residual: add x_t.
    """
    at_source, x_target = x if isinstance(x, tuple) else (x, x)
    source, target = edge_index
    own, other = x_target.shape[-1], at_source.shape[-1]
    both = torch.cat([weights.filter, weights.core])
    bias = None if weights.filter_bias is None or weights.core_bias is None else torch.cat([weights.filter_bias, weights.core_bias])
    z = linear(x_target, both[:, :own], bias).index_select(-2, target)
    z = z + linear(at_source, both[:, own : own + other]).index_select(-2, source)
    if edge_attr is not None:
        z = z + linear(edge_attr, both[:, own + other :])
    f, s = z.chunk(2, dim=-1)
    message = torch.sigmoid(f) * softplus(s)
    nodes = x_target.shape[-2]
    if ptr is not None:
        received = (segment_mean if mean else segment_sum)(message, ptr)
    else:
        received = scatter_sum(message, target, nodes)
        if mean:
            ones = torch.ones_like(target, dtype=torch.float32).unsqueeze(-1)
            received = (received / scatter_sum(ones, target, nodes).clamp(min=1)).to(message.dtype)
    return received + x_target if residual else received


def check_shapes(x: Nodes, edge_index: Tensor, edge_attr: Tensor | None, weights: GateWeights, ptr: Tensor | None) -> None:
    """Raise :class:`SchemaError` where dtypes, shapes or devices do not fit each other; looks at no number."""
    at_source, x_target = x if isinstance(x, tuple) else (x, x)
    nodes = x_target.shape[-2] if x_target.dim() > 1 else 0
    edges, floats = edge_index.shape[-1], [at_source, x_target, weights.filter, weights.core, *([] if edge_attr is None else [edge_attr])]
    depth = 0 if edge_attr is None else edge_attr.shape[-1]
    channels = x_target.shape[-1] + at_source.shape[-1] + depth
    _expect(min(at_source.dim(), x_target.dim()) > 1, "x", list(x_target.shape), "[..., N, C]", "Give every node a row.")
    _expect(edge_index.dim() == 2 and len(edge_index) == 2 and not edge_index.is_floating_point() and edge_index.dtype != torch.bool,
            "edge_index", f"{list(edge_index.shape)} {edge_index.dtype}", "[2, E] integers", "Stack source and target numbers.")
    _expect(edge_attr is None or (edge_attr.dim() == 2 and len(edge_attr) == edges), "edge_attr",
            None if edge_attr is None else list(edge_attr.shape), f"[{edges}, D]", "Give every edge a row.")
    _expect(weights.filter.shape[1] == channels, "columns of x and edge_attr", channels, weights.filter.shape[1],
            "Build the layer with these channels and dim.")
    _expect(ptr is None or list(ptr.shape) == [nodes + 1], "ptr", None if ptr is None else list(ptr.shape), f"[{nodes + 1}]",
            "geoembed.ops.ptr_from_sorted gives the bounds.")
    indices = [edge_index] if ptr is None else [edge_index, ptr]
    kinds, devices = {t.dtype for t in floats}, {t.device for t in [*floats, *indices]}
    if not torch.is_autocast_enabled(x_target.device.type):
        _expect(len(kinds) == 1, "x, edge_attr and weights", sorted(map(str, kinds)), "one dtype", "Convert them with .to(dtype).")
    _expect(len(devices) == 1, "x, edges and weights", sorted(map(str, devices)), "one device", "Move them with .to(device).")


def check_edges(edge_index: Tensor, sources: int, targets: int, ptr: Tensor | None) -> None:
    """Raise :class:`ValueRangeError` where edges name nodes that do not exist, or ``ptr`` does not bound them; one look at the device."""
    edges = edge_index.shape[1]
    source, target = edge_index
    if not edges:
        return
    facts = [source.amin(), source.amax(), target.amin(), target.amax()]
    if ptr is not None:
        last = (ptr[1:] - 1).clamp(0, edges - 1)
        first = ptr[:-1].clamp(0, edges - 1)
        full, number = ptr.diff() > 0, torch.arange(targets, device=ptr.device)
        wrong = (target[1:] < target[:-1]).any() | (ptr.diff() < 0).any() | (ptr[0] != 0) | (ptr[-1] != edges)
        facts.append(wrong | (full & ((target[first] != number) | (target[last] != number))).any())
    low, high, low_target, high_target, *unsorted = torch.stack([fact.long() for fact in facts]).tolist()
    for name, least, most, size in (("source", low, high, sources), ("target", low_target, high_target, targets)):
        if least < 0 or most >= size:
            raise ValueRangeError(where=f"edge_index, {name}", found=f"nodes {least} … {most}", expected=f"0 … {size - 1}",
                                  remedy="Number nodes from 0.")
    if any(unsorted):
        raise ValueRangeError(where=f"edge_index [2, {edges}]", found="edges that ptr does not bound", expected="edges sorted by target",
                              remedy="Sort them with geoembed.ops.sort_by_target; ptr_from_sorted gives the bounds.")


def _expect(holds: bool, where: str, found: object, expected: object, remedy: str) -> None:
    if not holds:
        raise SchemaError(where=where, found=found, expected=expected, remedy=remedy)
