"""Periodic neighbors of many small crystals on a GPU: one program a site, a pass that counts and a pass that fills.

Candidates of a site are the sources in the cells around it that the cutoff can reach, cell by cell: what a program finds it
writes in that order, so the list needs no sort and is the same in every run. Cells are not cut into bins, which
is right for crystals of a few hundred sites; larger ones go to :mod:`geoembed.ops.cell_list`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.cell_list import cell_list_neighbors
from geoembed.ops.crystals import ROUNDING, Crystals, Neighbors, sort_pairs, wrap_sites

LARGEST = 512
"""Sites of a crystal up to which looking at all pairs beats sorting sites into bins."""

WARPS = 1
"""Of a program: the sources of one cell are few."""


def disagreement(device: torch.device) -> str:
    """What differs from the cell list on some small cells, one of them skewed, one with an open axis; empty where nothing does."""
    generator = torch.Generator().manual_seed(0)
    cell = torch.eye(3, dtype=torch.float64) * torch.tensor([[3.0], [4.0], [5.0]]).unsqueeze(1) + torch.tensor([0.0, 0.9, -0.7]).double()
    x = (torch.rand(3, 5, 3, generator=generator, dtype=torch.float64) @ cell).flatten(0, 1)
    pbc = torch.tensor([[True] * 3, [True] * 3, [True, False, True]])
    wrapped, _ = wrap_sites(Crystals(x.to(device), (torch.arange(4) * 5).to(device), cell.to(device), pbc.to(device)))
    radius = torch.full((3,), 4.1, dtype=torch.float64, device=device)
    ours, theirs = fused_periodic_neighbors(wrapped, radius), sort_pairs(cell_list_neighbors(wrapped, radius), wrapped.ptr)
    same = torch.equal(ours.edge_index, theirs.edge_index) and torch.equal(ours.shift, theirs.shift)
    return "" if same else f"{len(ours.distance)} pairs where the cell list has {len(theirs.distance)}, or others"


class Search(NamedTuple):
    """What both passes read: wrapped crystals with cells in float64, reach [B] Å, whether each site is asked for [N], most sites."""

    x: Tensor
    ptr: Tensor
    cell: Tensor
    pbc: Tensor
    reach: Tensor
    wanted: Tensor
    largest: int


def fused_periodic_neighbors(wrapped: Crystals, radius: Tensor, targets: Tensor | None = None) -> Neighbors:
    """Pairs not farther than ``radius`` [B] Å, sorted by (target, shift, source), in the dtype of the positions.

    ``wrapped``, ``targets``: as in :func:`geoembed.ops.cell_list.cell_list_neighbors`.
    """
    search = prepare(wrapped, radius, targets)
    end = count_pairs(search).cumsum(0)
    return fill_pairs(search, end, int(end[-1]) if len(end) else 0)


def prepare(wrapped: Crystals, radius: Tensor, targets: Tensor | None = None, largest: int | None = None) -> Search:
    """See :class:`Search`; ``largest`` where it is known, which spares reading it back from the device."""
    x, ptr, cell, pbc = wrapped
    wanted = torch.ones(len(x), dtype=torch.int8, device=x.device)
    if targets is not None:
        wanted = torch.zeros_like(wanted).index_fill_(0, targets, 1)
    most = int(ptr.diff().max()) if largest is None else largest
    reach = radius.double() + ROUNDING
    return Search(x.contiguous(), ptr, cell.double().contiguous(), pbc.to(torch.int8).contiguous(), reach, wanted, most)


def count_pairs(search: Search) -> Tensor:
    """First pass: how many neighbors [N] each site has; 0 where it is not asked for."""
    count = torch.empty(len(search.x), dtype=torch.int64, device=search.x.device)
    _launch(search, count, count, count, search.x, 0, fill=False)
    return count


def fill_pairs(search: Search, end: Tensor, total: int) -> Neighbors:
    """Second pass: the pairs of each site up to row ``end`` [N], ``total`` in all."""
    edge_index = torch.empty(2, total, dtype=torch.int64, device=search.x.device)
    shift = torch.empty(total, 3, dtype=torch.int64, device=search.x.device)
    distance = torch.empty(total, dtype=search.x.dtype, device=search.x.device)
    if total:
        _launch(search, end, edge_index, shift, distance, total, fill=True)
    return Neighbors(edge_index, shift, distance)


def _launch(search: Search, rows: Tensor, edge_index: Tensor, shift: Tensor, distance: Tensor, total: int, fill: bool) -> None:
    x, ptr, cell, pbc, reach, wanted, largest = search
    block = min(max(32, 1 << (largest - 1).bit_length()), 128)
    if len(cell) and largest:
        from geoembed.ops.kernels import periodic_pairs

        periodic_pairs[(len(cell), largest)](
            x, ptr, cell, pbc, reach, wanted, rows, edge_index, shift, distance, total, FILL=fill, BLOCK=block, SINGLE=largest <= block,
            num_warps=WARPS,
        )


KERNEL = "triton periodic neighbors"
backends.register_kernel(KERNEL, disagreement)
