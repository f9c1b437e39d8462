"""Which pairs of sites become edges of a crystal graph: rules by name, each with its settings.

All of them are symmetric under the choice of cell and keep whole shells of equal distances. A cutoff is never enlarged; the one
rule without a cutoff is called so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol, runtime_checkable

import torch

from geoembed.errors import ValueRangeError
from geoembed.ops import Crystals, Neighbors, batched_neighbors, mutual, nearest_shells


@runtime_checkable
class EdgeRule(Protocol):
    """Finds the edges of many crystals at once."""

    def find(self, crystals: Crystals, cutoff: float) -> Neighbors:
        """Pairs within ``cutoff`` [Å], in the order of :class:`Neighbors`."""
        ...

    def settings(self) -> dict[str, int | str | None]:
        """What the provenance keeps of the rule."""
        ...


@dataclass(frozen=True)
class Radius:
    """Everything within the cutoff."""

    def find(self, crystals: Crystals, cutoff: float) -> Neighbors:
        return batched_neighbors(crystals, torch.full((len(crystals.cell),), cutoff, dtype=torch.float64, device=crystals.cell.device))

    def settings(self) -> dict[str, int | str | None]:
        return {"neighbors": None}


@dataclass(frozen=True)
class Shells:
    """The k nearest within the cutoff, and everything within 1e-4 Å of the k-th distance."""

    k: int

    def find(self, crystals: Crystals, cutoff: float) -> Neighbors:
        return nearest_shells(crystals, self.k, cutoff)

    def settings(self) -> dict[str, int | str | None]:
        return {"neighbors": self.k}


@dataclass(frozen=True)
class MutualShells:
    """Of the edges of :class:`Shells`, those between sites that are among the nearest of each other."""

    k: int

    def find(self, crystals: Crystals, cutoff: float) -> Neighbors:
        return mutual(nearest_shells(crystals, self.k, cutoff), crystals.ptr)

    def settings(self) -> dict[str, int | str | None]:
        return {"neighbors": self.k, "rule": "mutual"}


@dataclass(frozen=True)
class AdaptiveShells:
    """The k nearest shells however far they are: the radius grows with each site's surroundings, and the cutoff is not used."""

    k: int

    def find(self, crystals: Crystals, cutoff: float) -> Neighbors:
        return nearest_shells(crystals, self.k, math.inf)

    def settings(self) -> dict[str, int | str | None]:
        return {"neighbors": self.k, "rule": "adaptive", "cutoff": None}


def edge_rule(neighbors: int | EdgeRule | None, cutoff: float) -> EdgeRule:
    """The rule that a number (whole shells of the k nearest) or None (the whole sphere) stands for; checked with the cutoff."""
    rule = Radius() if neighbors is None else Shells(int(neighbors)) if isinstance(neighbors, Integral) else neighbors
    if not isinstance(rule, EdgeRule):
        raise ValueRangeError(where="crystal: neighbors", found=repr(neighbors), expected="a whole number, None or an edge rule",
                              remedy="See geoembed.graphs.crystal_edges.")
    if not 0 < cutoff < math.inf or getattr(rule, "k", 1) < 1:
        raise ValueRangeError(where="crystal", found=f"cutoff {cutoff} Å, neighbors {neighbors}", remedy="Correct the settings.",
                              expected="a finite radius over 0, and at least 1 neighbor or None")
    return rule
