"""The road from a file to an answer in one picture: each step is real, made of sample crystals while it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoembed.encoders import default_encoder
from geoembed.io import read
from geoembed.io.shipped import sample
from geoembed.schema import Graph, GraphBatch
from geoembed.store.search import top_k
from geoembed.viz.graphs import draw_graph
from geoembed.viz.palette import COLORS, FAINT, INK, LINE, new_figure, save, spread, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROAD = ("crystal-ionic-NaCl-P1.cif", "crystal-ionic-NaCl.cif", "crystal-ionic-MgO.vasp", "crystal-ionic-CsCl.cif",
        "crystal-oxide-SrTiO3.cif", "crystal-oxide-TiO2.cif", "crystal-metal-Cu.cif", "crystal-covalent-Si.cif")
"""Sample files of the picture; the first one is the query."""

LINES_SHOWN, NUMBERS_SHOWN = 26, 64


def draw_road(path: str | Path) -> Path:
    """Write the picture of the road (file → graph → vector → table → search) to ``path``, a PNG of 2,400 × 600 pixels.

    The encoder is untrained: what it finds rests on its symmetries alone, and the picture says so. Needs the extras ``plot``
    and ``materials``.
    """
    graphs = [next(read(sample(name), on_error="raise")) for name in ROAD]
    vectors = default_encoder(graphs)(GraphBatch.from_data_list(graphs)).detach().numpy()
    figure = new_figure(16, 4)
    axes = figure.subplots(1, 5, width_ratios=(3.1, 3.2, 1.0, 3.6, 3.4))
    _draw_file(axes[0], ROAD[0])
    spread(figure, 0.13)  # room for the arrows
    _draw_links(axes[1], graphs[0])
    _draw_vector(axes[2], vectors[0])
    _draw_table(axes[3], vectors)
    _draw_answer(axes[4], vectors)
    for ax in axes[:-1]:
        ax.annotate("", (1, 0.5), (24, 0), xycoords="axes fraction", textcoords="offset points", annotation_clip=False,
                    arrowprops={"arrowstyle": "<|-", "color": COLORS[0], "linewidth": 2.2, "mutation_scale": 18, "shrinkB": 4})
    return save(figure, path)


def _panel(ax: Axes, title: str, facts: str) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    write_title(ax, title, facts)


def _draw_file(ax: Axes, name: str) -> None:
    """The first lines of the file on a sheet with a folded corner."""
    _panel(ax, "file", name)
    fold = 0.09
    ax.fill([0.02, 0.98 - fold, 0.98, 0.98, 0.02], [0.98, 0.98, 0.98 - fold, 0.02, 0.02], facecolor="#F7F9FB", edgecolor=LINE)
    ax.fill([0.98 - fold, 0.98 - fold, 0.98], [0.98, 0.98 - fold, 0.98 - fold], facecolor="#E4EAF0", edgecolor=LINE)
    text = sample(name).read_text(encoding="utf-8").replace("loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n", "")
    lines = text.splitlines()
    shown = [line[:34] for line in lines[:LINES_SHOWN]] + (["…"] if len(lines) > LINES_SHOWN else [])
    ax.text(0.07, 0.93, "\n".join(shown), family="monospace", fontsize=6.2, color=INK, va="top", linespacing=1.3)


def _draw_links(ax: Axes, graph: Graph) -> None:
    """The graph itself, its title level with those of the other panels."""
    _panel(ax, "graph", f"{graph.num_nodes} sites, {graph.num_edges} links; nearest shell drawn")
    inner = ax.inset_axes((0, 0, 1, 1))
    draw_graph(graph, inner)
    inner.set_title("", loc="left")
    inner.texts[-1].remove()


def _draw_vector(ax: Axes, vector: NDArray[np.float32]) -> None:
    """The numbers of the vector as a column of bars."""
    _panel(ax, "vector", f"{len(vector)} numbers, length 1")
    part = vector[:NUMBERS_SHOWN]
    place = 0.97 - np.arange(len(part)) / len(part) * 0.95
    width = part / np.abs(part).max() * 0.4
    ax.barh(place, width, height=0.8 * 0.95 / len(part), left=0.5, color=np.where(part > 0, COLORS[0], COLORS[1]).tolist())
    ax.axvline(0.5, 0.02, 0.98, color=LINE, linewidth=0.6)


def _draw_table(ax: Axes, vectors: NDArray[np.float32]) -> None:
    """Rows of the table: where a vector came from, and its first numbers as colors."""
    _panel(ax, "table", "one row a record: Parquet")
    step = 0.94 / len(ROAD)
    for row, (name, vector) in enumerate(zip(ROAD, vectors, strict=True)):
        y = 0.97 - row * step
        ax.text(0.0, y - step / 2, _short(name), fontsize=8, color=INK, va="center", fontweight="bold" if row == 0 else "normal")
        ax.imshow(vector[None, :24], extent=(0.47, 0.98, y - 0.75 * step, y - 0.25 * step), cmap="PuOr", vmin=-0.25, vmax=0.25,
                  aspect="auto")
        ax.plot([0, 0.98], [y - step, y - step], color=LINE, linewidth=0.5)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)


def _draw_answer(ax: Axes, vectors: NDArray[np.float32]) -> None:
    """The rows nearest to the query, with their cosines as bars."""
    _panel(ax, "search", f"nearest to {_short(ROAD[0])}; random weights")
    (score, rows), = top_k(vectors[:1], [vectors], 6)
    step = 0.94 / 5
    for rank, (value, row) in enumerate(zip(score[1:].tolist(), rows[1:].tolist(), strict=True)):
        y = 0.97 - (rank + 0.5) * step
        ax.barh(y - 0.03, 0.36 * value, height=0.035, left=0.48, color=COLORS[2] if value > 0 else LINE)
        ax.text(0.0, y, f"{rank + 1}", fontsize=12, color=FAINT, va="center", fontweight="bold")
        ax.text(0.12, y + 0.035, _short(ROAD[row]), fontsize=8, color=INK, va="center")
        ax.text(1.0, y - 0.03, f"{value:.3f}", fontsize=8, color=INK, va="center", ha="right")
    ax.axvline(0.48, 0.03, 0.97, color=LINE, linewidth=0.6)


def _short(name: str) -> str:
    return name.removeprefix("crystal-").rsplit(".", 1)[0]
