"""The factorized gated sum equals the concatenated form it stands for."""

from __future__ import annotations

import pytest
import torch
from geoembed.ops import gated_sum, ptr_from_sorted, sort_by_target
from torch import Tensor

from generators import numbers

N, E, H, G = 6, 30, 4, 3


def concatenated(x: Tensor, edge_index: Tensor, edge_attr: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Σ x_s · sigmoid(W₂ relu(W₁ [x_s, x_t, e] + b₁) + b₂), one edge after the other."""
    out = [torch.zeros(x.shape[-1], dtype=x.dtype) for _ in range(len(x))]
    for (s, t), e in zip(edge_index.T.tolist(), edge_attr, strict=True):
        hidden = torch.relu(first[0] @ torch.cat([x[s], x[t], e]) + first[1])
        out[t] = out[t] + x[s] * torch.sigmoid(second[0] @ hidden + second[1])
    return torch.stack(out)


@pytest.fixture
def parts() -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """x, unsorted edges with repeats, self-loops and a node that receives none, edge features, weights."""
    edges = torch.randint(0, N, (2, E), generator=torch.Generator().manual_seed(0))
    edges[1][edges[1] == 3] = 2
    edges[:, 0] = edges[:, 1] = torch.tensor([1, 1])
    weights = [numbers(H, 2 * H + G, seed=1), numbers(H, seed=2), numbers(H, H, seed=3), numbers(H, seed=4)]
    return numbers(N, H, seed=5), edges, numbers(E, G, seed=6), weights


def test_values_and_gradients_equal_the_concatenated_form(parts):
    x, edges, attr, weights = parts
    results = []
    for form in (gated_sum, concatenated):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, attr, *weights)]
        out = form(leaves[0], edges, leaves[1], (leaves[2], leaves[3]), (leaves[4], leaves[5]))
        results.append([out, *torch.autograd.grad((out * numbers(N, H, seed=7)).sum(), leaves)])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-10, rtol=1e-10)
    assert results[0][0][3].tolist() == [0.0] * H  # the node without edges


def test_sorted_edges_with_bounds_give_the_same_sum(parts):
    x, edges, attr, (w1, b1, w2, b2) = parts
    index, rows = sort_by_target(edges, attr)
    with_bounds = gated_sum(x, index, rows, (w1, b1), (w2, b2), ptr_from_sorted(index[1], N))
    torch.testing.assert_close(with_bounds, gated_sum(x, edges, attr, (w1, b1), (w2, b2)), atol=1e-12, rtol=0)


def test_edge_features_are_shared_by_leading_axes(parts):
    _, edges, attr, (w1, b1, w2, b2) = parts
    stack = numbers(2, 3, N, H)
    together = gated_sum(stack, edges, attr, (w1, b1), (w2, b2))
    for a in range(2):
        for b in range(3):
            torch.testing.assert_close(together[a, b], gated_sum(stack[a, b], edges, attr, (w1, b1), (w2, b2)))


def test_without_edges_nothing_is_received(parts):
    x, _, _, (w1, b1, w2, b2) = parts
    none = torch.empty(2, 0, dtype=torch.int64)
    assert not gated_sum(x, none, numbers(0, G), (w1, b1), (w2, b2)).any()
