"""Faults of neighbor searches among particles: caps, coincidence in large sets, the seam of phi (22, 30, 33)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from geoembed.errors import BudgetError
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.connect import connect
from geoembed.ops import knn, radius_edges

CYLINDER = (None, 2 * math.pi)


def brute(x: torch.Tensor, k: int, period: float | None = None) -> torch.Tensor:
    """All distances in float64, a stable sort, self left out by index."""
    difference = (x.double().unsqueeze(1) - x.double()).abs()
    if period is not None:
        difference[..., 1] = torch.minimum(difference[..., 1], period - difference[..., 1])
    distance = difference.square().sum(-1).fill_diagonal_(torch.inf)
    return torch.sort(distance, dim=1, stable=True).indices[:, :k]


# 22


def test_fault_22_no_neighbor_is_capped_and_a_budget_is_refused_and_recorded():
    g = np.random.default_rng(0)
    event = cloud_graph(pt=np.ones(40), eta=g.normal(0, 0.05, 40), phi=g.normal(0, 0.05, 40))
    assert connect(event.clone(), {"rule": "eta_phi_radius", "r": 1.0}).num_edges == 40 * 39 == 1560
    assert radius_edges(event.pos, torch.tensor([0, 40]), 1.0, CYLINDER).shape == (2, 1560)
    with pytest.raises(BudgetError, match="over 32 edges .* Raise the budget 'most'"):
        connect(event.clone(), {"rule": "eta_phi_radius", "r": 1.0, "most": 32})
    assert cloud_graph(pt=np.ones(40), eta=g.normal(size=40), phi=g.normal(size=40), neighbors=32).provenance.settings["k"] == 32


# 30


def test_fault_30_coincident_particles_are_neighbors_and_none_is_its_own():
    table = knn(torch.zeros(6, 2), torch.tensor([0, 6]), 5)
    assert table.tolist() == [[j for j in range(6) if j != i] for i in range(6)]
    many = knn(torch.zeros(700, 2), torch.tensor([0, 700]), 3, CYLINDER)  # found by a tree, where all distances tie
    assert many[:5].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]
    twice = cloud_graph(pt=[5.0, 5.0, 3.0], eta=[0.1, 0.1, 0.2], phi=[0.3, 0.3, 0.1])
    assert bool((twice.edge_index[0] != twice.edge_index[1]).all())
    assert twice.num_edges == 6
    assert bool(torch.isfinite(twice.edge_attr).all())


# 33


def test_fault_33_two_thousand_jets_at_any_phi_have_no_wrong_neighbor():
    g = torch.Generator().manual_seed(0)
    axis = (torch.rand(2000, 1, generator=g) * 2 - 1) * math.pi
    eta, phi = (0.3 * torch.randn(2000, 40, generator=g, dtype=torch.float64) for _ in range(2))
    phi = torch.remainder(phi + axis + math.pi, 2 * math.pi) - math.pi
    x = torch.stack([eta, phi], -1)
    ptr = torch.arange(2001) * 40
    table = knn(x.flatten(0, 1), ptr, 16, CYLINDER).view(2000, 40, 16) - ptr[:-1].view(-1, 1, 1)
    seam = torch.nonzero((phi.amax(1) > 3) & (phi.amin(1) < -3)).flatten()
    assert len(seam) > 150
    for jet in [*seam[:150].tolist(), *range(50)]:
        assert table[jet].equal(brute(x[jet], 16, 2 * math.pi))


def test_fault_33_a_shift_of_phi_changes_no_edge_and_no_feature():
    g = np.random.default_rng(0)
    pt, eta, phi = g.exponential(5, 60), g.normal(size=60), g.uniform(-math.pi, math.pi, 60)
    one, other = (cloud_graph(pt=pt, eta=eta, phi=phi + shift) for shift in (0.0, 2.0))
    assert one.edge_index.equal(other.edge_index)
    assert torch.allclose(one.edge_attr, other.edge_attr, atol=2e-4)  # positions are float32
