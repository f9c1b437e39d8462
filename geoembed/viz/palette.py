"""What all pictures share: colors that color-blind readers can tell apart, figures without a window, titles, thinned edges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoembed.io.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geoembed.schema import Graph

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A6A00", "#4D4D4D")
"""Okabe & Ito (2008), with its yellow darkened so that it can be read on white, and gray for black."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Shapes, so that color is never the only difference."""

INK, FAINT, EDGE, LINE, VOID = "#1F2933", "#6B7885", "#8FA3B5", "#B4BEC8", "#D5DBE1"
"""Text, less important text, links of graphs, frames and cells, what was not measured."""

EDGES_DRAWN = 4000
"""More edges than this are thinned: a picture of 10⁶ lines shows none of them, and takes a minute."""


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure [inch] that needs no display; :class:`MissingExtraError` without matplotlib."""
    figure: Figure = require("matplotlib.figure", "plot").Figure(figsize=(width, height), facecolor="white", layout="constrained")
    return figure


def spread(figure: Figure, between: float) -> None:
    """Leave more room between the columns of a figure: ``between`` is a share of a column's width."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(wspace=between)  # type: ignore[call-arg]


def save(figure: Figure, path: str | Path, dpi: int = 150, limit: int | None = None) -> Path:
    """The figure as PNG, without metadata, so that equal pictures are equal files.

    Where it takes more than ``limit`` bytes it is written again with fewer dots an inch, as many as fit, but at least 60.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        figure.savefig(place, dpi=dpi, format="png", metadata={"Software": None})
        size = place.stat().st_size
        if limit is None or size <= limit or dpi <= 60:
            return place
        dpi = max(60, int(dpi * min(0.9, 0.97 * (limit / size) ** 0.5)))  # bytes grow with the square


def segments(start: NDArray[np.floating[Any]], end: NDArray[np.floating[Any]]) -> list[NDArray[np.floating[Any]]]:
    """Lines from start [E, 2] to end [E, 2], as matplotlib's collections take them."""
    return list(np.stack([start, end], axis=1))


def add_lines(ax: Axes, lines: Sequence[NDArray[np.floating[Any]]], **style: Any) -> None:
    """Polylines, each [points, 2], as one collection."""
    ax.add_collection(require("matplotlib.collections", "plot").LineCollection(lines, **style), autolim=False)


def add_discs(ax: Axes, centers: NDArray[np.floating[Any]], radius: NDArray[np.floating[Any]], **style: Any) -> None:
    """Discs at centers [N, 2] with radius [N] in the units of the axes, drawn in order."""
    collection = require("matplotlib.collections", "plot").EllipseCollection
    angles = np.zeros(len(radius))
    ax.add_collection(
        collection(2 * radius, 2 * radius, angles, units="xy", offsets=centers, offset_transform=ax.transData, **style), autolim=False
    )


def thinned(count: int, limit: int) -> NDArray[np.int64]:
    """Every number below ``count``, or ``limit`` of them evenly spread.

    >>> thinned(3, 5).tolist(), thinned(9, 3).tolist()
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= limit:
        return np.arange(count)
    return np.rint(np.linspace(0, count - 1, limit)).astype(np.int64)


def name_of(graph: Graph, longest: int = 44) -> str:
    """What a person calls the graph: its record where that is a name, else its file; cut in the middle where it is long."""
    file = PurePosixPath(graph.source.replace("\\", "/")).name
    stem = re.sub(r"(\.[A-Za-z]\w*){1,2}$", "", file)
    record = graph.record
    if not stem or record == stem:
        name = record or graph.provenance.modality or graph.kind
    elif re.match(r"[A-Za-z]", record) and "+" not in record:
        name = f"{record}" if record.startswith(stem[:4]) or stem.endswith(record) else f"{record} in {file}"
    else:
        name = file if record in ("", "0", "0,0") or "+" in record else f"{record} in {file}"
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-(longest // 2) + 1 :]}"


def write_title(ax: Axes, title: str, facts: str) -> None:
    """A bold title and, below it, a line of facts in gray."""
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, pad=17)
    line = ax.annotate(facts, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8, color=FAINT,
                       ha="left", va="bottom", annotation_clip=False)
    line.set_in_layout(False)  # it may be wider than its axes, which are not to shrink for it


def quiet_axes(ax: Axes, x: str = "", y: str = "") -> None:
    """Axes with two thin sides, small numbers and labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(VOID)
    ax.tick_params(labelsize=7, colors=FAINT, length=2)
    ax.set_xlabel(x, fontsize=8, color=INK)
    ax.set_ylabel(y, fontsize=8, color=INK)


def bare_axes(ax: Axes) -> None:
    """Axes without sides and numbers, equal units in both directions."""
    ax.set_axis_off()
    ax.set_aspect("equal")


def legend(ax: Axes, names: Sequence[str], colors: Sequence[Any], markers: Sequence[str] | None = None, **place: Any) -> None:
    """A frameless legend of markers."""
    line = require("matplotlib.lines", "plot").Line2D
    shapes = markers or ["o"] * len(names)
    handles = [line([], [], linestyle="", marker=shape, markersize=5, color=color, markeredgecolor=INK, markeredgewidth=0.3)
               for shape, color in zip(shapes, colors, strict=True)]
    style = {"loc": "upper right", "fontsize": 7, "frameon": False, "handletextpad": 0.1, "borderaxespad": 0.2, "labelcolor": INK}
    ax.legend(handles, list(names), **{**style, **place})
