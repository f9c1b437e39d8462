"""Fields on the sphere as a globe seen from far away, with the mesh that carries their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoembed.io.extras import require
from geoembed.schema import Graph
from geoembed.viz.palette import EDGES_DRAWN, FAINT, INK, LINE, VOID, add_lines, bare_axes, name_of, segments, thinned, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

Floats = NDArray[np.float64]

POINTS_DRAWN = 12_000
"""Of the visible grid points at most so many are drawn; more than a picture has pixels for."""

CENTER = (25.0, 60.0)
"""Latitude and longitude [degree] under the eye, unless the points cover a region only: then their middle."""


def draw_sphere(graph: Graph, ax: Axes, title: str = "", variable: int = 0) -> None:
    """An orthographic globe: the values of one variable as a colored surface (gray where not measured), the mesh as lines.

    ``variable`` is the column of x. Links between grid and mesh, three or four a point, are left out.
    """
    xyz = graph.pos.numpy().astype(np.float64)
    grid = graph.node_kind.numpy() == 0
    seen = orthographic(xyz, *_eye(xyz[grid]))
    _ball(ax)
    points = np.flatnonzero(grid & (seen[:, 2] > 0))
    points = points[thinned(len(points), POINTS_DRAWN)]
    colored = _surface(ax, seen[points], graph.x[points, variable].numpy(), graph.measured[points, variable].numpy())
    links = _mesh(ax, graph, seen)
    bare_axes(ax)
    ax.set_xlim(-1.05, 1.05)
    ax.set_ylim(-1.05, 1.05)
    names = graph.provenance.settings.get("variables")
    name = str(names[variable]) if isinstance(names, list) else f"variable {variable}"
    if colored is not None:
        bar = ax.figure.colorbar(colored, ax=ax, shrink=0.6, pad=0.02, aspect=22)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7, colors=FAINT, length=2)
        bar.set_label(name, fontsize=8, color=INK)
    facts = f"{int(grid.sum()):,} points, {int((~grid).sum()):,} mesh vertices, {graph.num_edges:,} links{links}"
    write_title(ax, title or name_of(graph), facts)


def orthographic(xyz: Floats, lat: float, lon: float) -> Floats:
    """Unit vectors [N, 3] as (right, up, towards the eye) for an eye far above lat, lon [degree].

    >>> orthographic(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), 0.0, 0.0).round(6).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    phi, lam = np.radians([lat, lon])
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    turned: Floats = xyz @ np.stack([east, np.cross(up, east), up], axis=1)
    return turned


def _eye(points: Floats) -> tuple[float, float]:
    """Where the eye is: above :data:`CENTER`, or above the middle of points that cover less than half of the sphere."""
    middle = points.mean(axis=0)
    if np.linalg.norm(middle) < 0.5:
        return CENTER
    x, y, z = middle / np.linalg.norm(middle)
    return float(np.degrees(np.arcsin(z))), float(np.degrees(np.arctan2(y, x)))


def _ball(ax: Axes) -> None:
    circle = np.linspace(0, 2 * np.pi, 200)
    ax.fill(np.cos(circle), np.sin(circle), facecolor=VOID, edgecolor=LINE, linewidth=0.8, zorder=0)


def _surface(ax: Axes, seen: Floats, value: NDArray[np.float32], measured: NDArray[np.bool_]) -> ScalarMappable | None:
    """The measured points as a surface of triangles without those that touch a missing point; few or scattered ones as dots."""
    if not measured.any():
        return None
    low, high = np.percentile(value[measured], [1, 99])
    limits = float(low), float(high) if high > low else float(low) + 1
    if len(seen) > 200:
        triangles = require("matplotlib.tri", "plot").Triangulation(seen[:, 0], seen[:, 1])
        corners = seen[triangles.triangles]
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        triangles.set_mask(~measured[triangles.triangles].all(1) | (longest > 4 * np.median(longest) + 0.1))
        return ax.tripcolor(triangles, value, shading="gouraud", cmap="viridis", vmin=limits[0], vmax=limits[1], zorder=1)
    return ax.scatter(seen[measured, 0], seen[measured, 1], c=value[measured], s=22, edgecolors="white", linewidths=0.4,
                      cmap="viridis", vmin=limits[0], vmax=limits[1], zorder=1)


def _mesh(ax: Axes, graph: Graph, seen: Floats) -> str:
    """Mesh edges with both ends in view, long ones stronger; returns what the title says of them."""
    source, target = graph.edge_index.numpy()[:, graph.edge_kind.numpy() == 1]
    visible = np.flatnonzero((source < target) & (seen[source, 2] > 0.02) & (seen[target, 2] > 0.02))
    drawn = visible[thinned(len(visible), EDGES_DRAWN)]
    start, end = seen[source[drawn]], seen[target[drawn]]
    length = np.linalg.norm(end - start, axis=1)
    strength = np.clip(length / max(float(length.max(initial=0)), 1e-9), 0.25, 1)
    add_lines(ax, segments(start[:, :2], end[:, :2]), colors="white", linewidths=0.3 + 0.7 * strength, alpha=0.55, zorder=2)
    if len(drawn) < len(visible):
        return f" ({len(drawn):,} of the mesh drawn)"
    return ""
