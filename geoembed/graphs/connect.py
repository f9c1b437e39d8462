"""Edge rules: edges that need no search worth storing, derived on a whole ragged batch at once.

A rule is a small mapping kept in ``Provenance.settings`` and in manifests, for example ``{"rule": "offsets", "of": [1, 2, 4]}``.
Builders apply the same functions to a batch of one, so deriving again gives the same edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoembed.errors import UnknownNameError
from geoembed.ops import edges_from_table, full_edges, knn, radius_edges, segment_ids, wrap
from geoembed.schema import Graph

TWO_PI = 2 * math.pi
FLOOR = 1e-8
"""Smallest ΔR, kT [GeV], z and m² [GeV²] before the logarithm: coincident particles stay finite."""
CEILING = 1e30


def offset_edges(ptr: Tensor, offsets: Sequence[int], band: Tensor | None = None) -> Tensor:
    """Edges between samples that lie ``offsets`` steps apart, both ways: ptr [B+1] -> edge_index [2, E], target-sorted.

    ``band`` [N] int64 adds edges to the previous and next sample of the same passband, which in a light curve of several
    bands may lie many steps away.

    >>> offset_edges(torch.tensor([0, 3]), [1]).tolist()
    [[1, 0, 2, 1], [0, 1, 1, 2]]
    """
    n = int(ptr[-1])
    node = torch.arange(n, device=ptr.device)
    segment = segment_ids(ptr, n)
    steps = torch.tensor(sorted({s * o for o in offsets for s in (-1, 1)}), dtype=torch.int64, device=ptr.device)
    candidate = node.unsqueeze(-1) + steps  # [N, 2·offsets]
    inside = (candidate >= ptr[segment].unsqueeze(-1)) & (candidate < ptr[segment + 1].unsqueeze(-1))
    table = candidate.where(inside, -1)
    if band is not None and n:
        table = _without_repeats(torch.cat([table, _same_band(segment, band)], dim=1))
    return edges_from_table(table)


def _same_band(segment: Tensor, band: Tensor) -> Tensor:
    """Previous and next sample of the same segment and band: [N, 2], −1 where there is none."""
    group = segment * (int(band.max()) + 1) + band
    order = torch.argsort(group, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    place = rank.unsqueeze(-1) + torch.tensor([-1, 1], device=order.device)
    other = order[place.clamp(0, len(order) - 1)]
    fits = (place >= 0) & (place < len(order)) & (group[other] == group.unsqueeze(-1))
    return other.where(fits, -1)


def _without_repeats(table: Tensor) -> Tensor:
    table = table.sort(dim=1).values
    repeated = torch.cat([torch.zeros_like(table[:, :1], dtype=torch.bool), table[:, 1:] == table[:, :-1]], dim=1)
    return table.masked_fill(repeated, -1)


def step_attr(pos: Tensor, edge_index: Tensor) -> Tensor:
    """Signed step from target to source along a chain: pos [N, 1] -> [E, 1] float32, in the unit of ``pos``."""
    return (pos[edge_index[0]] - pos[edge_index[1]]).float()


def eta_phi_edges(eta_phi: Tensor, ptr: Tensor, k: int) -> Tensor:
    """Edges from the k nearest particles in (eta, phi), phi periodic: [N, 2], ptr [B+1] -> edge_index [2, E], target-sorted."""
    table = knn(eta_phi, ptr, k, period=(None, TWO_PI))
    return edges_from_table(table.sort(dim=1).values)  # by source within a target, so that derived edges come back in order


def pair_attr(pt: Tensor, eta_phi: Tensor, edge_index: Tensor) -> Tensor:
    """(ln ΔR, ln kT, ln z, ln m²) of particle pairs: pt [N] GeV, eta_phi [N, 2] -> [E, 4] float32; float64 inside.

    kT = min(pT)·ΔR, z = min(pT)/(sum of pT), m² = 2 pT pT′ (cosh Δη − cos Δφ) of massless particles, written with
    half-angle squares so that nothing cancels (Qu, Li & Qian 2022, Particle Transformer, section 3).
    """
    a, b = edge_index
    pt, place = pt.double(), eta_phi.double()
    difference = place[a] - place[b]
    return pair_features(pt[a], pt[b], difference[:, 0], wrap(difference[:, 1], TWO_PI)).float()


def pair_features(pt_a: Tensor, pt_b: Tensor, delta_eta: Tensor, delta_phi: Tensor) -> Tensor:
    """The four logarithms of :func:`pair_attr` from pT and angle differences of any broadcastable shape -> [..., 4]."""
    delta_r = torch.sqrt(delta_eta.square() + delta_phi.square() + FLOOR**2)
    least = torch.minimum(pt_a, pt_b)
    half = (delta_eta / 2).abs().clamp(max=30)  # beyond, one of the two is the beam, and sinh² leaves float32
    grown = torch.expm1(half)  # sinh h = (g + g / (g + 1)) / 2; sinh itself rounds by the place of a number in its array
    sinh2 = ((grown + grown / (grown + 1)) / 2).square()
    mass2 = 4 * pt_a * pt_b * (sinh2 + torch.sin(delta_phi / 2).square())
    z = least / (pt_a + pt_b).clamp(min=FLOOR)
    return torch.stack([delta_r, least * delta_r, z, mass2], dim=-1).clamp(FLOOR, CEILING).log()


def connect(graph: Graph, rule: Mapping[str, object]) -> Graph:
    """Give a graph or batch the edges of ``rule``, in place; returns it. :class:`UnknownNameError` lists the rules.

    Rules: ``offsets`` (``of``: steps, ``bands``: whether to link passbands) on chains; on clouds ``eta_phi`` (``k`` nearest),
    ``eta_phi_radius`` (``r``: all within r; ``most``: edges at which to refuse, none by default) and ``full`` (every pair).
    Neighbors of clouds are searched in float64 among the positions that the graph holds, so the stored graph gives the same.
    """
    found = rule_of(rule)
    if found is None:
        raise UnknownNameError(where="edge rule", found=str(rule.get("rule")), expected=f"one of {', '.join(_RULES)}",
                               remedy="Correct the rule.")
    ptr = graph.ptr if "ptr" in graph else torch.tensor([0, int(graph.num_nodes or 0)])
    graph.edge_index, graph.edge_attr = _RULES[str(found["rule"])].edges(graph, ptr, found)
    return graph


def rule_of(settings: Mapping[str, object]) -> dict[str, object] | None:
    """The entries of a builder's settings that are an edge rule, or None where they name none.

    >>> rule_of({"rule": "eta_phi", "k": 16, "unit": "GeV"})
    {'rule': 'eta_phi', 'k': 16}
    """
    rule = _RULES.get(str(settings.get("rule")))
    return None if rule is None else {name: settings[name] for name in ("rule", *rule.keys) if name in settings}


def edge_counts(ptr: Tensor, rule: Mapping[str, object]) -> Tensor | None:
    """Edges of each graph under a rule that fixes them by the number of nodes alone: ptr [B+1] -> [B]; None for other rules."""
    count = ptr.diff()
    if rule.get("rule") == "eta_phi":
        return count * (count - 1).clamp(min=0, max=int(str(rule["k"])))
    return count * (count - 1).clamp(min=0) if rule.get("rule") == "full" else None


def _offsets(graph: Graph, ptr: Tensor, rule: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    steps = [int(str(step)) for step in rule["of"]]  # type: ignore[attr-defined]
    band = graph.token[:, 0] if rule.get("bands") else None
    edge_index = offset_edges(ptr, steps, band)
    return edge_index, step_attr(graph.pos, edge_index)


def _eta_phi(graph: Graph, ptr: Tensor, rule: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    edge_index = eta_phi_edges(graph.pos.double(), ptr, int(str(rule["k"])))
    return edge_index, pair_attr(graph.x[:, 0], graph.pos, edge_index)


def _eta_phi_radius(graph: Graph, ptr: Tensor, rule: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    most = rule.get("most")
    edge_index = radius_edges(graph.pos.double(), ptr, float(str(rule["r"])), (None, TWO_PI), None if most is None else int(str(most)))
    return edge_index, pair_attr(graph.x[:, 0], graph.pos, edge_index)


def _full(graph: Graph, ptr: Tensor, rule: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    edge_index = full_edges(ptr)
    return edge_index, pair_attr(graph.x[:, 0], graph.pos, edge_index)


@dataclass(frozen=True)
class _Rule:
    """How the edges of a rule are made, and the names of its settings."""

    edges: Callable[[Graph, Tensor, Mapping[str, object]], tuple[Tensor, Tensor]]
    keys: tuple[str, ...] = ()


_RULES = {
    "offsets": _Rule(_offsets, ("of", "bands")), "eta_phi": _Rule(_eta_phi, ("k",)),
    "eta_phi_radius": _Rule(_eta_phi_radius, ("r", "most")), "full": _Rule(_full),
}
