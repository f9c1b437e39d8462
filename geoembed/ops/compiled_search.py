"""The periodic search of the CPU: pymatgen's compiled ``find_points_in_spheres``, crystal by crystal, the rest in NumPy for all.

A k-d tree takes over where a few sites lie far apart in much space. NumPy and not torch, as a crystal of thirty sites is
arithmetic of microseconds, and a call of torch costs as much.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from geoembed.ops.crystals import ROUNDING, Crystals, Neighbors, complete_cell

BOXES = 1_000_000
"""Boxes of the radius's size that the sites may span before a k-d tree takes over (at 8 million boxes pymatgen needs seconds)."""

Array = NDArray[Any]


class Wrapped(NamedTuple):
    """Crystals as arrays, every site inside its complete cell: x [N, 3], bounds B+1, cell [B, 3, 3], pbc [B, 3] int64, whole [N, 3]."""

    x: Array
    bounds: list[int]
    cell: Array
    pbc: Array
    whole: Array


class Pairs(NamedTuple):
    """Pairs sorted by target: numbers of their sites [E], image [E, 3] float64 between wrapped sites, distance [E] Å.

    The distance of a site to itself is NaN, so that no comparison keeps it; images become whole numbers when few are left.
    """

    target: Array
    source: Array
    image: Array
    distance: Array


def wrap(crystals: Crystals) -> Wrapped:
    """Sites moved into their cells; far outside they would make the search span all cells between."""
    cell = np.ascontiguousarray(complete_cell(crystals.cell, crystals.pbc).numpy())
    pbc, bounds, x = crystals.pbc.numpy(), crystals.ptr.tolist(), crystals.positions.numpy()
    inverse = np.linalg.inv(cell)
    if len(cell) == 1:
        whole = np.floor(x @ inverse[0]) * pbc[0]
        inside = x - whole @ cell[0]
    else:
        sizes = np.diff(bounds)
        whole = np.floor(_times(x, np.repeat(inverse, sizes, axis=0))) * np.repeat(pbc, sizes, axis=0)
        inside = x - _times(whole, np.repeat(cell, sizes, axis=0))
    return Wrapped(np.ascontiguousarray(inside), bounds, cell, pbc.astype(np.int64), whole)


def _times(rows: Array, matrices: Array) -> Array:
    """Each row [N, 3] times its matrix [N, 3, 3]."""
    product: Array = np.matmul(rows[:, None, :], matrices)[:, 0, :]
    return product


def pairs_within(wrapped: Wrapped, radius: list[float], targets: Array | None = None) -> Pairs:
    """Pairs not farther than ``radius`` (B numbers, Å); ``targets`` [T], ascending, asks for the neighbors of these sites only."""
    # The search keeps a box of side ``radius`` for all of space between the sites, which lie in their cell or on open axes anywhere.
    reach = np.asarray(radius) + ROUNDING
    span = np.abs(wrapped.cell).sum(axis=1)
    if not wrapped.pbc.all():
        span[~wrapped.pbc.all(axis=1)] = np.inf
    small = ((span / np.maximum(0.1, reach)[:, None] + 3).prod(axis=1) <= BOXES).tolist()
    found = []
    for b, (low, high) in enumerate(pairwise(wrapped.bounds)):
        points, sites = wrapped.x[low:high], None
        if targets is not None:
            sites = targets[slice(*np.searchsorted(targets, (low, high)))]
        centers = points if sites is None else wrapped.x[sites]
        if len(centers):
            find = by_boxes if small[b] or _boxes(points, reach[b]) <= BOXES else by_tree
            center, neighbor, image, distance = find(points, centers, wrapped.cell[b], wrapped.pbc[b], float(reach[b]))
            if low or sites is not None:
                center, neighbor = (center + low if sites is None else sites[center]), neighbor + low
            found.append((center, neighbor, image, distance))
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    target, source, image, distance = found[0] if len(found) == 1 else (np.concatenate(column) for column in zip(*found, strict=True))
    near = np.flatnonzero(distance < ROUNDING)  # few, coinciding sites among them
    near = near[(target[near] == source[near]) & ~image[near].any(axis=1)]
    distance[near] = np.nan
    return Pairs(target, source, image, distance)


def chosen(pairs: Pairs, rows: Array) -> Pairs:
    """The pairs of these numbers."""
    return Pairs(pairs.target.take(rows), pairs.source.take(rows), pairs.image.take(rows, axis=0), pairs.distance.take(rows))


def kth_distances(pairs: Pairs, sites: int, k: int) -> Array:
    """Distance [N] Å of the k-th nearest neighbor of each site; infinite where it has fewer."""
    count = np.bincount(pairs.target, minlength=sites)
    first = count.cumsum() - count
    rows = np.full((sites, max(int(count.max(initial=0)), k)), np.inf)
    rows[pairs.target, np.arange(len(pairs.target)) - first[pairs.target]] = pairs.distance
    kth: Array = np.fmin(np.partition(rows, k - 1, axis=1)[:, k - 1], np.inf)
    return kth


def finished(wrapped: Wrapped, pairs: Pairs) -> Neighbors:
    """Pairs of the sites as they were given, in the order of :class:`Neighbors`."""
    shift, local = np.rint(pairs.image.T, order="C").astype(np.int64), pairs.source  # rows: columns are slow to take
    if wrapped.whole.any():
        whole = np.ascontiguousarray(wrapped.whole.T).astype(np.int64)
        shift = shift - whole.take(pairs.source, axis=1) + whole.take(pairs.target, axis=1)
    if len(wrapped.bounds) > 2:
        local = local - np.repeat(wrapped.bounds[:-1], np.diff(wrapped.bounds)).take(local)
    order = _order(pairs.target, local, shift, len(wrapped.x))
    edge_index = np.stack([pairs.source.take(order), pairs.target.take(order)])
    shift = np.ascontiguousarray(shift.take(order, axis=1).T)
    return Neighbors(torch.from_numpy(edge_index), torch.from_numpy(shift), torch.from_numpy(pairs.distance.take(order)))


def _order(target: Array, source: Array, shift: Array, sites: int) -> Array:
    """Numbers of the pairs by target, shift and source."""
    low = shift.min(axis=1, initial=0)
    a, b, c = (shift.max(axis=1, initial=0) - low + 1).tolist()
    most = int(source.max(initial=0)) + 1
    room = most * a * b * c
    if room >= 1 << 62:
        return np.lexsort((source, *shift[::-1], target))
    x, y, z = shift - low[:, None]
    place = ((x * b + y) * c + z) * most + source
    if room <= 1 << 16 and sites <= 1 << 16:  # NumPy sorts 16 bits by counting
        first = np.argsort(place.astype(np.uint16), kind="stable")
        return first.take(np.argsort(target.take(first).astype(np.uint16), kind="stable"))
    if room * sites < 1 << 62:
        return np.argsort(target * room + place)
    return np.lexsort((place, target))


def _boxes(points: Array, reach: float) -> float:
    """Boxes of side ``reach`` that the sites span."""
    return float(np.prod((points.max(axis=0) - points.min(axis=0)) / max(0.1, reach) + 3))


def by_boxes(points: Array, centers: Array, cell: Array, pbc: Array, radius: float) -> tuple[Array, Array, Array, Array]:
    """Centers (non-decreasing), neighbors, images and distances by pymatgen."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    center, neighbor, image, distance = find_points_in_spheres(points, centers, r=radius, pbc=pbc, lattice=cell, tol=ROUNDING)
    if distance.max(initial=0.0) <= radius:
        return center, neighbor, image, distance
    near = distance <= radius  # the tolerance lets a little more in
    return center[near], neighbor[near], image[near], distance[near]


def by_tree(points: Array, centers: Array, cell: Array, pbc: Array, radius: float) -> tuple[Array, Array, Array, Array]:
    """The same by a k-d tree of the images that can reach: for few sites in much space."""
    from scipy.spatial import cKDTree

    inverse = np.linalg.inv(cell)
    reach = np.ceil(radius * np.linalg.norm(inverse, axis=0)).astype(np.int64) * pbc  # of wrapped sites
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
    images = points + (shifts @ cell)[:, None]  # [M, N, 3]
    near = ((images >= points.min(axis=0) - radius) & (images <= points.max(axis=0) + radius)).all(axis=-1)
    image, site = np.nonzero(near)
    pairs = cKDTree(centers).sparse_distance_matrix(cKDTree(images[near]), radius, output_type="ndarray")
    pairs = pairs[np.argsort(pairs["i"], kind="stable")]
    return pairs["i"], site[pairs["j"]], shifts[image[pairs["j"]]].astype(np.float64), pairs["v"]
