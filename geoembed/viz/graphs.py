"""The picture of a graph, whatever its kind, on given axes or as a small PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from geoembed.schema import Graph
from geoembed.viz.chains import draw_chain
from geoembed.viz.clouds import draw_cloud
from geoembed.viz.crystals import draw_crystal
from geoembed.viz.grids import draw_grid
from geoembed.viz.networks import draw_network
from geoembed.viz.palette import new_figure, save
from geoembed.viz.spheres import draw_sphere

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES: MappingProxyType[str, Callable[..., None]] = MappingProxyType({
    "crystal": draw_crystal, "cloud": draw_cloud, "sphere": draw_sphere, "grid": draw_grid, "chain": draw_chain,
})
"""Kind of graph -> how it is drawn; any other kind is laid out by springs (:func:`draw_network`)."""

LARGEST = 300_000
"""Bytes of a picture of one graph."""


def draw_graph(graph: Graph, ax: Axes, title: str = "") -> None:
    """Draw a graph of any kind on matplotlib axes: what was measured, and the links between its parts.

    Large graphs are thinned, evenly and without chance, and the title says how much is drawn. ``title`` replaces the name of
    the record in the first line.
    """
    PICTURES.get(graph.kind, draw_network)(graph, ax, title)


def save_graph_picture(graph: Graph, path: str | Path, title: str = "") -> Path:
    """The picture of a graph as a PNG of at most 900 × 700 pixels and 300 kB, in a second or two whatever its size.

    Needs no display. Raises :class:`MissingExtraError` where matplotlib is not installed.
    """
    figure = new_figure(6.0, 4.7)
    draw_graph(graph, figure.add_subplot(), title)
    return save(figure, path, limit=LARGEST)
