"""Sites of a crystal or molecule: what the field's objects and raw arrays come down to, and what is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoembed.errors import EmptyGraphError, GeoembedError, ValueRangeError
from geoembed.graphs.arrays import as_tensor, require_finite, require_length

MAX_Z = 118
FULLEST = 1.05
"""Occupancies of one site that sum to more are two atoms on one site; a little over 1 is the rounding of a refinement."""

MIN_VOLUME = 1e-3
"""Å³ a site."""

Array = NDArray[Any]


class Sites(NamedTuple):
    """What a crystal graph is made of: Cartesian positions [N, 3] Å, cell [3, 3] rows, pbc [3], and species rows.

    ``numbers`` [S], ``node`` [S], ``occupancy`` [S]: a disordered site has several rows, a vacancy leaves them below 1.
    """

    positions: Array
    cell: Array
    pbc: Array
    numbers: Array
    node: Array
    occupancy: Array

    def totals(self) -> Array:
        """Occupancy [N] of each site, all species together."""
        return np.bincount(self.node, self.occupancy, len(self.positions))


def sites_of(
    structure: Any = None, frac_coords: Any = None, cell: Any = None, *, numbers: Any = None, positions: Any = None, pbc: Any = None,
    token_node: Any = None, occupancy: Any = None,
) -> Sites:
    """The field's object or raw arrays as checked :class:`Sites`; objects are known by their attributes."""
    if hasattr(structure, "get_atomic_numbers"):  # ASE
        return _checked(_from_arrays(structure.get_atomic_numbers(), None, structure.positions, structure.cell.array, structure.pbc))
    if hasattr(structure, "cart_coords"):  # pymatgen
        return _checked(_from_pymatgen(structure))
    if isinstance(structure, tuple | list) and len(structure) == 3 and numbers is None and frac_coords is None:
        structure, frac_coords, cell = structure
    chosen = structure if numbers is None else numbers
    if chosen is None or (frac_coords is None) == (positions is None):
        raise GeoembedError(where="crystal_graph", found="no structure, or not exactly one of frac_coords and positions",
                            expected="a Structure, Atoms, or numbers with one kind of coordinates", remedy="See help(crystal_graph).")
    return _checked(_from_arrays(chosen, frac_coords, positions, cell, pbc, token_node, occupancy))


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
    numbers: Any, frac_coords: Any, positions: Any, cell: Any, pbc: Any, token_node: Any = None, occupancy: Any = None
) -> Sites:
    z = _floats(numbers).ravel()
    matrix = np.zeros((3, 3)) if cell is None else _floats(cell)
    if matrix.size != 9:
        raise ValueRangeError(where="crystal: cell", found=f"{matrix.size} numbers", expected="three lattice vectors as rows [3, 3]",
                              remedy="Make vectors of lengths and angles, for example by pymatgen's Lattice.from_parameters.")
    matrix = matrix.reshape(3, 3)
    axes = np.full(3, cell is not None) if pbc is None else np.broadcast_to(as_tensor(pbc, torch.bool).numpy(), 3).copy()
    coordinates = _floats(positions if frac_coords is None else frac_coords)
    if coordinates.size % 3:
        raise ValueRangeError(where="crystal: coordinates", found=list(coordinates.shape), expected="[N, 3]",
                              remedy="Give three numbers a site.")
    coordinates = coordinates.reshape(-1, 3)
    _require_finite(numbers=z, cell=matrix, coordinates=coordinates)
    cartesian = coordinates if frac_coords is None else coordinates @ matrix
    if token_node is None and occupancy is None:
        if len(z) != len(cartesian):
            require_length("crystal", len(cartesian), numbers=torch.from_numpy(z))
        return Sites(cartesian, matrix, axes, z.astype(np.int64), np.arange(len(z)), np.ones(len(z)))
    node = np.arange(len(z)) if token_node is None else as_tensor(token_node, torch.int64).numpy()
    share = np.ones(len(z)) if occupancy is None else _floats(occupancy)
    require_length("crystal", len(z), token_node=torch.from_numpy(node), occupancy=torch.from_numpy(share))
    if token_node is None:
        require_length("crystal", len(cartesian), numbers=torch.from_numpy(z))
    order = np.argsort(node, kind="stable")
    return Sites(cartesian, matrix, axes, z.astype(np.int64)[order], node[order], share[order])


def _floats(values: Any) -> Array:
    """A float64 array of its own."""
    if type(values) is np.ndarray and values.dtype.kind in "fiu" and values.dtype.isnative:
        return values.astype(np.float64)
    result: Array = as_tensor(values).numpy()
    return result


def _require_finite(**columns: Array) -> None:
    for name, column in columns.items():
        if not np.isfinite(column).all():
            require_finite("crystal", **{name: torch.from_numpy(column)})


def _checked(sites: Sites) -> Sites:
    n = len(sites.positions)
    if not n:
        raise EmptyGraphError(where="crystal", found="no sites", expected="at least one", remedy="Leave the record out.")
    z, node = sites.numbers, sites.node
    if len(z) and not 1 <= z.min() <= z.max() <= MAX_Z:
        wrong = int(z[(z < 1) | (z > MAX_Z)][0])
        raise ValueRangeError(where="crystal: atomic number", found=wrong, expected=f"1…{MAX_Z}", remedy="Correct the species.")
    if len(node) and not 0 <= node[0] <= node[-1] < n:
        raise ValueRangeError(where="crystal: token_node", found=int(node[-1]), expected=f"0…{n - 1}", remedy="Index the sites.")
    _check_occupancy(sites)
    given = sites.cell[sites.pbc]
    if len(given):
        # |volume|, area or length of the periodic vectors: their Gram determinant, whatever the sign of the cell.
        extent = float(np.sqrt(max(np.linalg.det(given @ given.T), 0.0)))
        if extent <= MIN_VOLUME * (n if len(given) == 3 else 1):
            raise ValueRangeError(where="crystal: cell", found=f"a volume of {extent:.2g} Å^{len(given)} for {n} sites",
                                  expected=f"over {MIN_VOLUME} Å³ a site", remedy="Correct the cell parameters.")
    return sites


def _check_occupancy(sites: Sites) -> None:
    if len(sites.occupancy) and not 0 < sites.occupancy.min() <= sites.occupancy.max() < np.inf:
        raise ValueRangeError(where="crystal: occupancy", found=float(sites.occupancy.min()), expected="> 0",
                              remedy="Leave the species out.")
    total = sites.totals()
    if total.min() > 0 and total.max() <= FULLEST:
        return
    site = int(np.flatnonzero((total > FULLEST) | (total == 0))[0])
    found = f"occupancies that sum to {float(total[site]):.4g}" if total[site] > 0 else "no species"
    raise ValueRangeError(where=f"crystal: site {site}", found=found, expected=f"a sum over 0 and at most {FULLEST}",
                          remedy="Correct the occupancies, or leave the site out.")


def all_sites(crystals: list[Sites]) -> tuple[Sites, Tensor, Tensor]:
    """(sites of all, cells and pbc [B, …] and nodes counted on; ptr [B+1] of sites; ptr [B+1] of species rows)."""
    if len(crystals) == 1:
        one = crystals[0]
        ends = torch.tensor([[0, len(one.positions)], [0, len(one.numbers)]])
        return one._replace(cell=one.cell[None], pbc=one.pbc[None]), ends[0], ends[1]
    sizes = np.array([[0, *(len(one.positions) for one in crystals)], [0, *(len(one.numbers) for one in crystals)]]).cumsum(axis=1)
    positions, cell, pbc, numbers, node, occupancy = zip(*crystals, strict=True)
    shifted = np.concatenate(node) + np.repeat(sizes[0, :-1], np.diff(sizes[1]))
    joined = Sites(np.concatenate(positions), np.stack(cell), np.stack(pbc), np.concatenate(numbers), shifted, np.concatenate(occupancy))
    return joined, torch.from_numpy(sizes[0]), torch.from_numpy(sizes[1])
