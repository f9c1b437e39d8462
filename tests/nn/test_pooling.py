"""Pooling of nodes to graphs."""

from __future__ import annotations

import pytest
import torch
from geoembed.nn import AttentionPooling, weighted_mean

from generators import numbers

PTR = torch.tensor([0, 0, 3, 7, 7])


def test_the_weighted_mean_is_that_of_the_loop_and_weight_zero_hides_nan():
    x, weight = numbers(7, 4), numbers(7, seed=1).abs()
    weight[2] = 0
    hidden = x.clone()
    hidden[2] = torch.nan
    pooled = weighted_mean(hidden, PTR, weight)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for graph, (low, high) in enumerate(((0, 0), (0, 3), (3, 7), (7, 7))):
        if high > low:
            expected[graph] = sum(w * row for w, row in zip(weight[low:high], x[low:high], strict=True)) / weight[low:high].sum()
    torch.testing.assert_close(pooled, expected, atol=1e-12, rtol=0)


def test_a_constant_pools_to_itself_whatever_the_weights():
    weight = numbers(7, seed=3).abs()
    pooled = weighted_mean(torch.full((7, 2), 3.5, dtype=torch.float64), PTR, weight)
    assert pooled[1:3].flatten().tolist() == pytest.approx([3.5] * 4)


def test_stacked_nodes_share_one_row_of_weights():
    x, weight = numbers(3, 5, 4), numbers(5, seed=2).abs()
    ptr = torch.arange(4) * 5
    torch.testing.assert_close(weighted_mean(x, ptr, weight), (x * weight.unsqueeze(-1)).sum(1) / weight.sum())


def test_each_head_averages_its_share_of_the_channels_by_its_own_scores():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pool = AttentionPooling(6, heads=2).double()
    x, mask = numbers(7, 6), torch.tensor([True, True, False, True, True, True, True])
    hidden = x.clone()
    hidden[2] = 1e30  # masked: its score has no weight
    pooled = pool(hidden, PTR, mask)
    for graph, rows in ((1, [0, 1]), (2, [3, 4, 5, 6])):
        weights = torch.softmax(pool.score(x[rows]), 0)
        value = pool.value(x[rows])
        expected = torch.cat([(weights[:, :1] * value[:, :3]).sum(0), (weights[:, 1:] * value[:, 3:]).sum(0)])
        torch.testing.assert_close(pooled[graph], expected, atol=1e-12, rtol=0)
    assert not bool(pooled[[0, 3]].any())
    assert not bool(pool(x, PTR, torch.zeros(7, dtype=torch.bool)).any())
