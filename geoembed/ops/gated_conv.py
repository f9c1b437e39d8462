"""Gated messages summed at their targets, in factorized form: projections cost N rows, not E."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from geoembed.ops.segment import scatter_sum, segment_sum


def gated_sum(
    x: Tensor, edge_index: Tensor, edge_attr: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], ptr: Tensor | None = None
) -> Tensor:
    """Σ over edges (s → t) of x_s · sigmoid(W₂ relu(W₁ [x_s, x_t, e] + b₁) + b₂): x [..., N, H] -> [..., N, H].

    W₁ [H, 2H + G] is split by columns, so that W₁ [x_s, x_t, e] = W_s x_s + W_t x_t + W_e e is gathered from N-row
    products; the result is that of the concatenated form to rounding.

    Args:
        edge_index: [2, E] source, target, any order; repeated edges and self-loops count as often as they occur.
        edge_attr: [E, G], shared by leading dimensions of x.
        first, second: (weight, bias) of the two linear maps.
        ptr: bounds [N+1] of the edges of each target, where they are sorted by target; spares the scatter.
    """
    source, target = edge_index
    h = x.shape[-1]
    weight, bias = first
    from_source = linear(x, weight[:, :h])
    at_target = linear(x, weight[:, h : 2 * h], bias)
    of_edge = linear(edge_attr, weight[:, 2 * h :])
    hidden = torch.relu(from_source.index_select(-2, source) + at_target.index_select(-2, target) + of_edge)
    message = x.index_select(-2, source) * torch.sigmoid(linear(hidden, *second))
    return scatter_sum(message, target, x.shape[-2]) if ptr is None else segment_sum(message, ptr)
