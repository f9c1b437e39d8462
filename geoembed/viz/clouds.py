"""Jets and events in the plane of pseudorapidity and azimuth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoembed.graphs.cloud import PARTICLE_CLASSES
from geoembed.schema import Graph
from geoembed.viz.palette import (
    COLORS,
    EDGE,
    EDGES_DRAWN,
    FAINT,
    LINE,
    MARKERS,
    VOID,
    add_lines,
    legend,
    name_of,
    quiet_axes,
    segments,
    thinned,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

PARTICLES_DRAWN = 6000
"""Of a larger cloud the particles of largest pt are drawn."""

_GROUPS = {  # what a detector tells apart: name -> classes
    "electrons, muons": ("electron", "muon", "tau"), "photons": ("photon",),
    "charged hadrons": ("charged pion", "charged kaon", "proton"),
    "neutral hadrons": ("neutral pion", "neutral kaon", "neutron", "other baryon", "other meson"),
}
_OTHERS = "others"


def draw_cloud(graph: Graph, ax: Axes, title: str = "") -> None:
    """Particles as marks whose area grows with pt, colored by what they are, and the links between neighbors.

    A jet is drawn around its axis, so that none is torn at phi = ±π; an event shows the whole cylinder, links across the
    seam leave the picture on one side and come back on the other.
    """
    total = int(graph.num_nodes or 0)
    if not total:
        ax.text(0.5, 0.5, "no particles", ha="center", va="center", color=FAINT, transform=ax.transAxes)
    jet = graph.provenance.modality == "jet"
    pt = graph.x[:, 0].numpy().astype(np.float64) if "x" in graph else np.ones(total)
    eta, phi = graph.pos.numpy().astype(np.float64).T
    if jet and total:
        eta, phi = around_axis(pt, eta, phi)
    kept = np.argsort(-pt, kind="stable")[:PARTICLES_DRAWN]
    source, target = graph.edge_index.numpy()
    drawn = np.flatnonzero(np.isin(source, kept) & np.isin(target, kept) & (source < target))
    edges = drawn[thinned(len(drawn), EDGES_DRAWN)]
    _links(ax, np.stack([eta, phi], 1), source[edges], target[edges], faint=0.45 if total < 300 else 0.15)
    _marks(ax, graph, kept[::-1], eta, phi, pt)
    _frame(ax, eta, phi, pt, jet)
    few = f" ({len(kept):,} hardest drawn)" if len(kept) < total else ""
    many = f" ({len(edges):,} drawn)" if len(edges) < len(drawn) else ""
    name = title or name_of(graph)
    write_title(ax, name, f"{total:,} particles{few}, {graph.num_edges:,} links{many}; area of a mark: pt")


def around_axis(pt: Floats, eta: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """(Δeta, Δphi) from the pt-weighted axis of a jet; phi is averaged on the circle.

    >>> eta, phi = around_axis(np.ones(2), np.array([1.0, 2.0]), np.array([3.1, -3.1]))
    >>> eta.tolist(), phi.round(4).tolist()
    ([-0.5, 0.5], [-0.0416, 0.0416])
    """
    weight = pt / pt.sum() if pt.sum() > 0 else np.full(len(pt), 1 / len(pt))
    axis = np.angle((weight * np.exp(1j * phi)).sum())
    return eta - (weight * eta).sum(), np.asarray((phi - axis + np.pi) % (2 * np.pi) - np.pi, dtype=np.float64)


def _links(ax: Axes, xy: Floats, source: NDArray[np.int64], target: NDArray[np.int64], faint: float) -> None:
    """Straight lines; one across the seam is drawn at both of its ends, going round the cylinder."""
    start, end = xy[target], xy[source].copy()
    turns = np.rint((start[:, 1] - end[:, 1]) / (2 * np.pi))
    across = turns != 0
    end[:, 1] += 2 * np.pi * turns
    lines = segments(start, end)
    back = np.stack([np.zeros(int(across.sum())), -2 * np.pi * turns[across]], axis=1)
    lines += segments(start[across] + back, end[across] + back)
    add_lines(ax, lines, colors=EDGE, linewidths=0.5, alpha=faint, zorder=1)


def _marks(ax: Axes, graph: Graph, order: NDArray[np.int64], eta: Floats, phi: Floats, pt: Floats) -> None:
    """One scatter a group, small particles last so that they lie on top of hard ones."""
    group = _groups(graph)
    names = [*_GROUPS, _OTHERS]
    area = np.clip(360 * (pt / pt.max() if len(pt) and pt.max() > 0 else pt) ** 0.75, 5, None)
    for number, name in enumerate(names):
        here = order[::-1][group[order[::-1]] == number]
        ax.scatter(eta[here], phi[here], s=area[here], c=COLORS[number if name != _OTHERS else 7], marker=MARKERS[number],
                   alpha=0.75, edgecolors="white", linewidths=0.4, zorder=2)
    present = [number for number in range(len(names)) if (group == number).any()]
    if len(present) > 1 or (present and present != [len(names) - 1]):
        chosen = [COLORS[number if number < len(_GROUPS) else 7] for number in present]
        legend(ax, [names[number] for number in present], chosen, [MARKERS[number] for number in present],
               loc="upper center", ncols=2, columnspacing=0.8)


def _groups(graph: Graph) -> NDArray[np.int64]:
    """Group number [N] of each particle."""
    table = np.full(len(PARTICLE_CLASSES), len(_GROUPS))
    for number, members in enumerate(_GROUPS.values()):
        table[[PARTICLE_CLASSES.index(member) for member in members]] = number
    classes = graph.token[:, 0].numpy() if "token" in graph else np.zeros(int(graph.num_nodes or 0), dtype=np.int64)
    chosen: NDArray[np.int64] = table[classes]
    return chosen


def _frame(ax: Axes, eta: Floats, phi: Floats, pt: Floats, jet: bool) -> None:
    if jet and len(pt):
        reach = float(np.quantile(np.hypot(eta, phi), 0.97)) * 1.25 + 0.02
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach * 1.3)
        quiet_axes(ax, "Δη from the axis", "Δφ from the axis")
        ax.axhline(0, color=VOID, linewidth=0.6, zorder=0)
        ax.axvline(0, color=VOID, linewidth=0.6, zorder=0)
        return
    reach = max(2.5, float(np.abs(eta).max(initial=0)) * 1.05)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-np.pi, np.pi * 1.5)  # room for the legend above the cylinder
    quiet_axes(ax, "η", "φ")
    ax.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.axhline(np.pi, color=LINE, linewidth=0.6, zorder=1.6)
    ax.axhspan(np.pi, 1.5 * np.pi, color="white", linewidth=0, zorder=1.5)  # links end where the cylinder is cut open
