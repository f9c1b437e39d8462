"""From the items of a CIF block to the sites of its cell: symmetry applied, mixed sites merged, every liberty noted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geoembed.errors import ValueRangeError
from geoembed.io.budget import check_budget
from geoembed.io.cif_symmetry import Operations
from geoembed.io.coinciding import all_apart, coinciding, in_file_order
from geoembed.io.sites import Array, Ints, Sites, shared_sites
from geoembed.schema import Scalar

SITE_TOLERANCE = 1e-4
"""Fractional; sites closer than this along every axis are one (mixed) site. The value of pymatgen's CIF reader."""

_FARTHEST = 1e6  # cells; beyond, the sites are Cartesian or broken
_LONGEST = 1e5  # Å; beyond, a coordinate of eight digits no longer resolves an atom
_HALF = 0.5005
_ONE_ATOM = 0.1  # Å; images of one site closer than this, and occupied by more than a half, are one atom on a special position


@dataclass
class Rows:
    """The atom-site rows of a block as they are written, one species a row, and the notes of reading them.

    A row with several species (``0.75Si + 0.25Al``) is repeated.
    """

    labels: list[str]
    numbers: Ints
    coordinates: Array
    occupancy: Array
    notes: dict[str, Scalar] = field(default_factory=dict)
    ordered: bool = False  # True: every occupancy is known to be 1
    inside: bool = False  # True: every coordinate is known to be in [0, 1)


def cell_matrix(lengths: list[float], angles: list[float], where: str) -> Array:
    """Rows are the lattice vectors [Å] of lengths a, b, c [Å] and angles [°]; c along z, a in the xz plane (as pymatgen).

    Raises :class:`ValueRangeError` where no such cell exists.
    """
    (a, b, c), radians = lengths, [math.radians(angle) for angle in angles]
    (x, y, z), (sine_x, sine_y, _) = [math.cos(angle) for angle in radians], [math.sin(angle) for angle in radians]
    square = 1 + 2 * x * y * z - (x * x + y * y + z * z)  # (volume / abc)²
    if not 0 < min(a, b, c) <= max(a, b, c) <= _LONGEST or not 0 < min(radians) <= max(radians) < math.pi or square <= 1e-10:
        raise ValueRangeError(
            where=f"{where}: cell", found=f"lengths {lengths} Å, angles {angles}°",
            expected=f"lengths of up to {_LONGEST:g} Å and angles that enclose a volume", remedy="Correct the cell parameters.",
        )
    star = math.acos(max(-1.0, min(1.0, (x * y - z) / (sine_x * sine_y))))
    return np.array([
        [a * sine_y, 0.0, a * y],
        [-b * sine_x * math.cos(star), b * sine_x * math.sin(star), b * x],
        [0.0, 0.0, c],
    ])


def sites_of(rows: Rows, operations: Operations, cell: Array, where: str) -> Sites:
    """Every site of the cell: images of ``rows`` under M operations.

    Coinciding rows become one mixed site. Raises :class:`ValueRangeError` where the occupancies of a site sum to more than
    1.05, and notes what was scaled or merged in ``rows.notes``.
    """
    count = len(operations.rotation)
    check_budget(where, (len(rows.numbers), count), 200)
    if operations.only_identity and rows.ordered:
        points = rows.coordinates if rows.inside else _wrapped(rows.coordinates, where)
        if all_apart(points):
            return Sites(rows.numbers, points, cell)
    coordinates = rows.coordinates if count == 1 else _thirds(rows)
    if operations.only_identity:
        images, first = coordinates[:, None], np.arange(len(coordinates))
    else:
        images = operations.images(coordinates)
        chosen = _distinct(images - coordinates[:, None], rows.occupancy, operations, cell)
        if chosen is None:
            return _merge_pairwise(images, rows, cell, where)
        first = np.flatnonzero(chosen)
    points, row = _wrapped(images.reshape(-1, 3)[first], where), first // count
    if rows.ordered and all_apart(points):
        return Sites(rows.numbers[row], points, cell)
    # Twice the tolerance: rows of which other images may be closer are left to the comparison of all pairs.
    groups = coinciding(points, SITE_TOLERANCE / 2, 2 * SITE_TOLERANCE)
    return _merge_pairwise(images, rows, cell, where) if groups is None else _merge(groups, row, points, rows, cell, where)


def _distinct(steps: Array, occupancy: Array, operations: Operations, cell: Array) -> NDArray[np.bool_] | None:
    """Which images [n, M] of the rows to keep, each once; ``steps`` [n, M, 3] lead from each row to its images.

    In a group of isometries these are all the steps between images, and those of length 0 tell which images coincide. None
    where it is no such group, or where images are near but not the same: then all pairs have to be compared.
    """
    steps = steps - np.rint(steps)
    cartesian = steps @ cell
    size, length = np.einsum("nmi,nmi->nm", steps, steps), np.einsum("nmi,nmi->nm", cartesian, cartesian)
    fixed = size < (SITE_TOLERANCE / 4) ** 2
    # Rotations and reflections of a hexagonal cell at most double the fractional step between two images.
    near = (size < (4 * SITE_TOLERANCE) ** 2) | ((length < (1.02 * _ONE_ATOM) ** 2) & (occupancy > _HALF)[:, None])
    if (near != fixed).any() or not operations.keep_lengths(cell):
        return None
    kept = [operations.first_images(of_row) for of_row in fixed]
    return None if kept[0] is None else np.array(kept)


def _merge_pairwise(images: Array, rows: Rows, cell: Array, where: str) -> Sites:
    """Sites of images [n, M, 3] that may coincide in any way, by all pairs of near ones."""
    count = images.shape[1]
    points, row = _wrapped(images.reshape(-1, 3), where), np.repeat(np.arange(len(images)), count)
    if count > 1:
        kept = np.sort(np.unique(np.column_stack([row, np.round(points, 7)]), axis=0, return_index=True)[1])
        points, row = points[kept], row[kept]
    return _merge(in_file_order(_one_site(points, row, rows, cell, count)), row, points, rows, cell, where)


def _wrapped(points: Array, where: str) -> Array:
    """Fractional coordinates in [0, 1)."""
    whole = np.floor(points)
    if not whole.any():
        return points
    largest = float(np.abs(points).max())
    if largest > _FARTHEST:
        raise ValueRangeError(where=f"{where}: fractional coordinates", found=f"{largest:.4g}",
                              expected="about 0…1", remedy="Give fractional coordinates, not Cartesian ones.")
    points = points - whole
    points[points >= 1] = 0.0  # -1e-17 wraps to 1.0
    return points


def _thirds(rows: Rows) -> Array:
    """Coordinates with 0.3333 and 0.6667 read as 1/3 and 2/3, which symmetry needs to find special positions."""
    middle = rows.coordinates * 3 % 3 - 1.5  # -0.5 at 1/3, +0.5 at 2/3
    off = np.abs(np.abs(middle) - 0.5)
    meant = off <= 1.5e-4
    if not meant.any():
        return rows.coordinates
    if rounded := int((meant & (off > 3e-8)).sum()):
        rows.notes["rounded_to_thirds"] = rounded
    return np.where(meant, np.where(middle < 0, 1 / 3, 2 / 3), rows.coordinates)


def _one_site(points: Array, row: Ints, rows: Rows, cell: Array, operations: int) -> Ints:
    """Group of each point, by all pairs: points that are one site have one group."""
    spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()  # Å between the closest lattice planes
    reach = SITE_TOLERANCE if operations == 1 else float(np.clip(_ONE_ATOM / spacing, SITE_TOLERANCE, 0.05))
    pairs = cKDTree(points, boxsize=np.ones(3)).query_pairs(reach, p=np.inf, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    step = points[a] - points[b]
    step -= np.rint(step)
    same = np.abs(step).max(axis=1, initial=0.0) < SITE_TOLERANCE
    # Coordinates with few digits miss a special position by more than the tolerance; images that cannot be there together merge.
    crowded = (row[a] == row[b]) & (rows.occupancy[row[a]] > _HALF) & (np.linalg.norm(step @ cell, axis=1) < _ONE_ATOM)
    if (crowded & ~same).any():
        rows.notes["merged_on_special_positions"] = len(np.unique(row[a[crowded & ~same]]))
    kept = same | crowded
    if not kept.any():
        return np.arange(len(points))
    graph = coo_array((np.ones(int(kept.sum()), dtype=bool), (a[kept], b[kept])), shape=(len(points), len(points)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _merge(groups: tuple[Ints, Ints], row: Ints, points: Array, rows: Rows, cell: Array, where: str) -> Sites:
    """Species rows of each site: every written row counts once a site. ``groups``: see :func:`coinciding`."""
    first, node = groups
    chosen = row[first]
    if len(first) == len(points) or bool((chosen[node] == row).all()):  # no site of two rows
        numbers, occupancy = rows.numbers[chosen], rows.occupancy[chosen]
        if bool((occupancy == 1).all()):
            return Sites(numbers, points[first], cell)
        node, row = np.arange(len(first)), chosen
    else:
        once = np.unique(node * len(rows.numbers) + row)
        node, row = once // len(rows.numbers), once % len(rows.numbers)

    def name(worst: int) -> str:
        return ", ".join(rows.labels[i] for i in row[node == worst][:6])

    numbers, site, share = shared_sites(rows.numbers[row], node, rows.occupancy[row], name, rows.notes, where)
    return Sites(numbers, points[first], cell, node=site, occupancy=share)
