"""All pairs and all pairs within a radius, against their definitions in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from geoembed.errors import BudgetError, ValueRangeError
from geoembed.ops import full_edges, radius_edges
from hypothesis import given
from hypothesis import strategies as st

from generators import numbers

CYLINDER = (None, 2 * math.pi)


def within(x: torch.Tensor, bounds: list[int], radius: float) -> list[list[int]]:
    """[source, target] of every pair on the cylinder, by target, then source; in exact steps of Python's floats."""
    pairs = []
    for low, high in itertools.pairwise(bounds):
        for target in range(low, high):
            for source in range(low, high):
                eta, phi = (x[source].double() - x[target].double()).tolist()
                phi = min(abs(phi), 2 * math.pi - abs(phi))
                if source != target and eta * eta + phi * phi <= radius * radius:
                    pairs.append([source, target])
    return pairs


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 7.0]), st.integers(0, 999))
def test_edges_within_a_radius_are_those_of_the_definition_ties_included(counts, radius, seed):
    bounds = [0, *torch.tensor(counts).cumsum(0).tolist()]
    x = (numbers(bounds[-1], 2, seed=seed) * 4).round() / 4  # many pairs at exactly the radius, and coincident ones
    x[:, 1] = x[:, 1].clamp(-3, 3)
    assert radius_edges(x, torch.tensor(bounds), radius, CYLINDER).T.tolist() == within(x, bounds, radius)


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.5, 3.5])
def test_a_tree_finds_the_pairs_of_the_dense_search(radius, monkeypatch):
    g = torch.Generator().manual_seed(0)
    x = torch.stack([torch.randint(-8, 9, (1200,), generator=g) / 10, torch.randint(-31, 32, (1200,), generator=g) / 10], -1)
    found = radius_edges(x, torch.tensor([0, 1200]), radius, CYLINDER)
    monkeypatch.setattr("geoembed.ops.radius.has_tree", lambda *_: False)
    assert found.equal(radius_edges(x, torch.tensor([0, 1200]), radius, CYLINDER))
    assert found.shape[1] > 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_full_edges_are_every_ordered_pair_of_a_segment(counts):
    bounds = [0, *torch.tensor(counts).cumsum(0).tolist()]
    expected = [[s, t] for low, high in itertools.pairwise(bounds) for t in range(low, high) for s in range(low, high) if s != t]
    assert full_edges(torch.tensor(bounds)).T.tolist() == expected


def test_a_radius_that_is_no_number_is_refused():
    for radius in (-1.0, math.nan):
        with pytest.raises(ValueRangeError, match="at least 0"):
            radius_edges(torch.zeros(2, 2), torch.tensor([0, 2]), radius)


def test_a_budget_of_edges_is_refused_not_cut():
    x, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    assert radius_edges(x, ptr, 1.0, most=20).shape == (2, 20)
    with pytest.raises(BudgetError, match=r"over 19 edges .* Raise the budget 'most'"):
        radius_edges(x, ptr, 1.0, most=19)
