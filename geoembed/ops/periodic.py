"""Periodic neighbor lists: all pairs of sites and lattice images within a cutoff, and the shell-complete k nearest.

:func:`periodic_neighbors` calls pymatgen's compiled ``find_points_in_spheres``, the fastest on cells of ordinary size, and a
k-d tree where a few sites lie far apart; :func:`periodic_neighbors_torch` is the specification: brute force over images in
float64. Both take any cell: skewed, left-handed, smaller than the cutoff, periodic along any subset of its vectors, with sites
anywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoembed.ops.segment import ptr_from_sorted

TIE = 1e-4
"""Distances [Å] that differ by less belong to one shell."""

_ROUNDING = 1e-8
"""Å: a pair at the cutoff itself counts, both ways and however the crystal is turned; also the tolerance of pymatgen's search."""

BOXES = 1_000_000
"""Boxes of the cutoff's size that the sites may span before a k-d tree takes over (at 8 million boxes pymatgen needs seconds)."""

Array = NDArray[Any]


class Neighbors(NamedTuple):
    """Directed pairs, sorted by (target, distance, source, shift): edge_index [2, E], shift [E, 3], distance [E] Å."""

    edge_index: Tensor
    shift: Tensor
    distance: Tensor


def periodic_neighbors(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Neighbors:
    """Pairs not farther than ``cutoff`` [Å]: positions [N, 3] Å, cell [3, 3] rows, pbc [3] bool -> :class:`Neighbors` in float64.

    The source of an edge sits at ``positions[source] + shift @ cell``. A site is its own neighbor through other images only.
    """
    if positions.shape[0] == 0:
        return _sorted(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))
    lattice = np.ascontiguousarray(complete_cell(cell, pbc).numpy())
    periodic = np.ascontiguousarray(pbc.numpy().astype(np.int64))
    # Sites far outside the cell would make the search span all cells between.
    whole = np.floor(positions.double().numpy() @ np.linalg.inv(lattice)) * periodic
    points = np.ascontiguousarray(positions.double().numpy() - whole @ lattice)
    radius = float(cutoff) + _ROUNDING
    search = _by_boxes if np.prod(np.ptp(points, axis=0) / max(0.1, radius) + 3) <= BOXES else _by_tree
    center, neighbor, image, distance = search(points, lattice, periodic, radius)
    shift = np.rint(image - whole[neighbor] + whole[center]).astype(np.int64)
    keep = ~((center == neighbor) & (shift == 0).all(axis=1)) & (distance <= radius)
    edge_index = torch.from_numpy(np.stack([neighbor[keep], center[keep]]).astype(np.int64))
    return _sorted(edge_index, torch.from_numpy(shift[keep]), torch.from_numpy(distance[keep]))


def _by_boxes(points: Array, lattice: Array, periodic: NDArray[np.int64], radius: float) -> tuple[Array, Array, Array, Array]:
    """Centers, neighbors, images and distances by pymatgen, whose memory is that of a box of side ``radius`` for all of space."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    found: tuple[Array, Array, Array, Array] = find_points_in_spheres(
        points, points, r=radius, pbc=periodic, lattice=lattice, tol=_ROUNDING
    )
    return found


def _by_tree(points: Array, lattice: Array, periodic: NDArray[np.int64], radius: float) -> tuple[Array, Array, Array, Array]:
    """The same by a k-d tree of the images that can reach: for few sites in much space."""
    from scipy.spatial import cKDTree

    inverse = np.linalg.inv(lattice)
    reach = np.ceil(radius * np.linalg.norm(inverse, axis=0)).astype(np.int64) * periodic  # of wrapped sites
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
    images = points + (shifts @ lattice)[:, None]  # [M, N, 3]
    near = ((images >= points.min(axis=0) - radius) & (images <= points.max(axis=0) + radius)).all(axis=-1)
    image, site = np.nonzero(near)
    pairs = cKDTree(points).sparse_distance_matrix(cKDTree(images[near]), radius, output_type="ndarray")
    return pairs["i"], site[pairs["j"]], shifts[image[pairs["j"]]], pairs["v"]


def periodic_neighbors_torch(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Neighbors:
    """The specification of :func:`periodic_neighbors`: every image that can reach, in difference form, float64."""
    full = complete_cell(cell, pbc)
    x = positions.double()
    inverse = torch.linalg.inv(full)
    fractional = x @ inverse
    # Perpendicular heights bound how many images a sphere can cross; the spread of unwrapped sites adds to it.
    heights = 1.0 / torch.linalg.vector_norm(inverse, dim=0)
    spread = fractional.amax(0) - fractional.amin(0) if len(x) else x.new_zeros(3)
    reach = ((cutoff / heights + spread).ceil().long() + 1).where(pbc, 0)
    axes = [torch.arange(-int(n), int(n) + 1) for n in reach]
    shifts = torch.cartesian_prod(*axes).view(-1, 3)  # [M, 3]
    images = x.unsqueeze(0) + (shifts.double() @ full).unsqueeze(1)  # [M, N, 3]
    distance = torch.linalg.vector_norm(images.unsqueeze(1) - x.view(1, -1, 1, 3), dim=-1)  # [M, target, source]
    itself = (shifts == 0).all(-1).view(-1, 1, 1) & torch.eye(len(x), dtype=torch.bool)
    m, target, source = torch.nonzero((distance <= cutoff + _ROUNDING) & ~itself, as_tuple=True)
    return _sorted(torch.stack([source, target]), shifts[m], distance[m, target, source])


def complete_cell(cell: Tensor, pbc: Tensor) -> Tensor:
    """cell [3, 3] with the vectors of non-periodic axes replaced, where they vanish, by unit vectors across the others."""
    full = cell.double().clone()
    missing = (torch.linalg.vector_norm(full, dim=1) < 1e-12) & ~pbc
    if bool(missing.any()):
        # The null space of the given vectors is orthogonal to them, so no periodic image is moved.
        _, _, basis = torch.linalg.svd(full)
        given = int((~missing).sum())
        full[missing] = basis[given:]
    return full


def shell_complete(neighbors: Neighbors, num_nodes: int, k: int, tie: float = TIE) -> Neighbors:
    """Keep, for each target, its k nearest and everything within ``tie`` [Å] of the k-th; fewer where fewer are there.

    A cut through a shell of equal distances would make the graph depend on the order of the sites.
    """
    ptr = ptr_from_sorted(neighbors.edge_index[1], num_nodes)
    kth = torch.minimum(ptr[:-1] + k, ptr[1:]) - 1  # edges are sorted by distance within a target
    bound = neighbors.distance[kth.clamp(min=0)] + tie if len(neighbors.distance) else neighbors.distance.new_zeros(num_nodes)
    keep = neighbors.distance <= bound[neighbors.edge_index[1]]
    return Neighbors(neighbors.edge_index[:, keep], neighbors.shift[keep], neighbors.distance[keep])


def _sorted(edge_index: Tensor, shift: Tensor, distance: Tensor) -> Neighbors:
    keys = (shift[:, 2], shift[:, 1], shift[:, 0], edge_index[0], distance, edge_index[1])
    order = torch.from_numpy(np.lexsort([key.numpy() for key in keys]))
    return Neighbors(edge_index[:, order], shift[order], distance[order])
