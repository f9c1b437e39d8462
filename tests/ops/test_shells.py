"""Whole shells of the nearest: the growing search finds what a search of everything finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from geoembed.ops import Crystals, batched_neighbors, kth_distance, nearest_shells, one_crystal, shell_complete
from hypothesis import given, settings
from hypothesis import strategies as st

from generators import CRYSTALS, crystal, random_cells

ALL = torch.tensor([True] * 3)


def many(rng: np.random.Generator, count: int) -> Crystals:
    """Crystals of 1 to 12 sites, dense and with wide gaps."""
    sizes, positions, cells = [], [], []
    for cell, _ in zip(random_cells(rng, 40, 140), range(count), strict=False):
        cell = cell * rng.uniform(0.5, 3.0, 3)[:, None]
        sizes.append(int(rng.integers(1, 13)))
        positions.append(rng.random((sizes[-1], 3)) @ cell)
        cells.append(cell)
    pbc = torch.tensor(rng.random((len(cells), 3)) < 0.8)
    return Crystals(torch.tensor(np.concatenate(positions)), torch.tensor([0, *sizes]).cumsum(0), torch.tensor(np.array(cells)), pbc)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.sampled_from([1, 3, 12, 40]), cutoff=st.sampled_from([2.5, 6.0, 9.0]))
def test_the_growing_search_gives_the_shells_of_the_whole_sphere(seed, k, cutoff):
    crystals = many(np.random.default_rng(seed), 6)
    everything = batched_neighbors(crystals, torch.full((6,), cutoff))
    expected = shell_complete(everything, len(crystals.positions), k)
    found = nearest_shells(crystals, k, cutoff)
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.shift, expected.shift)
    torch.testing.assert_close(found.distance, expected.distance, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", sorted(CRYSTALS))
def test_shells_of_symmetric_crystals_are_whole_whatever_the_first_radius(name, monkeypatch):
    structure = crystal(name)
    one = one_crystal(torch.tensor(structure.cart_coords), torch.tensor(structure.lattice.matrix), ALL)
    everything = batched_neighbors(one, torch.tensor([8.0]))
    expected = shell_complete(everything, len(structure), 12)
    for first in (0.1, 1.0, 10.0):
        monkeypatch.setattr("geoembed.ops.shells._FIRST", first)
        found = nearest_shells(one, 12, 8.0)
        assert torch.equal(found.edge_index, expected.edge_index)
        assert torch.equal(found.shift, expected.shift)


def test_the_searches_of_cpu_and_gpu_give_one_list(monkeypatch):
    crystals = many(np.random.default_rng(3), 40)
    compiled = nearest_shells(crystals, 12, 8.0)
    monkeypatch.setattr("geoembed.ops.shells.is_compiled", lambda crystals: False)
    by_cells = nearest_shells(crystals, 12, 8.0)
    assert torch.equal(by_cells.edge_index, compiled.edge_index)
    assert torch.equal(by_cells.shift, compiled.shift)
    torch.testing.assert_close(by_cells.distance, compiled.distance, atol=1e-9, rtol=0)


def test_without_a_cutoff_every_site_has_its_k_however_far():
    far = one_crystal(torch.zeros(1, 3).double(), 40 * torch.eye(3).double(), ALL)
    assert nearest_shells(far, 12, 8.0).distance.numel() == 0
    found = nearest_shells(far, 12, math.inf)
    assert len(found.distance) == 18  # six at 40 Å, and the whole shell of twelve at 40·√2
    torch.testing.assert_close(found.distance.max().item(), 40 * math.sqrt(2))


def test_without_a_cutoff_a_molecule_gives_all_there_are():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 50], [0, 70, 0]]).double()
    found = nearest_shells(one_crystal(positions, torch.zeros(3, 3), ~ALL), 12, math.inf)
    assert found.edge_index.T.tolist() == [[1, 0], [2, 0], [0, 1], [2, 1], [0, 2], [1, 2]]


def test_without_a_cutoff_a_chain_of_one_axis_finds_its_images():
    cell = torch.diag(torch.tensor([2.0, 0, 0]))
    found = nearest_shells(one_crystal(torch.zeros(1, 3).double(), cell, torch.tensor([True, False, False])), 3, math.inf)
    assert sorted(found.shift[:, 0].tolist()) == [-2, -1, 1, 2]


def test_the_kth_distance_is_infinite_where_there_are_fewer():
    one = one_crystal(torch.zeros(1, 3).double(), 3 * torch.eye(3).double(), ALL)
    found = batched_neighbors(one, torch.tensor([3.1]))
    assert kth_distance(found, 1, 6).tolist() == [3.0]
    assert kth_distance(found, 1, 7).tolist() == [math.inf]
