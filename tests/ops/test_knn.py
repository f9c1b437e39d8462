"""Nearest neighbors in ragged sets against brute force in float64."""

from __future__ import annotations

import itertools
import math
import sys

import pytest
import torch
from geoembed.ops import knn, squared_distance, wrap
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generators import numbers


def brute(x: Tensor, bounds: list[int], k: int, period: tuple[float | None, ...] | None = None) -> list[list[int]]:
    """The definition: sort (distance, index) of all others of the segment, in float64, −1 for none."""
    table = []
    for low, high in itertools.pairwise(bounds):
        for i in range(low, high):
            others = []
            for j in range(low, high):
                if i != j:
                    difference = (x[i].double() - x[j].double()).tolist()
                    if period:
                        difference = [math.remainder(d, p) if p else d for d, p in zip(difference, period, strict=True)]
                    others.append((math.fsum(d * d for d in difference), j))
            nearest = [j for _, j in sorted(others)[:k]]
            table.append(nearest + [-1] * (k - len(nearest)))
    return table


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))
def test_neighbors_are_those_of_brute_force_in_order(counts, k, dims, seed):
    bounds = [0, *torch.tensor(counts).cumsum(0).tolist()]
    x = numbers(bounds[-1], dims, seed=seed)
    assert knn(x, torch.tensor(bounds), k).tolist() == brute(x, bounds, k)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 999))
def test_periodic_neighbors_are_those_of_brute_force(n, k, seed):
    x = torch.stack([numbers(n, seed=seed), numbers(n, seed=seed + 1) * 3], -1)
    period = (None, 2 * math.pi)
    assert knn(x, torch.tensor([0, n]), k, period=period).tolist() == brute(x, [0, n], k, period)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=9), st.integers(1, 5))
def test_ties_go_to_the_smaller_index(places, k):
    x = torch.tensor(places, dtype=torch.float64).view(-1, 1)
    assert knn(x, torch.tensor([0, len(places)]), k).tolist() == brute(x, [0, len(places)], k)


def test_large_sets_in_blocks_give_the_table_of_one_piece(monkeypatch):
    x, ptr = numbers(90, 2), torch.tensor([0, 3, 70, 70, 90])
    whole = knn(x, ptr, 5)
    monkeypatch.setattr(sys.modules["geoembed.ops.knn"], "PAIRS", 200)  # three rows of queries at a time
    assert torch.equal(knn(x, ptr, 5), whole)


def test_neighbors_do_not_carry_gradients_and_leave_the_points_as_they_are():
    x = numbers(10, 2).requires_grad_()
    before = x.detach().clone()
    assert not knn(x, torch.tensor([0, 10]), 3).requires_grad
    assert torch.equal(x, before)


@given(st.floats(-50, 50), st.floats(0.1, 20))
def test_a_wrapped_difference_is_the_ieee_remainder(difference, period):
    wrapped = float(wrap(torch.tensor(difference, dtype=torch.float64), period))
    assert abs(wrapped) <= period / 2 * (1 + 1e-12)
    assert math.isclose(math.remainder(difference - wrapped, period), 0.0, abs_tol=1e-9)


def test_squared_distances_of_a_three_four_five_triangle_on_a_cylinder():
    a, b = torch.tensor([[[0.0, 0.5]]]), torch.tensor([[[3.0, 6.5]]])
    assert squared_distance(a, b).item() == pytest.approx(45.0)
    assert squared_distance(a, b, (None, 10.0)).item() == pytest.approx(25.0)
