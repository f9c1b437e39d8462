"""The torch cell list: the same pairs as pymatgen on ten thousand cells that break other searches, in one call for many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geoembed.ops import (
    Crystals,
    Neighbors,
    batched_neighbors,
    cell_list,
    cell_list_neighbors,
    compiled_search,
    one_crystal,
    periodic_neighbors_torch,
    unwrap_pairs,
    wrap_sites,
)
from pymatgen.core import Lattice, Structure


def odd_crystals(rng: np.random.Generator, count: int, mixed: bool = False) -> tuple[Crystals, list[float]]:
    """Cells left-handed or right-handed, skewed down to 17°, of one site or a few, some of them 50 cells away, some axes open."""
    positions, cells, axes, sizes, cutoffs = [], [], [], [], []
    while len(cells) < count:
        angles = rng.uniform(17, 163, 3) if rng.random() < 0.5 else rng.uniform(60, 120, 3)
        a, b, c = np.cos(np.radians(angles))
        room = 1 + 2 * a * b * c - a * a - b * b - c * c
        if room < 0.01:
            continue
        lengths = rng.uniform(2.0, 9.0, 3)
        sine = np.sin(np.radians(angles[2]))
        cell = np.array([[1, 0, 0], [c, sine, 0], [b, (a - b * c) / sine, np.sqrt(room) / sine]]) * lengths[:, None]
        cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]  # turned, and mirrored half of the time
        cell = cell[rng.permutation(3)]
        n = int(rng.integers(1, 9)) if rng.random() < 0.7 else 1
        periodic = rng.random(3) < 0.5 if mixed else np.ones(3, bool)
        fractional = rng.random((n, 3))
        if rng.random() < 0.3:
            fractional += rng.integers(-50, 51, (n, 3)) * periodic
        height = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()
        positions.append(fractional @ cell)
        cells.append(cell)
        axes.append(periodic)
        sizes.append(n)
        cutoffs.append(float(min(rng.uniform(1.0, 7.0), 4.0 * height)))  # over as many as four cells
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return Crystals(torch.tensor(np.concatenate(positions)), ptr, torch.tensor(np.array(cells)), torch.tensor(np.array(axes))), cutoffs


def rows(found: Neighbors) -> np.ndarray:
    """Pairs [E, 5] as (target, shift, source), sorted."""
    source, target = found.edge_index.numpy()
    table = np.column_stack([target, found.shift.numpy(), source])
    return table[np.lexsort(table.T[::-1])]


def of_pymatgen(crystals: Crystals, cutoffs: list[float]) -> np.ndarray:
    """The rows that pymatgen finds; it is given sites inside the cell, as it would fill all the space between far ones with boxes."""
    tables = []
    for b, cutoff in enumerate(cutoffs):
        low, high = crystals.ptr[b : b + 2].tolist()
        axes = crystals.pbc[b].numpy()
        lattice = Lattice(crystals.cell[b].numpy(), pbc=tuple(axes.tolist()))
        fractional = lattice.get_fractional_coords(crystals.positions[low:high].numpy())
        whole = np.floor(fractional) * axes
        structure = Structure(lattice, ["H"] * (high - low), fractional - whole)
        center, point, image, _ = structure.get_neighbor_list(cutoff, numerical_tol=1e-8, exclude_self=True)
        tables.append(np.column_stack([center + low, image - whole[point] + whole[center], point + low]).round().astype(np.int64))
    table = np.concatenate(tables)
    return table[np.lexsort(table.T[::-1])]


def torch_list(crystals: Crystals, cutoffs: list[float]) -> Neighbors:
    wrapped, whole = wrap_sites(crystals)
    return unwrap_pairs(cell_list_neighbors(wrapped, torch.tensor(cutoffs)), whole, crystals.ptr)


def compiled_list(crystals: Crystals, cutoffs: list[float]) -> Neighbors:
    return batched_neighbors(crystals, torch.tensor(cutoffs))


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_odd_cells_a_call_have_the_pairs_that_pymatgen_finds(seed):
    crystals, cutoffs = odd_crystals(np.random.default_rng(seed), 1000)
    expected = of_pymatgen(crystals, cutoffs)
    assert len(expected) > 50_000
    for search in (torch_list, compiled_list):
        found = search(crystals, cutoffs)
        assert np.array_equal(rows(found), expected)
        x, (source, target) = crystals.positions, found.edge_index
        crystal = torch.bucketize(source, crystals.ptr[1:], right=True)
        vector = x[source] + (found.shift.double().unsqueeze(1) @ crystals.cell[crystal]).squeeze(1) - x[target]
        torch.testing.assert_close(found.distance, vector.norm(dim=1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("search", [torch_list, compiled_list])
def test_each_axis_is_periodic_by_itself(search):
    crystals, cutoffs = odd_crystals(np.random.default_rng(99), 500, mixed=True)
    assert len({tuple(axes) for axes in crystals.pbc.tolist()}) == 8
    assert np.array_equal(rows(search(crystals, cutoffs)), of_pymatgen(crystals, cutoffs))


def test_pairs_come_by_target_shift_and_source_and_each_has_its_reverse():
    crystals, cutoffs = odd_crystals(np.random.default_rng(5), 50)
    found = torch_list(crystals, cutoffs)
    table = torch.cat([found.edge_index[1:].T, found.shift, found.edge_index[:1].T], 1).numpy()
    assert np.array_equal(table, rows(found))
    back = Neighbors(found.edge_index.flip(0), -found.shift, found.distance)
    assert np.array_equal(rows(back), rows(found))


def test_a_large_cell_is_cut_into_bins_and_loses_nothing():
    rng = np.random.default_rng(6)
    cell = torch.tensor(np.diag([31.0, 29.0, 37.0]) + rng.normal(size=(3, 3)))
    positions = torch.tensor(rng.random((700, 3))) @ cell
    crystal = one_crystal(positions, cell, torch.tensor([True, False, True]))
    assert np.array_equal(rows(torch_list(crystal, [3.7])), rows(periodic_neighbors_torch(positions, cell, crystal.pbc[0], 3.7)))


def test_the_neighbors_of_some_sites_are_those_among_all():
    crystals, cutoffs = odd_crystals(np.random.default_rng(7), 60)
    some = torch.arange(0, len(crystals.positions), 3)
    wrapped, _ = wrap_sites(crystals)
    everything, found = (cell_list_neighbors(wrapped, torch.tensor(cutoffs), sites) for sites in (None, some))
    assert np.array_equal(rows(found), rows(everything.where(torch.isin(everything.edge_index[1], some))))
    assert bool((found.edge_index[1].diff() >= 0).all())
    arrays = compiled_search.wrap(crystals)
    whole, part = (compiled_search.pairs_within(arrays, cutoffs, sites) for sites in (None, some.numpy()))
    asked = compiled_search.chosen(whole, np.flatnonzero(np.isin(whole.target, some.numpy())))
    assert np.array_equal(rows(compiled_search.finished(arrays, part)), rows(compiled_search.finished(arrays, asked)))


def test_sites_listed_in_parts_give_the_list_of_one_piece(monkeypatch):
    crystals, cutoffs = odd_crystals(np.random.default_rng(9), 60)
    whole = torch_list(crystals, cutoffs)
    monkeypatch.setitem(cell_list.SITES, "cpu", 7)
    monkeypatch.setitem(cell_list.CANDIDATES, "cpu", 50)
    parts = torch_list(crystals, cutoffs)
    assert torch.equal(parts.edge_index, whole.edge_index)
    assert torch.equal(parts.shift, whole.shift)


def test_float32_positions_give_float32_distances_and_the_pairs_away_from_the_cutoff():
    crystals, cutoffs = odd_crystals(np.random.default_rng(8), 200)
    wrapped, whole = wrap_sites(crystals)
    single = wrapped._replace(positions=wrapped.positions.float())
    found = unwrap_pairs(cell_list_neighbors(single, torch.tensor(cutoffs)), whole, crystals.ptr)
    assert found.distance.dtype == torch.float32
    wide = torch_list(crystals, [cutoff + 1e-4 for cutoff in cutoffs])
    narrow = torch_list(crystals, [cutoff - 1e-4 for cutoff in cutoffs])
    ours, inner, outer = (set(map(tuple, rows(part).tolist())) for part in (found, narrow, wide))
    assert inner <= ours <= outer


def test_crystals_without_sites_stand_between_others():
    cell, pbc = torch.eye(3).double().expand(3, 3, 3) * 3, torch.ones(3, 3, dtype=torch.bool)
    crystals = Crystals(torch.zeros(2, 3).double(), torch.tensor([0, 1, 1, 2]), cell, pbc)
    for search in (torch_list, compiled_list):
        assert torch.bincount(search(crystals, [3.1] * 3).edge_index[1]).tolist() == [6, 6]
    nobody = Crystals(torch.zeros(0, 3).double(), torch.tensor([0, 0]), cell[:1], pbc[:1])
    for search in (torch_list, compiled_list):
        assert search(nobody, [3.0]).edge_index.shape == (2, 0)
