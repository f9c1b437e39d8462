"""Periodic neighbor lists: all pairs of sites and lattice images within a radius, of one crystal or of many.

On the CPU :func:`batched_neighbors` is pymatgen's compiled search, the fastest on cells of ordinary size; on a GPU, or for
float32 positions, the torch cell list. :func:`periodic_neighbors_torch` is the specification: brute force over images in
float64. All take any cell: skewed, left-handed, smaller than the radius, periodic along any subset of its vectors, with sites
anywhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops import compiled_search as compiled
from geoembed.ops.cell_list import cell_list_neighbors
from geoembed.ops.crystals import ROUNDING, Crystals, Neighbors, complete_cell, one_crystal, sort_pairs, unwrap_pairs, wrap_sites
from geoembed.ops.fused_pairs import KERNEL, LARGEST, fused_periodic_neighbors


def periodic_neighbors(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float) -> Neighbors:
    """Pairs not farther than ``cutoff`` [Å]: positions [N, 3] Å, cell [3, 3] rows, pbc [3] bool -> :class:`Neighbors` in float64.

    The source of an edge sits at ``positions[source] + shift @ cell``. A site is its own neighbor through other images only.
    """
    crystals = one_crystal(positions.double(), cell, pbc)
    return batched_neighbors(crystals, torch.full((1,), float(cutoff), dtype=torch.float64, device=positions.device))


def batched_neighbors(crystals: Crystals, radius: Tensor) -> Neighbors:
    """Pairs not farther than ``radius`` [B] Å in each of B crystals, on the device of the positions."""
    if is_compiled(crystals):
        wrapped = compiled.wrap(crystals)
        found = compiled.pairs_within(wrapped, radius.tolist())
        return compiled.finished(wrapped, compiled.chosen(found, np.flatnonzero(found.distance >= 0)))
    inside, whole = wrap_sites(crystals)
    return unwrap_pairs(search_on_device(inside, radius), whole, crystals.ptr)


def search_on_device(wrapped: Crystals, radius: Tensor, targets: Tensor | None = None) -> Neighbors:
    """The cell list, or on a GPU with Triton, where no crystal is large, the fused kernel; see :func:`cell_list_neighbors`."""
    if backends.runs(KERNEL, wrapped.positions.device) and int(wrapped.ptr.diff().max()) <= LARGEST:
        return fused_periodic_neighbors(wrapped, radius, targets)
    return cell_list_neighbors(wrapped, radius, targets)


def is_compiled(crystals: Crystals) -> bool:
    """The rule by which a search is chosen: float64 on the CPU is the compiled one's, all else the cell list's."""
    return crystals.positions.device.type == "cpu" and crystals.positions.dtype == torch.float64


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
    m, target, source = torch.nonzero((distance <= cutoff + ROUNDING) & ~itself, as_tuple=True)
    found = Neighbors(torch.stack([source, target]), shifts[m], distance[m, target, source])
    return sort_pairs(found, torch.tensor([0, len(x)]))
