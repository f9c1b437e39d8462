"""Periodic neighbors of many crystals at once, in torch, on any device: a cell list a crystal, all crystals in one pass.

Sites are wrapped into their cell and put into bins whose height is about the cutoff; a cell smaller than the cutoff is one bin,
and its images are the bins around it, so small and large cells take the same road. A first pass counts the bins and the
candidates that each site has to look at, a second fills exactly as many rows: no capacity is guessed. Nothing depends on the
sign of the volume, on reduced cells or on wrapped sites, and each axis is periodic or not by itself.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from geoembed.ops.crystals import ROUNDING, Crystals, Neighbors, inverse_cells
from geoembed.ops.segment import segment_ids

CANDIDATES = {"cpu": 1 << 16, "cuda": 1 << 25}
"""Pairs looked at together: what fits in the cache of a core, or keeps a GPU busy at 2 GB of scratch."""
SITES = {"cpu": 1 << 13, "cuda": 1 << 22}
"""Sites whose surroundings are listed together: memory does not grow with the number of sites."""


def cell_list_neighbors(wrapped: Crystals, radius: Tensor, targets: Tensor | None = None) -> Neighbors:
    """Pairs not farther than ``radius`` [B] Å in each crystal -> :class:`Neighbors`, sorted by target alone.

    ``wrapped``: sites inside their complete cells, as from :func:`geoembed.ops.crystals.wrap_sites`. Distances have the dtype
    of the positions. ``targets`` [T] (ascending site numbers) limits the search to their neighbors. A site is its own neighbor
    through other images only.
    """
    search = _Search(wrapped, radius)
    sites = torch.arange(len(wrapped.positions), device=wrapped.positions.device) if targets is None else targets
    parts = torch.split(sites, SITES["cpu" if sites.device.type == "cpu" else "cuda"])
    found = [search.pairs(search.looks(part)) for part in parts]
    source, target, shift, distance = found[0] if len(found) == 1 else (torch.cat(column) for column in zip(*found, strict=True))
    return Neighbors(torch.stack([source, target]), shift, distance)


class _Looks(NamedTuple):
    """Bins to look into: site that looks [I], number of the bin, cells crossed on the way [3, I], sites in it."""

    site: Tensor
    number: Tensor
    crossed: Tensor
    size: Tensor


class _Pairs(NamedTuple):
    """Columns of :class:`Neighbors`."""

    source: Tensor
    target: Tensor
    shift: Tensor
    distance: Tensor


class _Axis(NamedTuple):
    """What the slabs of one axis are, as seen from each site."""

    slab: Tensor
    fractional: Tensor
    around: Tensor
    low: Tensor
    width: Tensor
    height: Tensor
    slabs: Tensor
    pbc: Tensor
    reach: Tensor


class _Search:
    """The bins of some crystals and what is needed to look around a site; coordinates are kept a component, [3, N]."""

    def __init__(self, wrapped: Crystals, radius: Tensor) -> None:
        x, ptr, cell, pbc = wrapped
        self.dtype, self.pbc = x.dtype, pbc
        self.crystal = segment_ids(ptr, len(x))
        self.cell = cell
        inverse = inverse_cells(cell)
        self.fractional = (x.double().unsqueeze(1) @ inverse[self.crystal]).squeeze(1)
        self.x = x.T.contiguous()
        self.height = 1.0 / torch.linalg.vector_norm(inverse, dim=1)  # [B, 3] Å, of the cell along each axis
        self.reach = radius.double() + ROUNDING
        self.low, extent = _extent(self.fractional, self.crystal, pbc)
        count = (extent * self.height / self.reach.unsqueeze(1)).floor().clamp(1, 512)
        self.count = _at_most(count, ptr.diff().clamp(min=1))
        self.width = extent / self.count  # [B, 3] of a bin, in fractions
        around = (self.reach.unsqueeze(1) / (self.width * self.height)).ceil().long()  # bins to look at, each way
        self.around = torch.where(pbc, around, torch.minimum(around, self.count - 1))
        place = ((self.fractional - self.low[self.crystal]) / self.width[self.crystal]).floor().long()
        self.bin = place.clamp(min=0).minimum(self.count[self.crystal] - 1)
        total = self.count.prod(dim=1)
        self.first = total.cumsum(0) - total
        number = self._number(self.crystal, self.bin)
        self.site = torch.argsort(number, stable=True)
        self.sorted_x = self.x[:, self.site].contiguous()
        self.sizes = torch.bincount(number, minlength=int(total.sum()))
        self.start = self.sizes.cumsum(0) - self.sizes

    def _number(self, crystal: Tensor, place: Tensor) -> Tensor:
        count = self.count[crystal]
        return self.first[crystal] + (place[:, 0] * count[:, 1] + place[:, 1]) * count[:, 2] + place[:, 2]

    def nothing(self) -> _Pairs:
        none = self.site.new_zeros(0)
        return _Pairs(none, none, none.new_zeros(0, 3), self.x.new_zeros(0))

    def looks(self, sites: Tensor) -> _Looks:
        """First pass: every bin that may hold a neighbor of ``sites``, and how many candidates it holds.

        A bin is the cut of three slabs; along each axis the slabs near a site are few, so they are judged by themselves.
        """
        crystal = self.crystal[sites]
        side = 2 * self.around[crystal] + 1  # [T, 3]
        owner = torch.arange(len(sites), device=sites.device)
        number = self.first[crystal]
        crossed: list[Tensor] = []
        for axis in range(3):
            many = side[:, axis].index_select(0, owner)
            ends = many.cumsum(0)
            parent = torch.repeat_interleave(many)
            owner, number = owner.index_select(0, parent), number.index_select(0, parent)
            crossed = [c.index_select(0, parent) for c in crossed]
            c = crystal.index_select(0, owner)
            step = torch.arange(len(parent), device=sites.device) - (ends - many).index_select(0, parent)
            at = self._along(axis, sites, owner, c)
            place = at.slab + step - at.around
            gap = at.low + place * at.width - at.fractional  # from the site to the near face of the slab, in fractions
            gap = torch.maximum(gap, -gap - at.width) * at.height
            cell = torch.div(place, at.slabs, rounding_mode="floor")
            keep = torch.nonzero((gap <= at.reach) & (at.pbc | (cell == 0))).squeeze(1)
            stride = self.count[:, axis + 1 :].prod(dim=1).index_select(0, c)
            number = (number + (place - cell * at.slabs) * stride).index_select(0, keep)
            owner = owner.index_select(0, keep)
            crossed = [*(part.index_select(0, keep) for part in crossed), cell.index_select(0, keep)]
        return _Looks(sites[owner], number, torch.stack(crossed), self.sizes.index_select(0, number))

    def _along(self, axis: int, sites: Tensor, owner: Tensor, crystal: Tensor) -> _Axis:
        of_site = [part[:, axis].index_select(0, sites).index_select(0, owner) for part in (self.bin, self.fractional)]
        columns = (self.around, self.low, self.width, self.height, self.count, self.pbc)
        of_crystal = [part[:, axis].index_select(0, crystal) for part in columns]
        return _Axis._make([*of_site, *of_crystal, self.reach.index_select(0, crystal)])

    def pairs(self, looks: _Looks) -> _Pairs:
        """Second pass: the pairs among the candidates, in order of their targets."""
        ends = looks.size.cumsum(0)
        limit = CANDIDATES["cpu" if ends.device.type == "cpu" else "cuda"]
        steps = torch.arange(1, (int(ends[-1]) if len(ends) else 0) // limit + 1, device=ends.device) * limit
        cuts = [0, *torch.searchsorted(ends, steps).tolist(), len(ends)]
        crystal = self.crystal.index_select(0, looks.site)
        image = torch.einsum("ni,nij->jn", looks.crossed.T.double(), self.cell[crystal])
        base = image.to(self.dtype) - self.x.index_select(1, looks.site)
        slot = self.start.index_select(0, looks.number) - (ends - looks.size)  # + number of the candidate
        square = (self.reach**2).to(self.dtype).index_select(0, crystal)
        found = [self._hits(looks, base, slot, square, a, b) for a, b in pairwise(cuts) if a < b]
        return _Pairs(*(torch.cat(column) for column in zip(*found, strict=True))) if found else self.nothing()

    def _hits(self, looks: _Looks, base: Tensor, slot: Tensor, square: Tensor, a: int, b: int) -> _Pairs:
        look = torch.repeat_interleave(looks.size[a:b]) + a
        first = int(looks.size[:a].sum()) if a else 0
        place = torch.arange(first, first + len(look), device=look.device) + slot.index_select(0, look)
        d2 = torch.zeros(len(look), dtype=self.dtype, device=look.device)
        for axis in range(3):
            step = self.sorted_x[axis].index_select(0, place) + base[axis].index_select(0, look)
            d2.addcmul_(step, step)
        hit = torch.nonzero(d2 <= square.index_select(0, look)).squeeze(1)
        look, place = look.index_select(0, hit), place.index_select(0, hit)
        source, target = self.site.index_select(0, place), looks.site.index_select(0, look)
        shift = looks.crossed.index_select(1, look)
        real = torch.nonzero((source != target) | (shift != 0).any(0)).squeeze(1)
        source, target = source.index_select(0, real), target.index_select(0, real)
        return _Pairs(source, target, shift.index_select(1, real).T, d2.index_select(0, hit.index_select(0, real)).sqrt())


def _extent(fractional: Tensor, crystal: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """(lowest fraction, span) [B, 3] that the bins of each axis cover: the cell where periodic, else the sites."""
    low = torch.zeros(pbc.shape, dtype=torch.float64, device=pbc.device)
    span = torch.ones_like(low)
    if bool(pbc.all()):
        return low, span
    index = crystal.unsqueeze(1).expand_as(fractional)
    least = torch.full_like(low, torch.inf).scatter_reduce(0, index, fractional, "amin")
    most = torch.full_like(low, -torch.inf).scatter_reduce(0, index, fractional, "amax")
    return torch.where(pbc, low, least.where(least < torch.inf, 0.0)), torch.where(pbc, span, (most - least).clamp(min=1e-9))


def _at_most(count: Tensor, sites: Tensor) -> Tensor:
    """Bins a crystal, at most about one a site: more would be empty ones to look at."""
    excess = (count.prod(dim=1) / sites).clamp(min=1.0) ** (1 / 3)
    return (count / excess.unsqueeze(1)).floor().clamp(min=1).long()
