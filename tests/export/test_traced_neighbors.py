"""Neighbors as an exported graph finds them are those of the search, ties and coincident points included."""

from __future__ import annotations

import pytest
import torch
from geoembed.ops import knn
from geoembed.ops.dense_nearest import dense_nearest, knn_op
from geoembed.ops.distance import folded, geometry
from hypothesis import given
from hypothesis import strategies as st

from generators import numbers

sizes = st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any)  # a traced graph has a slot at least


def bounds(counts: list[int]) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])


@given(sizes, st.integers(1, 9), st.booleans())
def test_places_with_ties_have_the_same_neighbors(counts, k, periodic):
    ptr = bounds(counts)
    x = (numbers(int(ptr[-1]), 2, seed=k) * 2).round()  # many coincide, and many are equally far
    period = (None, 3.0) if periodic else None
    assert torch.equal(dense_nearest(folded(geometry(x), period), ptr, k, period), knn(x, ptr, k, period))


@given(sizes, st.integers(1, 9))
def test_features_have_the_same_neighbors(counts, k):
    ptr = bounds(counts)
    x = (numbers(int(ptr[-1]), 6, seed=k) * 2).round().float()
    assert torch.equal(dense_nearest(geometry(x), ptr, k, None), knn(x, ptr, k))


@pytest.mark.parametrize("period", [None, [0.0, 3.0]])
def test_the_search_as_one_operation_keeps_the_rules_of_the_compiler(period):
    torch.library.opcheck(knn_op, (numbers(6, 2), bounds([4, 2]), 3, period, None))
