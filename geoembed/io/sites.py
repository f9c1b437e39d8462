"""Sites of a crystal or molecule as arrays: what the structure readers hand to the graph builder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import UnknownNameError, ValueRangeError
from geoembed.graphs.crystal import graphs_of_sites
from geoembed.graphs.crystal_sites import Sites as CheckedSites
from geoembed.graphs.crystal_sites import sites_of
from geoembed.io.cif_checks import NUMBERS
from geoembed.schema import Graph, Scalar

OCCUPANCY_TOLERANCE = 1.05
"""Occupancies of a site that sum to between 1 and this are rounding of the refinement and are scaled to 1."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sites:
    """A crystal (``cell`` rows in Å, fractional coordinates) or, where ``cartesian``, atoms at positions in Å (``cell`` or None).

    ``numbers`` [S], ``node`` [S] and ``occupancy`` [S] are its species rows: one a site [N] where it is ordered.
    """

    numbers: Ints
    coordinates: Array
    cell: Array | None = None
    cartesian: bool = False
    pbc: tuple[bool, bool, bool] | None = None
    node: Ints | None = None
    occupancy: Array | None = None

    @property
    def size(self) -> int:
        """Number of sites."""
        return len(self.coordinates)

    def graph(self) -> Graph:
        """The crystal graph of these sites."""
        return graphs_of_sites([self._checked()])[0]

    def graphs(self, payloads: Sequence[Any]) -> list[Graph]:
        """The crystal graphs of some payloads; one search for neighbors for all."""
        return graphs_of_sites([payload._checked() for payload in payloads])

    def _checked(self) -> CheckedSites:
        place: dict[str, Any] = {"positions" if self.cartesian else "frac_coords": self.coordinates}
        return sites_of(numbers=self.numbers, cell=self.cell, pbc=self.pbc, token_node=self.node, occupancy=self.occupancy, **place)

    def composition(self) -> Counter[int]:
        """Atoms in the cell by atomic number."""
        share = np.ones(len(self.numbers)) if self.occupancy is None else self.occupancy
        total = np.bincount(self.numbers, weights=share)
        return Counter({int(z): float(total[z]) for z in np.flatnonzero(total)})


def shared_sites(
    numbers: Ints, node: Ints, share: Array, name: Callable[[int], str], notes: dict[str, Scalar], where: str
) -> tuple[Ints, Ints | None, Array | None]:
    """(numbers, node, occupancy) of species rows, equal elements of a site added up; the last two are None in an ordered crystal.

    ``name`` says what a person calls a site. Raises :class:`ValueRangeError` where the occupancies of a site sum to more
    than 1.05; a smaller excess is scaled away and noted.
    """
    species, inverse = np.unique(node * 128 + numbers, return_inverse=True)
    amount: Array = np.bincount(inverse, weights=share).astype(np.float64)
    site = species // 128
    total = np.bincount(site, weights=amount)
    if total.max(initial=0.0) > OCCUPANCY_TOLERANCE:
        worst = int(total.argmax())
        raise ValueRangeError(
            where=f"{where}: site {name(worst)}", found=f"occupancies that sum to {total[worst]:.4g}",
            expected=f"at most {OCCUPANCY_TOLERANCE}", remedy="Correct the occupancies, or remove the site that is listed twice.",
        )
    if (total > 1 + 1e-9).any():
        notes["occupancies_scaled"] = int((total > 1 + 1e-9).sum())
        amount = amount / np.maximum(total, 1.0)[site]
    if len(species) == len(total) and bool((amount == 1).all()):
        return species % 128, None, None
    return species % 128, site, amount


def atomic_numbers(symbols: Sequence[str], notes: dict[str, Scalar], where: str) -> Ints:
    """Atomic numbers of element symbols; D and T are hydrogen, noted; raises :class:`UnknownNameError` naming any other text."""
    unknown = next((symbol for symbol in symbols if symbol not in NUMBERS), None)
    if unknown is not None:
        raise UnknownNameError(where=where, found=f"the symbol {unknown!r}", expected="an element symbol",
                               remedy="Correct the symbol, or leave dummy sites out.")
    if isotopes := sum(symbol in "DT" for symbol in symbols):
        notes["isotopes_as_hydrogen"] = isotopes
    return np.array([NUMBERS[symbol] for symbol in symbols], dtype=np.int64)
