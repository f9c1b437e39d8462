"""Edges that are taken away: what goes, goes by whole shells and both ways, and is counted."""

from __future__ import annotations

import numpy as np
import torch
from geoembed.ops import Neighbors, components, mutual, nearest_shells, one_crystal, periodic_neighbors, within_budget

from generators import random_cells

ALL = torch.tensor([True] * 3)


def keys(found: Neighbors) -> set[tuple[int, ...]]:
    return {(s, t, *shift) for s, t, shift in zip(*found.edge_index.tolist(), found.shift.tolist(), strict=True)}


def test_mutual_edges_are_those_that_have_their_reverse():
    rng = np.random.default_rng(0)
    cell = torch.tensor(next(random_cells(rng, 50, 130)))
    crystal = one_crystal(torch.tensor(rng.random((9, 3))) @ cell, cell, ALL)
    found = nearest_shells(crystal, 4, 8.0)
    expected = {(s, t, *shift) for s, t, *shift in keys(found) if (t, s, *(-n for n in shift)) in keys(found)}
    assert keys(mutual(found, crystal.ptr)) == expected
    assert 0 < len(expected) < len(keys(found))


def test_mutual_edges_of_cells_too_large_for_one_key_are_the_same():
    """Shifts of ±2²⁰ cells leave no room for source and target in one number."""
    edges = torch.tensor([[0, 1, 1], [1, 0, 0]])
    shift = torch.tensor([[1 << 20, 0, 1 << 20], [-(1 << 20), 0, -(1 << 20)], [0, 0, 1 << 19]])
    ptr = torch.tensor([0, 1 << 20])
    assert keys(mutual(Neighbors(edges, shift, torch.ones(3)), ptr)) == {(0, 1, 1 << 20, 0, 1 << 20), (1, 0, -(1 << 20), 0, -(1 << 20))}


def test_a_budget_keeps_the_shortest_in_whole_shells_and_says_what_fell_apart():
    """Two dimers of 1 Å, 3 Å apart: 4 short edges and 2 or more long ones; a budget of 5 cuts the bridge."""
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [4, 0, 0], [5, 0, 0]]).double()
    found = periodic_neighbors(positions, torch.zeros(3, 3), ~ALL, 3.5)
    assert len(found.distance) == 6
    kept = within_budget(found, 4, 5)
    assert (len(kept.pairs.distance), kept.dropped, kept.components_before, kept.components_after) == (4, 2, 1, 2)
    assert within_budget(found, 4, 6) == (found, 0, 1, 1)
    nothing = within_budget(found, 4, 3)  # a shell of four does not fit
    assert (nothing.dropped, nothing.components_after) == (6, 4)


def test_forty_points_within_the_radius_have_1560_edges_and_no_hidden_cap():
    rng = np.random.default_rng(1)
    positions = torch.tensor(rng.random((40, 3)))
    found = periodic_neighbors(positions, torch.zeros(3, 3), ~ALL, 2.0)
    assert len(found.distance) == 1560
    assert within_budget(found, 40, 32).dropped >= 1560 - 32


def test_components_count_nodes_without_edges():
    assert components(torch.tensor([[0], [1]]), 5) == 4
    assert components(torch.zeros(2, 0, dtype=torch.int64), 0) == 0
