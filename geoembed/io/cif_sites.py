"""From the items of a CIF block to the sites of its cell: symmetry applied, mixed sites merged, every liberty noted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geoembed.errors import ValueRangeError
from geoembed.io.budget import check_budget
from geoembed.io.sites import Array, Ints, Sites, shared_sites
from geoembed.schema import Scalar

SITE_TOLERANCE = 1e-4
"""Fractional; sites closer than this along every axis are one (mixed) site. The value of pymatgen's CIF reader."""

_LONGEST = 1e5  # Å; beyond, a coordinate of eight digits no longer resolves an atom
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


def cell_matrix(lengths: Array, angles: Array, where: str) -> Array:
    """Rows are the lattice vectors [Å] of lengths a, b, c [Å] and angles [°]; c along z, a in the xz plane (as pymatgen).

    Raises :class:`ValueRangeError` where no such cell exists.
    """
    cosine, sine = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    square = 1 + 2 * cosine.prod() - (cosine**2).sum()  # (volume / abc)²
    if (lengths <= 0).any() or (lengths > _LONGEST).any() or (angles <= 0).any() or (angles >= 180).any() or square <= 1e-10:
        raise ValueRangeError(
            where=f"{where}: cell", found=f"lengths {lengths.tolist()} Å, angles {angles.tolist()}°",
            expected=f"lengths of up to {_LONGEST:g} Å and angles that enclose a volume", remedy="Correct the cell parameters.",
        )
    a, b, c = lengths
    star = np.arccos(np.clip((cosine[0] * cosine[1] - cosine[2]) / (sine[0] * sine[1]), -1, 1))
    return np.array([
        [a * sine[1], 0.0, a * cosine[1]],
        [-b * sine[0] * np.cos(star), b * sine[0] * np.sin(star), b * cosine[0]],
        [0.0, 0.0, c],
    ])


def sites_of(rows: Rows, rotation: Array, translation: Array, cell: Array, where: str) -> Sites:
    """Every site of the cell: images of ``rows`` under M operations (rotation [M, 3, 3], translation [M, 3]).

    Coinciding rows become one mixed site. Raises :class:`ValueRangeError` where the occupancies of a site sum to more than
    1.05, and notes what was scaled or merged in ``rows.notes``.
    """
    operations = len(rotation)
    if np.abs(rows.coordinates).max() > 1e6:
        raise ValueRangeError(where=f"{where}: fractional coordinates", found=f"{np.abs(rows.coordinates).max():.4g}",
                              expected="about 0…1", remedy="Give fractional coordinates, not Cartesian ones.")
    check_budget(where, (len(rows.numbers), operations), 200)
    coordinates = rows.coordinates if operations == 1 else _thirds(rows)
    images = np.einsum("mij,nj->nmi", rotation, coordinates) + translation  # [n, M, 3]
    points = images.reshape(-1, 3)
    points = points - np.floor(points)
    points[points >= 1] = 0.0  # -1e-17 wraps to 1.0
    row = np.repeat(np.arange(len(rows.numbers)), operations)
    if operations > 1:
        first = np.unique(np.column_stack([row, np.round(points, 7)]), axis=0, return_index=True)[1]
        points, row = points[np.sort(first)], row[np.sort(first)]
    node = _one_site(points, row, rows, cell, operations)
    order, place = np.unique(node, return_index=True)
    rank = np.empty_like(order)
    rank[np.argsort(place)] = np.arange(len(order))  # sites in the order of the file
    return _merge(rank[node], row, points[np.sort(place)], rows, cell, where)


def _thirds(rows: Rows) -> Array:
    """Coordinates with 0.3333 and 0.6667 read as 1/3 and 2/3, which symmetry needs to find special positions."""
    wrapped = rows.coordinates - np.floor(rows.coordinates)
    third = np.round(wrapped * 3) / 3
    off = np.abs(wrapped - third)
    meant = (off <= 5e-5) & (np.round(wrapped * 3) % 3 != 0)
    if (meant & (off > 1e-8)).any():
        rows.notes["rounded_to_thirds"] = int((meant & (off > 1e-8)).sum())
    return np.where(meant, third, rows.coordinates)


def _one_site(points: Array, row: Ints, rows: Rows, cell: Array, operations: int) -> Ints:
    """Group of each point: points that are one site have one group."""
    spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()  # Å between the closest lattice planes
    reach = SITE_TOLERANCE if operations == 1 else float(np.clip(_ONE_ATOM / spacing, SITE_TOLERANCE, 0.05))
    pairs = cKDTree(points, boxsize=np.ones(3)).query_pairs(reach, p=np.inf, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    step = points[a] - points[b]
    step -= np.round(step)
    same = np.abs(step).max(axis=1, initial=0.0) < SITE_TOLERANCE
    # Coordinates with few digits miss a special position by more than the tolerance; images that cannot be there together merge.
    crowded = (row[a] == row[b]) & (rows.occupancy[row[a]] > 0.5005) & (np.linalg.norm(step @ cell, axis=1) < _ONE_ATOM)
    if (crowded & ~same).any():
        rows.notes["merged_on_special_positions"] = len(np.unique(row[a[crowded & ~same]]))
    kept = same | crowded
    if not kept.any():
        return np.arange(len(points))
    graph = coo_array((np.ones(int(kept.sum()), dtype=bool), (a[kept], b[kept])), shape=(len(points), len(points)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _merge(node: Ints, row: Ints, points: Array, rows: Rows, cell: Array, where: str) -> Sites:
    """Species rows of each node: every written row counts once a node."""
    once = np.unique(node * len(rows.numbers) + row)
    node, row = once // len(rows.numbers), once % len(rows.numbers)

    def name(worst: int) -> str:
        return ", ".join(rows.labels[i] for i in row[node == worst][:6])

    numbers, site, share = shared_sites(rows.numbers[row], node, rows.occupancy[row], name, rows.notes, where)
    return Sites(numbers, points, cell, node=site, occupancy=share)
