"""Crystals: sites and their periodic neighbors, from pymatgen or ASE objects or from raw tensors; one or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geoembed.errors import ValueRangeError
from geoembed.graphs.crystal_edges import EdgeRule, Radius, edge_rule
from geoembed.graphs.crystal_sites import MAX_Z as MAX_Z
from geoembed.graphs.crystal_sites import Sites, all_sites, sites_of
from geoembed.graphs.kind import Kind
from geoembed.ops import Crystals, Neighbors, angle_pairs, components, components_of_each, ptr_from_sorted, within_budget
from geoembed.schema import FIELDS, Graph, GraphBatch, Provenance, Scalar, validate, validate_parts

CLOSEST = 0.1
"""Å: two sites that are fully occupied and closer than this are one atom written twice, or a broken file."""


def crystal_graph(
    structure: Any = None, frac_coords: Any = None, cell: Any = None, *, numbers: Any = None, positions: Any = None, pbc: Any = None,
    token_node: Any = None, occupancy: Any = None, cutoff: float = 8.0, neighbors: int | EdgeRule | None = 12,
    edge_budget: int | None = None, angles: bool = False,
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
            distance is kept); None keeps the whole sphere; or a rule of :mod:`geoembed.graphs.crystal_edges`.
        edge_budget: most edges of the graph; the longest go, by whole shells and both ways, and the notes say how many and into
            how many parts the graph falls. None: no limit.
        angles: whether to add ``angle_index``, all ordered pairs of edges with one target.

    Fields: token (Z) [S, 1], token_node, token_weight, pos [N, 3] float64, weight (occupancy), edge_index, edge_shift,
    edge_attr[:, 0] = distance [Å], cell, pbc. An isolated site has no edge. Edges are sorted by target, shift and source.
    Raises :class:`EmptyGraphError` without sites and :class:`ValueRangeError` on Z outside 1…118, numbers that are not finite, a
    cell without volume, coinciding sites.
    """
    rule = edge_rule(neighbors, cutoff)
    sites = sites_of(structure, frac_coords, cell, numbers=numbers, positions=positions, pbc=pbc, token_node=token_node,
                     occupancy=occupancy)
    return graphs_of_sites([sites], cutoff=cutoff, neighbors=rule, edge_budget=edge_budget, angles=angles)[0]


def crystal_graphs(
    structures: Sequence[Any], *, cutoff: float = 8.0, neighbors: int | EdgeRule | None = 12, edge_budget: int | None = None,
    angles: bool = False,
) -> list[Graph]:
    """The graphs of many structures, as :func:`crystal_graph` makes them one by one, in a fraction of the time.

    ``structures``: pymatgen or ASE objects, or (numbers, frac_coords, cell). Raises on the first that is refused.
    """
    sites = [sites_of(structure) for structure in structures]
    return graphs_of_sites(sites, cutoff=cutoff, neighbors=neighbors, edge_budget=edge_budget, angles=angles)


def graphs_of_sites(
    crystals: Sequence[Sites], *, cutoff: float = 8.0, neighbors: int | EdgeRule | None = 12, edge_budget: int | None = None,
    angles: bool = False,
) -> list[Graph]:
    """The graphs of checked sites; neighbors of all crystals are searched together, and each graph is valid."""
    if not crystals:
        return []
    rule = edge_rule(neighbors, cutoff)
    sites, ptr, rows = all_sites(list(crystals))
    solid = Crystals(torch.from_numpy(sites.positions), ptr, torch.from_numpy(sites.cell), torch.from_numpy(sites.pbc))
    found = rule.find(solid, cutoff)
    _check_reach(found, cutoff)
    origin = Provenance(kind="crystal", modality="crystal", settings={"cutoff": cutoff, **rule.settings()})
    fields = {
        "token": torch.from_numpy(sites.numbers).unsqueeze(-1), "token_node": torch.from_numpy(sites.node),
        "token_weight": torch.from_numpy(sites.occupancy).float(), "pos": solid.positions,
        "weight": torch.from_numpy(sites.totals()).float(), "edge_index": found.edge_index,
        "edge_attr": found.distance.float().unsqueeze(-1), "edge_shift": found.shift.to(torch.int8), "cell": solid.cell, "pbc": solid.pbc,
    }
    if len(crystals) == 1:
        graphs = [validate(Graph(origin, len(sites.positions), **fields))]
    else:
        graphs = _cut(origin, fields, ptr, rows)
        validate_parts(graphs, GraphBatch.from_fields([origin] * len(crystals), ptr, **fields))
    if not isinstance(rule, Radius):
        parts = components_of_each(found.edge_index, ptr).tolist()
        graphs = [_flagged(graph, cutoff, number) if number > 1 else graph for graph, number in zip(graphs, parts, strict=True)]
    if edge_budget is not None or angles or bool((found.distance < CLOSEST).any()):
        graphs = [_finished(graph, edge_budget, angles) for graph in graphs]
    return graphs


def _cut(origin: Provenance, fields: dict[str, Tensor], ptr: Tensor, rows: Tensor) -> list[Graph]:
    """Each crystal of some joined ones; ``ptr``, ``rows`` [B+1] bound its sites and species rows. Tensors are views of joined ones."""
    edges = ptr_from_sorted(fields["edge_index"][1], int(ptr[-1]))[ptr]
    counts = {"node": ptr.diff(), "token": rows.diff(), "edge": edges.diff(), "graph": torch.ones_like(ptr[1:])}
    sizes = {level: count.tolist() for level, count in counts.items()}
    cut: dict[str, Sequence[Tensor]] = {}
    for name, value in fields.items():
        field = FIELDS[name]
        local = value - torch.repeat_interleave(ptr[:-1], counts[field.level]) if field.offset else value
        cut[name] = torch.split(local, sizes[field.level], field.axis)
    return [Graph(origin, nodes, **{name: parts[b] for name, parts in cut.items()}) for b, nodes in enumerate(sizes["node"])]


def _flagged(graph: Graph, cutoff: float, parts: int) -> Graph:
    """A graph whose edges leave it in some parts, with a note where those within the cutoff leave it in fewer."""
    crystal = Crystals(graph.pos, torch.tensor([0, len(graph.pos)]), graph.cell, graph.pbc)
    before = components(Radius().find(crystal, cutoff).edge_index, len(graph.pos))
    return graph.with_provenance(notes={"components_before": before, "components_after": parts}) if before < parts else graph


def _finished(graph: Graph, edge_budget: int | None, angles: bool) -> Graph:
    """A graph without sites that coincide, within its budget, with its angles."""
    sites, pairs = len(graph.pos), Neighbors(graph.edge_index, graph.edge_shift, graph.edge_attr[:, 0].double())
    notes = _overlaps(pairs, graph.weight)
    if edge_budget is not None:
        kept = within_budget(pairs, sites, edge_budget)
        if kept.dropped:
            notes |= {"edges_dropped": kept.dropped, "components_after": kept.components_after,
                      "components_before": graph.notes.get("components_before", kept.components_before)}
            graph.edge_index, graph.edge_shift = kept.pairs.edge_index, kept.pairs.shift
            graph.edge_attr = kept.pairs.distance.float().unsqueeze(-1)
    if angles:
        graph.angle_index = angle_pairs(graph.edge_index, sites)
    return validate(graph.with_provenance(notes=notes))


def _check_reach(found: Neighbors, cutoff: float) -> None:
    farthest = int(found.shift.abs().max()) if found.shift.numel() else 0
    if farthest > 127:
        raise ValueRangeError(where="crystal: cell", found=f"a cutoff of {cutoff} Å over {farthest} cells",
                              expected="at most 127", remedy="Use a smaller cutoff, or wrap the sites into the cell.")


def _overlaps(pairs: Neighbors, weight: Tensor) -> dict[str, Scalar]:
    """Refuse coinciding sites; count those that partial occupancies explain (alternatives of one disordered atom)."""
    close = pairs.distance < CLOSEST
    if not bool(close.any()):
        return {}
    a, b = pairs.edge_index[:, close]
    both = weight[a] + weight[b] > 1.0 + 1e-3
    if bool(both.any()):
        i = int(torch.nonzero(both)[0, 0])
        raise ValueRangeError(
            where=f"crystal: sites {int(a[i])} and {int(b[i])}", found=f"{float(pairs.distance[close][i]):.4f} Å apart",
            expected=f"at least {CLOSEST} Å", remedy="Remove the duplicate site, or give partial occupancies.",
        )
    return {"overlapping_partial_sites": int(close.sum()) // 2}


KIND = Kind("crystal", crystal_graph)
