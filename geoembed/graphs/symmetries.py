"""Group actions on graphs: what an encoder declares that its output must not feel, and what tests and ``trust`` draw from.

Every action takes a graph and a generator and gives the graph of the transformed object, built again by its builder where
the transformation changes what the builder sees.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor

from geoembed.errors import GeoembedError
from geoembed.graphs.chain import chain_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import turn
from geoembed.graphs.sequence import COMPLEMENT
from geoembed.schema import Graph, level_of


class Symmetry(ABC):
    """A random element of a group, applied to a graph."""

    @abstractmethod
    def apply(self, graph: Graph, generator: Generator) -> Graph:
        """The graph of the transformed object; the element is drawn from ``generator``."""

    @property
    def name(self) -> str:
        """Name in reports."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"{self.name}()"


class PermutationOfNodes(Symmetry):
    """Nodes in another order; edges are relabeled and sorted by target again."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        n = int(graph.num_nodes or 0)
        order = torch.randperm(n, generator=generator)
        place = _place(order)
        fields: dict[str, Tensor] = {}
        edges: dict[str, Tensor] = {}
        for name, value in graph.items():
            if not isinstance(value, Tensor):
                continue
            level = level_of(name)
            if level == "node" or (level == "token" and "token_node" not in graph):
                fields[name] = value[order]
            elif level == "edge" and name != "edge_index":
                edges[name] = value
            elif level == "graph":
                fields[name] = value
        if "token_node" in graph:
            owner = place[graph.token_node]
            rows = torch.argsort(owner, stable=True)
            fields["token_node"] = owner[rows]
            fields |= {name: graph[name][rows] for name in ("token", "token_weight") if name in graph}
        if "edge_index" in graph:
            fields |= _sorted_edges(place[graph.edge_index], edges, graph.get("angle_index"))
        return Graph(graph.with_provenance(topology="").provenance, num_nodes=n, **fields)


class PermutationOfEdges(Symmetry):
    """Edges of each target in another order."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        if "edge_index" not in graph:
            return graph
        order = torch.randperm(graph.num_edges, generator=generator)
        edges = {name: value[order] for name, value in graph.items()
                 if isinstance(value, Tensor) and level_of(name) == "edge" and name != "edge_index"}
        other = graph.with_provenance(topology="")
        angles = _place(order)[graph.angle_index] if "angle_index" in graph else None
        for name, value in _sorted_edges(graph.edge_index[:, order], edges, angles).items():
            other[name] = value
        return other


def _place(order: Tensor) -> Tensor:
    """New number of each old row, from the old number of each new row."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))


def _sorted_edges(edge_index: Tensor, edges: dict[str, Tensor], angles: Tensor | None) -> dict[str, Tensor]:
    """Edges sorted by (kind, target) with their fields, and the angles between them."""
    kind = edges["edge_kind"].long() if "edge_kind" in edges else torch.zeros_like(edge_index[1])
    by_target = torch.argsort(edge_index[1], stable=True)
    order = by_target[torch.argsort(kind[by_target], stable=True)]
    moved = {"edge_index": edge_index[:, order], **{name: value[order] for name, value in edges.items()}}
    return moved if angles is None else moved | {"angle_index": _place(order)[angles]}


def _crystal(graph: Graph, positions: Tensor, cell: Tensor, copies: int = 1) -> Graph:
    """The crystal of ``graph`` with other positions and cell, its species repeated ``copies`` times."""
    n = int(graph.num_nodes or 0)
    shift = torch.arange(copies).repeat_interleave(len(graph.token_node)) * n
    cutoff, neighbors = graph.provenance.settings["cutoff"], graph.provenance.settings["neighbors"]
    return crystal_graph(
        numbers=graph.token[:, 0].repeat(copies), token_node=graph.token_node.repeat(copies) + shift,
        occupancy=graph.token_weight.double().repeat(copies), positions=positions, cell=cell, pbc=graph.pbc[0],
        cutoff=float(str(cutoff)), neighbors=None if neighbors is None else int(str(neighbors)),
    )


class Rotation(Symmetry):
    """A proper or improper rotation of a crystal or molecule (Haar measure, by QR of a Gaussian matrix)."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        rotation = q * r.diagonal().sign()
        return _crystal(graph, graph.pos.double() @ rotation, graph.cell[0] @ rotation)


class Translation(Symmetry):
    """A shift of all sites by one vector, up to 50 Å, without wrapping them back."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        shift = (torch.rand(3, generator=generator, dtype=torch.float64) - 0.5) * 100
        return _crystal(graph, graph.pos.double() + shift, graph.cell[0])


class Supercell(Symmetry):
    """The same crystal in a cell repeated 1 to 3 times along each periodic axis."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        repeats = torch.randint(1, 4, (3,), generator=generator).where(graph.pbc[0], 1)
        images = torch.cartesian_prod(*[torch.arange(int(m)) for m in repeats]).view(-1, 3).double()
        positions = (graph.pos.double().unsqueeze(0) + (images @ graph.cell[0]).unsqueeze(1)).reshape(-1, 3)
        return _crystal(graph, positions, graph.cell[0] * repeats.double().unsqueeze(-1), copies=len(images))


class ChoiceOfCell(Symmetry):
    """Other lattice vectors of the same lattice: a random shear by whole vectors, left-handed half of the time."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        i, j = torch.randperm(3, generator=generator)[:2].tolist()
        change = torch.eye(3, dtype=torch.float64)
        if bool(graph.pbc[0, i] & graph.pbc[0, j]):
            change[i, j] = float(torch.randint(-1, 2, (1,), generator=generator))
        if bool(graph.pbc[0, i]) and bool(torch.rand(1, generator=generator) < 0.5):
            change[i] = -change[i]
        return _crystal(graph, graph.pos.double(), change @ graph.cell[0])


class ShiftOfPhi(Symmetry):
    """A rotation of an event about the beam: every phi shifted by one angle and wrapped."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        angle = 2 * math.pi * float(torch.rand(1, generator=generator))
        if graph.x.shape[1] != 4:  # angles relative to an axis: a common shift leaves the features as they are
            other = graph.with_provenance()
            other.pos = torch.stack([graph.pos[:, 0], torch.remainder(graph.pos[:, 1] + angle + math.pi, 2 * math.pi) - math.pi], -1)
            return other
        pt, eta, phi, energy = graph.x.double().unbind(-1)
        return cloud_graph(pt=pt, eta=eta, phi=phi + angle, energy=energy, particle_id=graph.token[:, 0], charge=graph.token[:, 1] - 1,
                           neighbors=int(str(graph.provenance.settings["k"])), modality=graph.provenance.modality)


class ShiftOfOrigin(Symmetry):
    """A chain measured from another zero of time or position, up to 60,000 units (days: MJD against JD)."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        shift = torch.randint(-60_000, 60_000, (1,), generator=generator).double()
        settings = graph.provenance.settings
        token = graph.token[:, 0] if "token" in graph else None
        values = graph.x.double().where(graph.measured, torch.nan)
        return chain_graph(graph.pos.double() + shift, values, passband=token, mask=graph.mask,
                           offsets=list(settings["of"]), modality=graph.provenance.modality)  # type: ignore[arg-type]


class QuarterTurnsAndFlips(Symmetry):
    """One of the 8 turns and flips of an image."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        k, flip = torch.randint(0, 4, (1,), generator=generator), torch.rand(1, generator=generator) < 0.5
        return turn(graph, int(k), bool(flip))


class ReverseComplement(Symmetry):
    """A sequence read from its opposite strand."""

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        other = graph.with_provenance()
        other.token = COMPLEMENT[graph.token.flip(0)]
        return other


class FifthTurnsOfTheSphere(Symmetry):
    """A field turned about the axis by a multiple of 72°, the rotations that mesh and grid share.

    For graphs as the builder orders them: rows of equal latitude, by longitude. Every row must have a multiple of 5 points at
    longitudes that a turn maps onto themselves; :class:`GeoembedError` says so otherwise.
    """

    def apply(self, graph: Graph, generator: Generator) -> Graph:
        fifths = int(torch.randint(0, 5, (1,), generator=generator))
        grid = torch.nonzero(graph.node_kind == 0).squeeze(-1)
        place = graph.pos[grid].double()
        count = torch.unique_consecutive(torch.round(place[:, 2] * 1e6), return_counts=True)[1]  # points a row
        start = (count.cumsum(0) - count).repeat_interleave(count)
        width = count.repeat_interleave(count)
        column = torch.arange(len(grid)) - start
        origin = start + torch.remainder(column - fifths * torch.div(width, 5, rounding_mode="floor"), width)
        angle = 2 * math.pi * fifths / 5
        turn_about_axis = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]],
                                       dtype=torch.float64)
        if not torch.allclose(place[origin] @ turn_about_axis, place, atol=1e-5):
            raise GeoembedError(where=repr(graph), found="longitudes that a turn by 72° does not map onto themselves",
                                expected="a global grid whose number of columns is a multiple of 5", remedy="Check another grid.")
        other = graph.with_provenance(topology="")
        for name in ("x", "measured", "mask"):
            value = graph[name].clone()
            value[grid] = graph[name][grid[origin]]
            other[name] = value
        return other
