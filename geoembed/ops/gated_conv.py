"""Gated messages summed at their targets, in factorized form: projections cost N rows, not E; edge features stay as wide as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from geoembed.ops import fused_gated, gated_launch
from geoembed.ops.gated_plan import EdgePlan
from geoembed.ops.segment import scatter_sum, segment_sum


def gated_sum(
    x: Tensor, edge_index: Tensor, edge_attr: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor],
    ptr: Tensor | None = None, plan: EdgePlan | None = None,
) -> Tensor:
    """Σ over edges (s → t) of x_s · sigmoid(W₂ relu(W₁ [x_s, x_t, e] + b₁) + b₂): x [..., N, H] -> [..., N, H].

    W₁ [H, 2H + G] is split by columns, so that W₁ [x_s, x_t, e] = W_s x_s + W_t x_t + W_e e is gathered from N-row
    products; the result is that of the concatenated form to rounding.

    Args:
        edge_index: [2, E] source, target, any order; repeated edges and self-loops count as often as they occur.
        edge_attr: [E, G], shared by leading dimensions of x.
        first, second: (weight, bias) of the two linear maps.
        ptr: bounds [N+1] of the edges of each target, where they are sorted by target; spares the scatter.
        plan: of the same edges, see :func:`geoembed.ops.plan_edges`; kernels run where there is one and they serve.
    """
    h = x.shape[-1]
    weight, bias = first
    from_source, at_target, of_edge = weight[:, :h], weight[:, h : 2 * h], weight[:, 2 * h :]
    proj = linear(x, torch.cat([from_source, at_target]), torch.cat([torch.zeros_like(bias), bias]))
    if plan is not None and fused_gated.serves(x, edge_attr.shape[-1]):
        fold = gated_launch.padded(of_edge).t().contiguous()
        received: Tensor = fused_gated.gated_sum_op(x, proj, gated_launch.padded(edge_attr), fold, *second, list(plan))
        return received
    return gated_from_projections(x, proj, edge_attr, of_edge.t(), *second, edge_index, ptr)


def gated_from_projections(
    x: Tensor, proj: Tensor, edge_attr: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, edge_index: Tensor, ptr: Tensor | None
) -> Tensor:
    """The same from projections [..., N, 2H] (of sources | of targets) and fold [G, H]: what the kernels are compared with."""
    source, target = edge_index
    h = x.shape[-1]
    # In place where autograd allows it: rows for every edge are what costs memory here, and time on a CPU.
    hidden = proj[..., :h].index_select(-2, source)
    hidden += proj[..., h:].index_select(-2, target)
    hidden += edge_attr @ fold
    gate = linear(hidden.relu_(), weight, bias).sigmoid_()
    message = x.index_select(-2, source)
    message = message * gate if gate.requires_grad or message.requires_grad else message.mul_(gate)
    return scatter_sum(message, target, x.shape[-2]) if ptr is None else segment_sum(message, ptr)
