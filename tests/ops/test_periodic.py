"""Periodic neighbors: the compiled search, the specification, pymatgen's own list and brute force say the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from geoembed.ops import Neighbors, complete_cell, periodic_neighbors, periodic_neighbors_torch, shell_complete
from pymatgen.core import Lattice, Structure

from generators import random_cells

ALL = torch.tensor([True, True, True])


def pairs(found: Neighbors) -> list[tuple[int, ...]]:
    return [(s, t, *shift) for s, t, shift in zip(*found.edge_index.tolist(), found.shift.tolist(), strict=True)]


def test_the_search_equals_the_list_of_pymatgen_on_random_structures():
    rng = np.random.default_rng(0)
    for cell, _ in zip(random_cells(rng, 50, 130), range(20), strict=False):
        structure = Structure(Lattice(cell), ["Na"] * 4, rng.random((4, 3)))
        center, point, image, distance = structure.get_neighbor_list(5.0)
        expected = Counter(zip(point.tolist(), center.tolist(), *image.astype(int).T.tolist(), distance.round(8).tolist(), strict=True))
        found = periodic_neighbors(torch.tensor(structure.cart_coords), torch.tensor(cell), ALL, 5.0)
        ours = Counter((*pair, d) for pair, d in zip(pairs(found), found.distance.numpy().round(8).tolist(), strict=True))
        assert ours == expected


def test_edges_are_sorted_by_target_shift_and_source_and_the_two_searches_agree():
    rng = np.random.default_rng(1)
    for cell, _ in zip(random_cells(rng, 40, 140), range(20), strict=False):
        positions = torch.tensor(rng.random((3, 3)) @ cell)
        fast = periodic_neighbors(positions, torch.tensor(cell), ALL, 4.5)
        plain = periodic_neighbors_torch(positions, torch.tensor(cell), ALL, 4.5)
        assert pairs(fast) == pairs(plain)
        torch.testing.assert_close(fast.distance, plain.distance, atol=1e-9, rtol=0)
        order = [(t, *shift, s) for s, t, *shift in pairs(fast)]
        assert order == sorted(order)


def test_a_distance_is_the_length_of_the_vector_from_target_to_the_shifted_source():
    rng = np.random.default_rng(2)
    cell = torch.tensor(next(random_cells(rng)))
    positions = torch.tensor(rng.random((3, 3))) @ cell
    found = periodic_neighbors(positions, cell, ALL, 5.0)
    source, target = found.edge_index
    vector = positions[source] + found.shift.double() @ cell - positions[target]
    torch.testing.assert_close(vector.norm(dim=1), found.distance, atol=1e-9, rtol=0)


@pytest.mark.parametrize("search", [periodic_neighbors, periodic_neighbors_torch], ids=lambda f: f.__name__)
def test_the_shells_of_a_simple_cubic_lattice_have_6_12_8_6_24_sites(search):
    found = search(torch.zeros(1, 3), torch.eye(3), ALL, 2.3)
    shells = Counter(found.distance.square().round().long().tolist())
    assert shells == {1: 6, 2: 12, 3: 8, 4: 6, 5: 24}


@pytest.mark.parametrize("search", [periodic_neighbors, periodic_neighbors_torch], ids=lambda f: f.__name__)
def test_no_sites_have_no_neighbors(search):
    found = search(torch.zeros(0, 3), torch.eye(3), ALL, 2.0)
    assert found.edge_index.shape == (2, 0)
    assert found.shift.shape == (0, 3)


def test_a_neighbor_at_the_cutoff_counts():
    assert len(periodic_neighbors(torch.zeros(1, 3), torch.eye(3) * 2, ALL, 2.0).distance) == 6
    assert len(periodic_neighbors(torch.zeros(1, 3), torch.eye(3) * 2, ALL, 2.0 - 1e-6).distance) == 0


@pytest.mark.parametrize("axes", [[True, True, False], [False, True, False], [False, False, False]])
def test_a_zero_vector_is_completed_across_the_given_ones_and_they_stay(axes):
    pbc = torch.tensor(axes)
    cell = torch.tensor([[3.0, 1, 0], [0, 2, 1], [1, 0, 4]]) * pbc.unsqueeze(-1)
    full = complete_cell(cell, pbc)
    assert torch.equal(full[pbc], cell.double()[pbc])
    assert float((full[~pbc] @ full[pbc].T).abs().sum()) < 1e-12
    assert float(torch.linalg.det(full).abs()) > 0.1
    assert torch.equal(complete_cell(torch.eye(3), pbc), torch.eye(3, dtype=torch.float64))


def test_a_shell_is_kept_whole_and_none_is_cut_or_added():
    """Targets 0: shells of 2, 3, 1 at 1, 2, 3 Å, the second split by rounding of 3e-5 Å; 1: a single neighbor; 2: none."""
    distance = torch.tensor([1.0, 1.0, 2.0, 2.00001, 2.00003, 3.0, 5.0], dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    everything = Neighbors(torch.stack([torch.zeros(7, dtype=torch.int64), target]), torch.arange(21).view(7, 3), distance)
    for k, kept in ((1, 2), (2, 2), (3, 5), (5, 5), (6, 6), (99, 6)):
        found = shell_complete(everything, 3, k)
        assert found.edge_index[1].tolist() == [0] * kept + [1], k
        assert torch.equal(found.shift, everything.shift[[*range(kept), 6]])
    empty = Neighbors(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))
    assert shell_complete(empty, 3, 4).edge_index.shape == (2, 0)
