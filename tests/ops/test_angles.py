"""Angles between edges that meet in a site."""

from __future__ import annotations

import math

import pytest
import torch
from geoembed.ops import angle_between, angle_pairs, edge_vectors, periodic_neighbors


def test_pairs_of_edges_are_those_of_a_loop_over_targets():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 9, (40,), generator=generator).sort().values
    edges = torch.stack([torch.zeros_like(target), target])
    loop = [(a, b) for b in range(40) for a in range(40) if a != b and target[a] == target[b]]
    assert angle_pairs(edges, 9).T.tolist() == [list(pair) for pair in loop]


def test_a_site_of_no_or_one_edge_has_no_angle():
    assert angle_pairs(torch.tensor([[1], [0]]), 3).shape == (2, 0)
    assert angle_pairs(torch.zeros(2, 0, dtype=torch.int64), 3).shape == (2, 0)


def test_six_neighbors_of_a_cubic_site_make_24_right_and_6_straight_angles():
    cell, positions = 3 * torch.eye(3).double(), torch.zeros(1, 3).double()
    found = periodic_neighbors(positions, cell, torch.tensor([True] * 3), 3.1)
    pairs = angle_pairs(found.edge_index, 1)
    vectors = edge_vectors(positions, found.edge_index, found.shift, cell.unsqueeze(0))
    torch.testing.assert_close(vectors.norm(dim=1), found.distance)
    angle = angle_between(vectors[pairs[0]], vectors[pairs[1]])
    assert sorted(angle.mul(180 / math.pi).round().long().tolist()) == [90] * 24 + [180] * 6


@pytest.mark.parametrize("other", [(1.0, 0.0, 0.0), (-2.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_the_gradient_of_an_angle_is_finite_for_parallel_and_vanishing_edges(other):
    a = torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    b = torch.tensor(other, requires_grad=True)
    angle_between(a, b).backward()
    assert bool(torch.isfinite(a.grad).all())
    assert bool(torch.isfinite(b.grad).all())
