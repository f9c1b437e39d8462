"""Periodic neighbor lists: all pairs of sites and lattice images within a cutoff, and the shell-complete k nearest.

:func:`periodic_neighbors` calls pymatgen's compiled ``find_points_in_spheres``, the fastest on cells of ordinary size;
:func:`periodic_neighbors_torch` is the specification: brute force over images in float64. Both take any cell: skewed, left-handed,
smaller than the cutoff, periodic along any subset of its vectors, with sites anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from geoembed.ops.segment import ptr_from_sorted

TIE = 1e-4
"""Distances [Å] that differ by less belong to one shell."""

_SELF = 1e-8  # Å: pymatgen's numerical tolerance of the search


class Neighbors(NamedTuple):
    """Directed pairs, sorted by (target, distance, source, shift): edge_index [2, E], shift [E, 3], distance [E] Å."""

    edge_index: Tensor
    shift: Tensor
    distance: Tensor


def periodic_neighbors(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Neighbors:
    """Pairs closer than ``cutoff`` [Å]: positions [N, 3] Å, cell [3, 3] rows, pbc [3] bool -> :class:`Neighbors` in float64.

    The source of an edge sits at ``positions[source] + shift @ cell``. A site is its own neighbor through other images only.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    if positions.shape[0] == 0:
        return _sorted(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))
    points = np.ascontiguousarray(positions.double().numpy())
    lattice = np.ascontiguousarray(complete_cell(cell, pbc).numpy())
    center, neighbor, image, distance = find_points_in_spheres(
        points, points, r=float(cutoff), pbc=np.ascontiguousarray(pbc.numpy().astype(np.int64)), lattice=lattice, tol=_SELF
    )
    shift = np.rint(image).astype(np.int64)
    keep = ~((center == neighbor) & (shift == 0).all(axis=1)) & (distance <= cutoff)
    edge_index = torch.from_numpy(np.stack([neighbor[keep], center[keep]]).astype(np.int64))
    return _sorted(edge_index, torch.from_numpy(shift[keep]), torch.from_numpy(distance[keep]))


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
    m, target, source = torch.nonzero((distance <= cutoff) & ~itself, as_tuple=True)
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
