"""Which of the pairs within a cutoff become edges: whole shells of the nearest, mutual ones, as many as a budget allows.

Every rule reads distances alone and treats those within :data:`TIE` as one, so that the edges of a crystal do not depend on the
order of its sites or the choice of its cell.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from geoembed.ops import compiled_search as compiled
from geoembed.ops.crystals import Crystals, Neighbors, unwrap_pairs, wrap_sites
from geoembed.ops.periodic import is_compiled, search_on_device
from geoembed.ops.segment import ptr_from_sorted, segment_ids

TIE = 1e-4
"""Distances [Å] that differ by less belong to one shell."""

_FIRST = 1.8
"""Neighbors that the first search hopes to find, for each that is asked for: fewer mean more second searches, more mean longer ones."""
_GROWTH = 1.45
"""Of the radius from search to search: three times the volume."""


def shell_complete(neighbors: Neighbors, num_nodes: int, k: int, tie: float = TIE) -> Neighbors:
    """Keep, for each target, its k nearest and everything within ``tie`` [Å] of the k-th; fewer where fewer are there."""
    kth = kth_distance(neighbors, num_nodes, k)
    return neighbors.where(neighbors.distance <= kth.index_select(0, neighbors.edge_index[1]) + tie)


def kth_distance(neighbors: Neighbors, num_nodes: int, k: int) -> Tensor:
    """Distance [N] Å of the k-th nearest neighbor of each target; infinite where it has fewer."""
    target = neighbors.edge_index[1]
    ptr = ptr_from_sorted(target, num_nodes)
    width = int(ptr.diff().max()) if num_nodes else 0
    rows = neighbors.distance.new_full((num_nodes, max(width, k)), torch.inf)
    rows[target, torch.arange(len(target), device=target.device) - ptr.index_select(0, target)] = neighbors.distance
    return torch.kthvalue(rows, k, dim=1).values if num_nodes else rows.new_zeros(0)


def nearest_shells(crystals: Crystals, k: int, cutoff: float, tie: float = TIE) -> Neighbors:
    """What :func:`shell_complete` keeps of all pairs within ``cutoff`` [Å] (may be infinite), found without finding all of them.

    The first search has the radius that a uniform crystal of that density would need. A site that has k neighbors, and none
    beyond in the same shell, is done; the others are searched again in a larger sphere. An infinite cutoff ends when every
    site has its k, or, in a finite molecule, all there are.
    """
    return (_on_cpu if is_compiled(crystals) else _on_device)(crystals, k, cutoff, tie)


def _on_cpu(crystals: Crystals, k: int, cutoff: float, tie: float) -> Neighbors:
    wrapped = compiled.wrap(crystals)
    sites = len(wrapped.x)
    last = np.full(len(wrapped.cell), cutoff) if math.isfinite(cutoff) else _last_radii(crystals, k, cutoff).numpy()
    radius = np.minimum(_first_radii(crystals, k).numpy(), last)
    crystal = np.repeat(np.arange(len(last)), np.diff(wrapped.bounds)) if len(last) > 1 else np.zeros(sites, np.int64)
    waiting, done = None, []
    while waiting is None or len(waiting):
        found = compiled.pairs_within(wrapped, radius.tolist(), waiting)
        kth = compiled.kth_distances(found, sites, k) + tie
        settled = (kth <= radius[crystal]) | (radius >= last)[crystal]
        bound = np.where(settled, kth, -1.0).take(found.target)
        done.append(compiled.chosen(found, np.flatnonzero(found.distance <= bound)))
        waiting = np.flatnonzero(~settled) if waiting is None else waiting[~settled[waiting]]
        radius = np.minimum(radius * _GROWTH, last)
    pairs = done[0] if len(done) == 1 else compiled.Pairs(*(np.concatenate(column) for column in zip(*done, strict=True)))
    return compiled.finished(wrapped, pairs)


def _on_device(crystals: Crystals, k: int, cutoff: float, tie: float) -> Neighbors:
    wrapped, cells = wrap_sites(crystals)
    sites, last = len(wrapped.positions), _last_radii(crystals, k, cutoff)
    radius = _first_radii(crystals, k).minimum(last)
    crystal = segment_ids(crystals.ptr, sites)
    waiting: Tensor | None = None
    done: list[Neighbors] = []
    while waiting is None or len(waiting):
        found = search_on_device(wrapped, radius, waiting)
        kth = kth_distance(found, sites, k).double() + tie
        settled = (kth <= radius.index_select(0, crystal)) | (radius >= last).index_select(0, crystal)
        bound = kth.where(settled, -1.0).index_select(0, found.edge_index[1])
        done.append(found.where(found.distance <= bound))
        waiting = torch.nonzero(~settled).squeeze(1) if waiting is None else waiting[~settled.index_select(0, waiting)]
        radius = torch.minimum(radius * _GROWTH, last)
    columns = list(zip(*done, strict=True))
    pairs = Neighbors(torch.cat(columns[0], dim=1), torch.cat(columns[1]), torch.cat(columns[2]))
    return unwrap_pairs(pairs, cells, crystals.ptr)


def _first_radii(crystals: Crystals, k: int) -> Tensor:
    """Radius [B] Å of a sphere that holds somewhat more than k sites of a uniform crystal."""
    x, ptr, cell, pbc = crystals
    sites = (ptr[1:] - ptr[:-1]).clamp(min=1)
    volume = torch.linalg.det(cell.double()).abs()
    if not bool(pbc.all()):  # along an open axis the sites span what they span, whatever the vector says
        lengths = torch.linalg.vector_norm(cell.double(), dim=2)
        span = torch.linalg.vector_norm(_spans(x.double(), ptr), dim=1, keepdim=True) + 3.0
        volume = torch.where(pbc.all(1), volume, torch.where(pbc, lengths, span).prod(1))
    sphere = 3.0 * _FIRST * (k + 1) * volume / (4.0 * torch.pi * sites)
    return torch.pow(sphere, 1 / 3).clamp(min=1.0)


def _last_radii(crystals: Crystals, k: int, cutoff: float) -> Tensor:
    """Radius [B] Å beyond which nothing new is found or asked for."""
    x, ptr, cell, pbc = crystals
    if math.isfinite(cutoff):
        return torch.full((len(cell),), cutoff, dtype=torch.float64, device=x.device)
    # A sphere of this radius holds k images of the site itself, or the whole of a molecule.
    lengths = torch.linalg.vector_norm(cell.double(), dim=2)
    images = (k + 1) * torch.where(pbc, lengths, torch.inf).amin(1)
    molecule = torch.linalg.vector_norm(_spans(x.double(), ptr), dim=1)
    return images.minimum(molecule.where(~pbc.any(1), torch.inf)) + 1.0


def _spans(x: Tensor, ptr: Tensor) -> Tensor:
    """Extent [B, 3] Å of the sites of each crystal along x, y and z."""
    index = segment_ids(ptr, len(x)).unsqueeze(1).expand_as(x)
    shape = (len(ptr) - 1, 3)
    most = x.new_full(shape, -torch.inf).scatter_reduce(0, index, x, "amax")
    least = x.new_full(shape, torch.inf).scatter_reduce(0, index, x, "amin")
    return (most - least).clamp(min=0.0).nan_to_num(0.0, 0.0, 0.0)
