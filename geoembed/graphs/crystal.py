"""Crystals: sites and their periodic neighbors, from pymatgen or ASE objects or from raw tensors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError, GeoembedError, ValueRangeError
from geoembed.graphs.arrays import as_tensor, require_finite, require_length
from geoembed.graphs.kind import Kind
from geoembed.ops import periodic_neighbors, scatter_sum, shell_complete
from geoembed.schema import Graph, Provenance, validate

MAX_Z = 118
CLOSEST = 0.1
"""Å: two sites that are fully occupied and closer than this are one atom written twice, or a broken file."""

FULLEST = 1.05
"""Occupancies of one site that sum to more are two atoms on one site; a little over 1 is the rounding of a refinement."""

MIN_VOLUME = 1e-3
"""Å³ a site."""


class Sites(NamedTuple):
    """What a crystal graph is made of: Cartesian positions [N, 3] Å, cell [3, 3] rows, pbc [3], and species rows.

    ``numbers`` [S], ``node`` [S], ``occupancy`` [S]: a disordered site has several rows, a vacancy leaves them below 1.
    """

    positions: Tensor
    cell: Tensor
    pbc: Tensor
    numbers: Tensor
    node: Tensor
    occupancy: Tensor


def crystal_graph(
    structure: Any = None, frac_coords: Any = None, cell: Any = None, *, numbers: Any = None, positions: Any = None, pbc: Any = None,
    token_node: Any = None, occupancy: Any = None, cutoff: float = 8.0, neighbors: int | None = 12,
) -> Graph:
    """A crystal or molecule as a graph of its sites.

    Args:
        structure: a pymatgen ``Structure`` or ``Molecule``, ASE ``Atoms``, or (numbers, frac_coords, cell).
        frac_coords, positions: fractional or Cartesian [Å] coordinates [N, 3] beside ``numbers`` [N] and ``cell`` [3, 3]
            (rows are lattice vectors, Å; None = a molecule).
        pbc: periodic axes, bool or [3]; by default all where there is a cell.
        token_node, occupancy: [S] site and occupancy of each row of ``numbers`` [S], for disordered sites.
        cutoff: radius [Å]; it is never enlarged.
        neighbors: k of the shell-complete nearest neighbors within the radius (everything within 1e-4 Å of the k-th
            distance is kept); None keeps the whole sphere.

    Fields: token (Z) [S, 1], token_node, token_weight, pos [N, 3] float64, weight (occupancy), edge_index, edge_shift,
    edge_attr[:, 0] = distance [Å], cell, pbc. An isolated site has no edge. Raises :class:`EmptyGraphError` without sites and
    :class:`ValueRangeError` on Z outside 1…118, numbers that are not finite, a cell without volume, coinciding sites.
    """
    if not 0 < cutoff < math.inf or (neighbors is not None and neighbors < 1):
        raise ValueRangeError(where="crystal", found=f"cutoff {cutoff} Å, neighbors {neighbors}", remedy="Correct the settings.",
                              expected="a finite radius over 0, and at least 1 neighbor or None")
    sites = _sites(structure, frac_coords, cell, numbers, positions, pbc, token_node, occupancy)
    _check(sites)
    found = periodic_neighbors(sites.positions, sites.cell, sites.pbc, cutoff)
    weight = scatter_sum(sites.occupancy.unsqueeze(-1), sites.node, len(sites.positions)).squeeze(-1)
    notes = _overlaps(found.edge_index, found.distance, weight)
    if neighbors is not None:
        found = shell_complete(found, len(sites.positions), neighbors)
    if found.shift.numel() and int(found.shift.abs().max()) > 127:
        raise ValueRangeError(where="crystal: cell", found=f"a cutoff of {cutoff} Å over {int(found.shift.abs().max())} cells",
                              expected="at most 127", remedy="Use a smaller cutoff.")
    settings = {"cutoff": cutoff, "neighbors": neighbors}
    return validate(Graph(
        Provenance(kind="crystal", modality="crystal", settings=settings, notes=notes),
        token=sites.numbers.unsqueeze(-1), token_node=sites.node, token_weight=sites.occupancy.float(),
        pos=sites.positions, weight=weight.float(), edge_index=found.edge_index, edge_attr=found.distance.float().unsqueeze(-1),
        edge_shift=found.shift.to(torch.int8), cell=sites.cell.unsqueeze(0), pbc=sites.pbc.unsqueeze(0),
    ))


def _sites(
    structure: Any, frac_coords: Any, cell: Any, numbers: Any, positions: Any, pbc: Any, token_node: Any, occupancy: Any
) -> Sites:
    """The field's object or raw arrays as :class:`Sites`; objects are known by their attributes."""
    if hasattr(structure, "get_atomic_numbers"):  # ASE
        return _from_arrays(structure.get_atomic_numbers(), None, structure.positions, structure.cell.array, structure.pbc, None, None)
    if hasattr(structure, "cart_coords"):  # pymatgen
        return _from_pymatgen(structure)
    if isinstance(structure, tuple | list) and len(structure) == 3 and numbers is None and frac_coords is None:
        structure, frac_coords, cell = structure
    chosen = structure if numbers is None else numbers
    if chosen is None or (frac_coords is None) == (positions is None):
        raise GeoembedError(where="crystal_graph", found="no structure, or not exactly one of frac_coords and positions",
                            expected="a Structure, Atoms, or numbers with one kind of coordinates", remedy="See help(crystal_graph).")
    return _from_arrays(chosen, frac_coords, positions, cell, pbc, token_node, occupancy)


def _from_pymatgen(structure: Any) -> Sites:
    lattice = getattr(structure, "lattice", None)
    cell, pbc = (None, False) if lattice is None else (lattice.matrix, lattice.pbc)
    if structure.is_ordered:
        numbers, node, occupancy = [_atomic_number(site.specie) for site in structure], None, None
    else:
        rows = [(_atomic_number(species), i, amount) for i, site in enumerate(structure) for species, amount in site.species.items()]
        numbers, node, occupancy = [list(column) for column in zip(*rows, strict=True)]
    return _from_arrays(numbers, None, structure.cart_coords, cell, pbc, node, occupancy)


def _atomic_number(species: Any) -> int:
    number = getattr(species, "Z", None)
    if number is None or type(species).__name__ == "DummySpecies":
        raise ValueRangeError(where="crystal: species", found=str(species), expected="a chemical element", remedy="Correct the symbol.")
    return int(number)


def _from_arrays(
    numbers: Any, frac_coords: Any, positions: Any, cell: Any, pbc: Any, token_node: Any, occupancy: Any
) -> Sites:
    z = as_tensor(numbers, torch.float64).flatten()
    matrix = torch.zeros(3, 3, dtype=torch.float64) if cell is None else as_tensor(cell).reshape(3, 3)
    axes = torch.tensor([cell is not None] * 3) if pbc is None else as_tensor(pbc, torch.bool).expand(3).clone()
    coordinates = as_tensor(positions if frac_coords is None else frac_coords).reshape(-1, 3)
    require_finite("crystal", numbers=z, cell=matrix, coordinates=coordinates)
    cartesian = coordinates if frac_coords is None else coordinates @ matrix
    node = torch.arange(len(z)) if token_node is None else as_tensor(token_node, torch.int64)
    share = torch.ones(len(z), dtype=torch.float64) if occupancy is None else as_tensor(occupancy)
    require_length("crystal", len(z), token_node=node, occupancy=share)
    if token_node is None:
        require_length("crystal", len(cartesian), numbers=z)
    order = torch.argsort(node, stable=True)
    return Sites(cartesian, matrix, axes, z.long()[order], node[order], share[order])


def _check(sites: Sites) -> None:
    n = len(sites.positions)
    if not n:
        raise EmptyGraphError(where="crystal", found="no sites", expected="at least one", remedy="Leave the record out.")
    if bool(((sites.numbers < 1) | (sites.numbers > MAX_Z)).any()):
        wrong = int(sites.numbers[(sites.numbers < 1) | (sites.numbers > MAX_Z)][0])
        raise ValueRangeError(where="crystal: atomic number", found=wrong, expected=f"1…{MAX_Z}", remedy="Correct the species.")
    if len(sites.node) and (int(sites.node.min()) < 0 or int(sites.node.max()) >= n):
        raise ValueRangeError(where="crystal: token_node", found=int(sites.node.max()), expected=f"0…{n - 1}", remedy="Index the sites.")
    _check_occupancy(sites)
    given = sites.cell[sites.pbc]
    if len(given):
        # |volume|, area or length of the periodic vectors: their Gram determinant, whatever the sign of the cell.
        extent = float(torch.linalg.det(given @ given.T).clamp(min=0).sqrt())
        if extent <= MIN_VOLUME * (n if len(given) == 3 else 1):
            raise ValueRangeError(where="crystal: cell", found=f"a volume of {extent:.2g} Å^{len(given)} for {n} sites",
                                  expected=f"over {MIN_VOLUME} Å³ a site", remedy="Correct the cell parameters.")


def _check_occupancy(sites: Sites) -> None:
    if bool((sites.occupancy <= 0).any()) or not bool(torch.isfinite(sites.occupancy).all()):
        raise ValueRangeError(where="crystal: occupancy", found=float(sites.occupancy.min()), expected="> 0",
                              remedy="Leave the species out.")
    total = scatter_sum(sites.occupancy.unsqueeze(-1), sites.node, len(sites.positions)).squeeze(-1)
    wrong = (total > FULLEST) | (total == 0)
    if bool(wrong.any()):
        site = int(torch.nonzero(wrong)[0, 0])
        found = f"occupancies that sum to {float(total[site]):.4g}" if total[site] > 0 else "no species"
        raise ValueRangeError(where=f"crystal: site {site}", found=found, expected=f"a sum over 0 and at most {FULLEST}",
                              remedy="Correct the occupancies, or leave the site out.")


def _overlaps(edge_index: Tensor, distance: Tensor, weight: Tensor) -> dict[str, int]:
    """Refuse coinciding sites; count those that partial occupancies explain (alternatives of one disordered atom)."""
    close = distance < CLOSEST
    if not bool(close.any()):
        return {}
    a, b = edge_index[:, close]
    both = weight[a] + weight[b] > 1.0 + 1e-3
    if bool(both.any()):
        i = int(torch.nonzero(both)[0, 0])
        raise ValueRangeError(
            where=f"crystal: sites {int(a[i])} and {int(b[i])}", found=f"{float(distance[close][i]):.4f} Å apart",
            expected=f"at least {CLOSEST} Å", remedy="Remove the duplicate site, or give partial occupancies.",
        )
    return {"overlapping_partial_sites": int(close.sum()) // 2}


KIND = Kind("crystal", crystal_graph)
