"""Periodic neighbors of many small crystals on a GPU: one program a site, a pass that counts and a pass that fills.

Candidates of a site are the sources in the cells around it that the cutoff can reach, cell by cell: what a program finds it
writes in that order, so the list needs no sort and is the same in every run. Cells are not cut into bins, which
is right for crystals of a few hundred sites; larger ones go to :mod:`geoembed.ops.cell_list`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

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
    ours, theirs = triton_neighbors(wrapped, radius), sort_pairs(cell_list_neighbors(wrapped, radius), wrapped.ptr)
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


def triton_neighbors(wrapped: Crystals, radius: Tensor, targets: Tensor | None = None) -> Neighbors:
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
        _kernel()[(len(cell), largest)](x, ptr, cell, pbc, reach, wanted, rows, edge_index, shift, distance, total, FILL=fill, BLOCK=block,
                                        SINGLE=largest <= block, num_warps=WARPS)


@cache
def _kernel() -> Any:
    """The kernel; Triton is imported where it is used."""
    import triton
    import triton.language as tl

    # Untyped: Triton reads annotations, and knows its own only.
    def neighbors(  # type: ignore[no-untyped-def]
        x_ptr, bounds_ptr, cell_ptr, pbc_ptr, reach_ptr, wanted_ptr, row_ptr, edge_ptr, shift_ptr, distance_ptr, total,
        FILL: tl.constexpr, BLOCK: tl.constexpr, SINGLE: tl.constexpr,
    ):
        crystal = tl.program_id(0).to(tl.int64)
        local = tl.program_id(1)
        first = tl.load(bounds_ptr + crystal)
        sites = (tl.load(bounds_ptr + crystal + 1) - first).to(tl.int32)
        if local < sites:
            base, axes = cell_ptr + 9 * crystal, pbc_ptr + 3 * crystal
            ax, ay, az = tl.load(base), tl.load(base + 1), tl.load(base + 2)
            bx, by, bz = tl.load(base + 3), tl.load(base + 4), tl.load(base + 5)
            cx, cy, cz = tl.load(base + 6), tl.load(base + 7), tl.load(base + 8)
            open0, open1, open2 = tl.load(axes) == 0, tl.load(axes + 1) == 0, tl.load(axes + 2) == 0
            reach = tl.load(reach_ptr + crystal)
            target = first + local
            tx, ty, tz = tl.load(x_ptr + 3 * target), tl.load(x_ptr + 3 * target + 1), tl.load(x_ptr + 3 * target + 2)
            # Columns of the inverse cell give a site's fraction along an axis, and how far the cutoff reaches in fractions.
            ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
            vx, vy, vz = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
            wx, wy, wz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            volume = 1.0 / (ax * ux + ay * uy + az * uz)
            size = reach * tl.abs(volume)
            r0 = tl.sqrt(ux * ux + uy * uy + uz * uz) * size
            r1 = tl.sqrt(vx * vx + vy * vy + vz * vz) * size
            r2 = tl.sqrt(wx * wx + wy * wy + wz * wz) * size
            # Along an axis, cell s holds fractions s … s + 1: it is near if that interval lies within reach of the target's.
            f0 = (tx * ux + ty * uy + tz * uz) * volume
            f1 = (tx * vx + ty * vy + tz * vz) * volume
            f2 = (tx * wx + ty * wy + tz * wz) * volume
            low0, high0 = tl.where(open0, 0, tl.ceil(f0 - r0 - 1).to(tl.int32)), tl.where(open0, 1, tl.floor(f0 + r0).to(tl.int32) + 1)
            low1, high1 = tl.where(open1, 0, tl.ceil(f1 - r1 - 1).to(tl.int32)), tl.where(open1, 1, tl.floor(f1 + r1).to(tl.int32) + 1)
            low2, high2 = tl.where(open2, 0, tl.ceil(f2 - r2 - 1).to(tl.int32)), tl.where(open2, 1, tl.floor(f2 + r2).to(tl.int32) + 1)
            dtype: tl.constexpr = x_ptr.dtype.element_ty
            square = (reach * reach).to(dtype)
            lane = tl.arange(0, BLOCK)
            row = tl.zeros((), tl.int64)
            if FILL:  # rows of a site begin where those of the site before end
                row += tl.load(row_ptr + target - 1, target > 0, 0)
            if tl.load(wanted_ptr + target) == 0:
                high0 = low0
            if SINGLE:  # sources stay in registers for all images
                near = x_ptr + 3 * (first + lane)
                sx = tl.load(near, lane < sites, 0.0) - tx
                sy = tl.load(near + 1, lane < sites, 0.0) - ty
                sz = tl.load(near + 2, lane < sites, 0.0) - tz
            for s0 in range(low0, high0):
                for s1 in range(low1, high1):
                    for s2 in range(low2, high2):
                        away = lane * 0 + s0 * s0 + s1 * s1 + s2 * s2
                        ix, iy, iz = s0 * ax + s1 * bx + s2 * cx, s0 * ay + s1 * by + s2 * cy, s0 * az + s1 * bz + s2 * cz
                        for start in range(0, 1 if SINGLE else sites, BLOCK):
                            source = start + lane
                            if not SINGLE:
                                near = x_ptr + 3 * (first + source)
                                sx = tl.load(near, source < sites, 0.0) - tx
                                sy = tl.load(near + 1, source < sites, 0.0) - ty
                                sz = tl.load(near + 2, source < sites, 0.0) - tz
                            dx, dy, dz = sx + ix.to(dtype), sy + iy.to(dtype), sz + iz.to(dtype)
                            length = dx * dx + dy * dy + dz * dz
                            hit = (source < sites) & (length <= square) & ((source != local) | (away != 0))
                            number = hit.to(tl.int32)
                            if FILL:
                                at = row + tl.cumsum(number, 0) - 1
                                tl.store(edge_ptr + at, first + source, hit)
                                tl.store(edge_ptr + total + at, target + tl.zeros((BLOCK,), tl.int64), hit)
                                tl.store(shift_ptr + 3 * at, s0 + tl.zeros((BLOCK,), tl.int64), hit)
                                tl.store(shift_ptr + 3 * at + 1, s1 + tl.zeros((BLOCK,), tl.int64), hit)
                                tl.store(shift_ptr + 3 * at + 2, s2 + tl.zeros((BLOCK,), tl.int64), hit)
                                tl.store(distance_ptr + at, tl.sqrt(length), hit)
                            row += tl.sum(number, 0)
            if not FILL:
                tl.store(row_ptr + target, row)

    return triton.jit(neighbors)


KERNEL = "triton periodic neighbors"
backends.register_kernel(KERNEL, disagreement)
