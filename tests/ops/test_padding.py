"""Ragged rows to padded ones."""

from __future__ import annotations

import torch
from geoembed.ops import padded_index, size_buckets
from hypothesis import given
from hypothesis import strategies as st

counts = st.lists(st.integers(0, 9), min_size=1, max_size=12)


def bounds(sizes: list[int]) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()])


@given(counts)
def test_every_row_has_exactly_one_slot_in_its_own_segment(sizes):
    ptr = bounds(sizes)
    index, exists = padded_index(ptr)
    assert index.shape == (len(sizes), max(sizes))
    assert index[exists].tolist() == list(range(sum(sizes)))
    assert exists.sum(1).tolist() == sizes
    assert bool((index[~exists] == 0).all())


@given(counts, st.data())
def test_chosen_segments_are_padded_to_the_largest_of_them(sizes, data):
    members = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=5))
    index, exists = padded_index(bounds(sizes), torch.tensor(members))
    assert index.shape[1] == max(sizes[m] for m in members)
    expected = [row for m in members for row in range(sum(sizes[:m]), sum(sizes[: m + 1]))]
    assert index[exists].tolist() == expected


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.integers(1, 5000))
def test_buckets_hold_every_segment_once_and_keep_the_budget(sizes, budget):
    groups = size_buckets(bounds(sizes), budget)
    assert sorted(member for group in groups for member in group.tolist()) == list(range(len(sizes)))
    for group in groups:
        largest = max(sizes[m] for m in group.tolist())
        assert len(group) == 1 or len(group) * largest**2 <= budget
        assert all(2 * sizes[m] >= largest for m in group.tolist())  # padding at most quadruples the pairs
