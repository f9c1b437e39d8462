"""EdgeConv on neighbor tables (Wang et al. 2019), with layer norms or with batch norms that are folded into the linear maps.

Both forms are factorized: W [x_i; x_j − x_i] = (W_a − W_b) x_i + W_b x_j, so that the first map costs N rows, not N · K. The last map
of the normed form comes after the mean over neighbors, as both are linear. −1 in a table is no neighbor.

What is here is the specification; :mod:`geoembed.ops.fused_edgeconv` does the same without an [N, K, H] array where no gradient is
wanted. With gradients this form runs; that of its gather is summed in the order of the table, so that it has the same bits each time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from geoembed.ops.segment import ptr_from_sorted, segment_sum

EPS = 1e-5

Affine = tuple[Tensor, Tensor]
"""Weight and bias of a linear map, or gain and shift of a norm."""


class NormedWeights(NamedTuple):
    """Parameters of :func:`normed_in_torch`: F features in, H out."""

    first: Affine
    """[H, 2F], [H]; acts on [x_i; x_j − x_i]."""
    norm0: Affine
    second: Affine
    """[H, H], [H]."""
    norm1: Affine
    last: Affine
    """[H, H], [H]; acts on the mean over neighbors."""
    shortcut: Affine
    """[H, F], [H]."""
    norm2: Affine


class FoldedWeights(NamedTuple):
    """Parameters of :func:`folded_in_torch`: F features in, H out; batch norms are in the weights."""

    first: Affine
    """[H, 2F], [H]; acts on [x_i; x_j − x_i]."""
    second: Affine
    third: Affine
    shortcut: Affine
    """[H, F], [H]."""


def normed_in_torch(x: Tensor, table: Tensor, weights: NormedWeights) -> Tensor:
    """relu(norm₂(W₃ mean_j relu(norm₁(W₂ relu(norm₀(W₁ [x_i; x_j − x_i])))) + W_s x_i)): x [..., N, F], table [N, K] -> [..., N, H].

    Linear maps have biases, norms are layer norms. A node without neighbors keeps its shortcut, without the bias of W₃.
    """
    h = weights.second[0].shape[0]
    projected = linear(x, *projection(weights.first, weights.shortcut))  # [..., N, 3H]
    mean = normed_mean(projected, table, weights.norm0, weights.second, weights.norm1)
    some = (table >= 0).any(-1, keepdim=True)
    message = linear(mean, *weights.last).where(some, 0.0)
    return torch.relu(layer_norm(message + projected[..., 2 * h :], (h,), *weights.norm2, EPS))


def folded_in_torch(x: Tensor, table: Tensor, weights: FoldedWeights) -> Tensor:
    """relu(mean_j relu(W₃ relu(W₂ relu(W₁ [x_i; x_j − x_i]))) + W_s x_i): x [..., N, F], table [N, K] -> [..., N, H].

    Linear maps have biases. The block of ParticleNet (Qu & Gouskos 2020) at inference; a node without neighbors keeps its shortcut.
    """
    return folded_mean(linear(x, *projection(weights.first, weights.shortcut)), table, weights.second, weights.third)


def normed_mean(projected: Tensor, table: Tensor, norm0: Affine, second: Affine, norm1: Affine) -> Tensor:
    """mean_j relu(norm₁(W₂ relu(norm₀(own_i + other_j)))): (own | other | …) [..., N, ≥ 2H] -> [..., N, H]."""
    h = second[0].shape[:1]
    hidden = torch.relu(layer_norm(_first_sum(projected, table, h[0]), h, *norm0, EPS))  # [..., N, K, H]
    return _mean(torch.relu(layer_norm(linear(hidden, *second), h, *norm1, EPS)), table)


def folded_mean(projected: Tensor, table: Tensor, second: Affine, third: Affine) -> Tensor:
    """relu(mean_j relu(W₃ relu(W₂ relu(own_i + other_j))) + shortcut_i): (own | other | shortcut) [..., N, 3H] -> [..., N, H]."""
    h = second[0].shape[0]
    hidden = torch.relu(linear(torch.relu(_first_sum(projected, table, h)), *second))  # [..., N, K, H]
    return torch.relu(_mean(torch.relu(linear(hidden, *third)), table) + projected[..., 2 * h :])


def projection(first: Affine, shortcut: Affine) -> Affine:
    """Weight [3H, F] and bias [3H] of what acts on a node itself, on a neighbor, and on the shortcut.

    >>> first, shortcut = (torch.tensor([[5.0, 2.0]]), torch.tensor([1.0])), (torch.tensor([[4.0]]), torch.tensor([6.0]))
    >>> [part.flatten().tolist() for part in projection(first, shortcut)]
    [[3.0, 2.0, 4.0], [1.0, 0.0, 6.0]]
    """
    at_self, at_other = first[0].chunk(2, dim=1)
    return torch.cat([at_self - at_other, at_other, shortcut[0]]), torch.cat([first[1], torch.zeros_like(first[1]), shortcut[1]])


def _first_sum(projected: Tensor, table: Tensor, h: int) -> Tensor:
    neighbors: Tensor = _Gather.apply(projected[..., h : 2 * h], table)  # type: ignore[no-untyped-call]
    return projected[..., :h].unsqueeze(-2) + neighbors


def _mean(messages: Tensor, table: Tensor) -> Tensor:
    """Mean over the neighbors that there are, 0 where there is none: [..., N, K, H] -> [..., N, H]."""
    exists = (table >= 0).unsqueeze(-1)
    return messages.where(exists, 0.0).sum(-2) / exists.sum(-2).clamp(min=1)


class _Gather(torch.autograd.Function):
    """Rows of x [..., N, H] by a table [N, K], row 0 for −1 -> [..., N, K, H]; its gradient is a sum in a fixed order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor) -> Tensor:
        flat = table.clamp(min=0).flatten()
        ctx.save_for_backward(flat)
        ctx.rows = x.shape[-2]
        return x.index_select(-2, flat).view(*x.shape[:-2], *table.shape, x.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (flat,) = ctx.saved_tensors
        source, order = torch.sort(flat, stable=True)
        rows = grads[0].flatten(-3, -2).index_select(-2, order)
        return segment_sum(rows, ptr_from_sorted(source, ctx.rows)), None
