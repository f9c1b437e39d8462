"""What a periodic search takes and gives: sites of many crystals in one piece, directed pairs sorted by target."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geoembed.ops.segment import segment_ids

ROUNDING = 1e-8
"""Å: a pair at the cutoff itself counts, both ways and however the crystal is turned."""


class Crystals(NamedTuple):
    """Sites of B crystals in one piece: positions [N, 3] Å, ptr [B+1], cell [B, 3, 3] rows, pbc [B, 3] bool."""

    positions: Tensor
    ptr: Tensor
    cell: Tensor
    pbc: Tensor


class Neighbors(NamedTuple):
    """Directed pairs, sorted by (target, shift, source): edge_index [2, E], shift [E, 3] int64, distance [E] Å.

    The source of an edge sits at ``positions[source] + shift @ cell``. The order does not depend on the rounding of
    distances, so that every search and every machine gives one list.
    """

    edge_index: Tensor
    shift: Tensor
    distance: Tensor

    def where(self, keep: Tensor) -> Neighbors:
        """The pairs for which ``keep`` [E] is True, or that it numbers, in its order."""
        rows = torch.nonzero(keep).squeeze(1) if keep.dtype == torch.bool else keep
        return Neighbors(self.edge_index.index_select(1, rows), self.shift.index_select(0, rows), self.distance.index_select(0, rows))


def complete_cell(cell: Tensor, pbc: Tensor) -> Tensor:
    """cell [..., 3, 3] in float64, the vanishing vectors of open axes (pbc [..., 3] False) replaced by unit vectors across the others."""
    full = cell.double().clone()
    if bool(pbc.all()):
        return full
    missing = (torch.linalg.vector_norm(full, dim=-1) < 1e-12) & ~pbc
    if bool(missing.any()):
        # The null space of the given vectors is orthogonal to them, so no periodic image is moved. Few crystals are open.
        flat, gaps = full.view(-1, 3, 3), missing.view(-1, 3)
        for b in torch.nonzero(gaps.any(dim=1)).flatten().tolist():
            _, _, basis = torch.linalg.svd(flat[b])
            flat[b, gaps[b]] = basis[int((~gaps[b]).sum()) :]
    return full


def inverse_cells(cell: Tensor) -> Tensor:
    """Inverse [B, 3, 3] of cells with rows a, b, c: columns b×c, c×a, a×b over the volume, without a library call that waits."""
    a, b, c = cell.unbind(1)
    columns = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2)
    return columns / (a * columns[:, :, 0]).sum(1).view(-1, 1, 1)


def one_crystal(positions: Tensor, cell: Tensor, pbc: Tensor) -> Crystals:
    """A batch of one: positions [N, 3], cell [3, 3], pbc [3]."""
    return Crystals(positions, torch.tensor([0, len(positions)], device=positions.device), cell.unsqueeze(0), pbc.unsqueeze(0))


def wrap_sites(crystals: Crystals) -> tuple[Crystals, Tensor]:
    """The same crystals with complete cells and every site moved into its cell along the periodic axes, and by how many cells [N, 3].

    Computed in float64; the wrapped positions have the dtype of the given ones.
    """
    x, ptr, cell, pbc = crystals
    full = complete_cell(cell, pbc)
    wide = x.double()
    if len(full) == 1:
        whole = (wide @ inverse_cells(full)[0]).floor_().mul_(pbc[0])
        moved = wide - whole @ full[0]
    else:
        crystal = segment_ids(ptr, len(x))
        whole = (wide.unsqueeze(1) @ inverse_cells(full)[crystal]).squeeze(1).floor_().mul_(pbc[crystal])
        moved = wide - (whole.unsqueeze(1) @ full[crystal]).squeeze(1)
    return Crystals(moved.to(x.dtype), ptr, full, pbc), whole.long()


def unwrap_pairs(found: Neighbors, whole: Tensor, ptr: Tensor) -> Neighbors:
    """Pairs of wrapped sites as those of the given ones, sorted; ``whole`` [N, 3] as from :func:`wrap_sites`."""
    source, target = found.edge_index
    shift = found.shift - whole.index_select(0, source) + whole.index_select(0, target)
    return sort_pairs(Neighbors(found.edge_index, shift, found.distance), ptr)


def sort_pairs(found: Neighbors, ptr: Tensor) -> Neighbors:
    """Pairs in the order of :class:`Neighbors`; ``ptr`` [B+1] are the bounds of the crystals."""
    if not len(found.distance):
        return found
    place, room = _place(found, ptr)
    if room * int(ptr[-1]) < 1 << 62:
        return found.where(torch.argsort(found.edge_index[1] * room + place))
    order = torch.argsort(place)  # two passes where one key would overflow
    return found.where(order[torch.argsort(found.edge_index[1, order], stable=True)])


def has_reverse(found: Neighbors, ptr: Tensor) -> Tensor:
    """Whether [E] the pair from target to source is there as well, for pairs in the order of :class:`Neighbors`."""
    pairs = len(found.distance)
    if not pairs:
        return torch.zeros(0, dtype=torch.bool, device=found.distance.device)
    both = Neighbors(torch.cat([found.edge_index, found.edge_index.flip(0)], 1), torch.cat([found.shift, -found.shift]), found.distance)
    place, room = _place(both, ptr)
    # Numbered by what is there, as the key itself may not fit into 64 bits.
    _, place = torch.unique(place, return_inverse=True) if room * int(ptr[-1]) >= 1 << 62 else (None, place)
    key = both.edge_index[1] * (int(place.max()) + 1) + place
    return torch.isin(key[pairs:], key[:pairs])


def _place(found: Neighbors, ptr: Tensor) -> tuple[Tensor, int]:
    """A number [E] for shift and source of each pair that orders them within a target, and a bound above all of them."""
    source = found.edge_index[0]
    local = source if len(ptr) == 2 else source - ptr[segment_ids(ptr, int(ptr[-1]))[source]]
    low = found.shift.amin(0)
    span = (found.shift.amax(0) - low + 1).tolist()
    step = found.shift - low
    sites = int(ptr.diff().max())
    place = ((step[:, 0] * span[1] + step[:, 1]) * span[2] + step[:, 2]) * sites + local
    return place, sites * span[0] * span[1] * span[2]
