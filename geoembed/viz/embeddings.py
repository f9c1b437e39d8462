"""Maps of embeddings: unit vectors in their two directions of largest variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoembed.errors import SchemaError
from geoembed.viz.palette import COLORS, FAINT, MARKERS, VOID, legend, quiet_axes, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


def project(vectors: ArrayLike) -> tuple[Floats, Floats]:
    """Principal components: vectors [n, D] -> (places [n, 2], share of the variance along each axis [2]).

    Centered, by a singular value decomposition in float64. The sign of an axis is fixed so that its largest entry is
    positive: equal vectors give equal maps. Fewer than two directions leave zeros.

    >>> places, share = project([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])
    >>> places.tolist(), share.tolist()
    ([[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]], [1.0, 0.0])
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2:
        raise SchemaError(where="project", found=f"shape {list(rows.shape)}", expected="[n, D]", remedy="Give one vector a row.")
    if not len(rows):
        return np.zeros((0, 2)), np.zeros(2)
    left, size, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    size = np.where(size > 1e-9 * size.max(initial=0), size, 0)
    sign = np.sign(np.take_along_axis(right, np.abs(right).argmax(axis=1)[:, None], axis=1)[:, 0])
    places, share = np.zeros((len(rows), 2)), np.zeros(2)
    axes = min(2, len(size))
    places[:, :axes] = (left * size * sign)[:, :axes] + 0.0  # no negative zeros
    if (total := float((size**2).sum())) > 0:
        share[:axes] = size[:axes] ** 2 / total
    return places, share


def draw_map(vectors: ArrayLike, labels: Sequence[str], ax: Axes, title: str = "") -> None:
    """A map of vectors [n, D] of one encoder, colored and shaped by label [n]; near on the map = alike to the encoder.

    Two directions hold a part of all differences: the axes say how much of the variance.
    """
    places, share = project(vectors)
    if len(labels) != len(places):
        raise SchemaError(where="draw_map", found=f"{len(labels)} labels", expected=f"{len(places)}, one a vector",
                          remedy="Give each vector a label; an empty text is one.")
    names = list(dict.fromkeys(labels))
    kinds = np.array([names.index(label) for label in labels])
    small = len(places) > 400
    for number in range(len(names)):
        x, y = places[kinds == number].T
        ax.scatter(x, y, s=10 if small else 34, c=_color(number), marker=_marker(number), alpha=0.85, edgecolors="white",
                   linewidths=0.2 if small else 0.6, zorder=2)
    ax.axhline(0, color=VOID, linewidth=0.6, zorder=0)
    ax.axvline(0, color=VOID, linewidth=0.6, zorder=0)
    quiet_axes(ax, f"first direction ({share[0]:.0%})", f"second direction ({share[1]:.0%})")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.margins(0.12)
    if 1 < len(names) <= 16:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + (high - low) * 0.11 * -(-len(names) // 4))  # room for the legend above the points
        legend(ax, names, [_color(i) for i in range(len(names))], [_marker(i) for i in range(len(names))],
               loc="upper center", ncols=min(len(names), 4), columnspacing=0.7)
    elif len(names) > 16:
        ax.annotate(f"{len(names)} labels", (1, 1), ha="right", va="top", xycoords="axes fraction", fontsize=7, color=FAINT)
    write_title(ax, title or "map of embeddings", f"{len(places):,} vectors of {np.asarray(vectors).shape[1]} numbers")


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _marker(number: int) -> str:
    # Colors repeat after eight labels, shapes move on by one: 64 different marks
    return MARKERS[(number + number // len(COLORS)) % len(MARKERS)]
