"""Symmetry operations as a group, and the fast count of images against the comparison of all pairs."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from geoembed.errors import UnknownNameError, ValueRangeError
from geoembed.io.cif_items import BlockItems
from geoembed.io.cif_sites import Rows, _merge_pairwise, cell_matrix, sites_of
from geoembed.io.cif_symmetry import Operations, operations_of
from geoembed.io.sites import Sites
from hypothesis import given, settings
from hypothesis import strategies as st

CELLS = {1: (4, 5, 6, 80, 95, 102), 14: (5, 5.2, 5.3, 90, 99, 90), 62: (10, 6, 4.7, 90, 90, 90), 136: (4.6, 4.6, 2.96, 90, 90, 90),
         166: (4.1, 4.1, 29, 90, 90, 120), 194: (3.2, 3.2, 5.2, 90, 90, 120), 221: (4, 4, 4, 90, 90, 90), 227: (8, 8, 8, 90, 90, 90)}


def group(number: int) -> Operations:
    """Operations of the tables, read from their triplets."""
    listed = "".join(f" '{operation.triplet()}'\n" for operation in gemmi.find_spacegroup_by_number(number).operations())
    block = gemmi.cif.read_string("data_x\nloop_\n_space_group_symop_operation_xyz\n" + listed)[0]
    return operations_of(BlockItems(block), "x")


def cell(number: int) -> np.ndarray:
    values = [float(value) for value in CELLS[number]]
    return cell_matrix(values[:3], values[3:], "x")


def table(sites: Sites) -> set[tuple[float, ...]]:
    """Every (x, y, z, Z, occupancy), rounded."""
    node = np.arange(len(sites.numbers)) if sites.node is None else sites.node
    share = np.ones(len(node)) if sites.occupancy is None else sites.occupancy
    points = np.round(sites.coordinates[node], 6) % 1
    return {(*point, int(z), round(float(amount), 9)) for point, z, amount in zip(points.tolist(), sites.numbers, share, strict=True)}


@settings(max_examples=60)
@given(st.sampled_from(sorted(CELLS)), st.integers(0, 10**6), st.booleans())
def test_images_are_those_that_all_pairs_leave(number: int, seed: int, disordered: bool) -> None:
    rng = np.random.default_rng(seed)
    special = rng.choice([0.0, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 0.125], (4, 3))
    points = np.where(rng.random((4, 1)) < 0.6, special, rng.uniform(size=(4, 3)))
    points[1] = points[0]  # a mixed site
    share = np.array([0.5, 0.5, 0.4, 0.3]) if disordered else np.array([0.5, 0.5, 1.0, 1.0])
    rows = Rows(["A", "B", "C", "D"], np.array([26, 27, 8, 9]), points, share)
    operations = group(number)
    images = operations.images(points)
    try:
        expected = _merge_pairwise(images, rows, cell(number), "x")
    except ValueRangeError:  # rows that happen to coincide: both ways must refuse them
        with pytest.raises(ValueRangeError, match="Correct the occupancies"):
            sites_of(rows, operations, cell(number), "x")
        return
    assert table(sites_of(rows, operations, cell(number), "x")) == table(expected)


@pytest.mark.parametrize(("number", "point", "multiplicity"), [
    (225, (0, 0, 0), 4), (225, (0.25, 0.25, 0.25), 8), (225, (0.11, 0.23, 0.37), 192), (194, (1 / 3, 2 / 3, 0.25), 2),
    (227, (0, 0, 0), 8), (14, (0, 0, 0), 2), (14, (0.1, 0.2, 0.3), 4), (166, (0, 0, 0.2), 6),
])
def test_a_position_has_the_multiplicity_of_the_international_tables(number: int, point: tuple[float, ...], multiplicity: int) -> None:
    operations = group(number)
    place = np.array([point])
    step = operations.images(place)[0] - place
    fixed = np.abs(step - np.rint(step)).max(axis=1) < 1e-6
    first = operations.first_images(fixed)
    assert first is not None
    assert int(first.sum()) == multiplicity
    assert bool(first[0])


def test_a_list_that_is_no_group_is_compared_by_pairs() -> None:
    rotation = np.array([np.eye(3), np.diag([-1.0, -1, 1]), np.diag([1.0, -1, -1])])
    operations = Operations(rotation, np.zeros((3, 3)))
    assert operations.first_images(np.array([True, False, False])) is None
    rows = Rows(["A"], np.array([11]), np.array([[0.0, 0.0, 0.3]]), np.ones(1), ordered=True)
    sites = sites_of(rows, operations, np.eye(3) * 5, "x")
    assert sorted(np.round(sites.coordinates[:, 2], 9)) == [0.3, 0.7]


def test_a_cell_that_the_operations_distort_is_told_from_one_that_they_keep() -> None:
    assert group(221).keep_lengths(np.eye(3) * 4)
    assert not group(221).keep_lengths(np.diag([4.0, 4.0, 5.0]))
    assert group(194).keep_lengths(cell(194))


def test_null_operations_are_no_operations() -> None:
    block = gemmi.cif.read_string("data_x\n_symmetry_equiv_pos_as_xyz ?\n_symmetry_space_group_name_H-M 'P -1'\n")[0]
    assert len(operations_of(BlockItems(block), "x").rotation) == 2
    block = gemmi.cif.read_string("data_x\n_symmetry_space_group_name_H-M 'Q 9'\n")[0]
    with pytest.raises(UnknownNameError, match="List its symmetry operations"):
        operations_of(BlockItems(block), "x")
