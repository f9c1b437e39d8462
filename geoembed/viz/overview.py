"""Several domains in one picture: for each a graph, and a map of the embeddings of all its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from geoembed.schema import Graph
from geoembed.viz.embeddings import draw_map
from geoembed.viz.graphs import draw_graph
from geoembed.viz.palette import FAINT, INK, new_figure, save, spread

PAIRS = 3
"""Domains side by side."""


@dataclass(frozen=True)
class Domain:
    """What is drawn of one domain: an example graph, and vectors [n, D] of one encoder with a label each."""

    name: str
    graph: Graph
    vectors: ArrayLike
    labels: Sequence[str]
    encoder: str


def draw_overview(domains: Sequence[Domain], path: str | Path, remark: str = "") -> Path:
    """Write the picture of some domains to ``path``: pairs of a graph and a map, three pairs a row, ``remark`` in the last corner."""
    cells = len(domains) + bool(remark)
    rows = -(-cells // PAIRS)
    figure = new_figure(6.6 * PAIRS, 3.35 * rows)
    spread(figure, 0.1)
    panels = figure.subplots(rows, 2 * PAIRS, squeeze=False).reshape(-1, 2)  # [pair, graph | map]
    for domain, (left, right) in zip(domains, panels[: len(domains)], strict=True):
        draw_graph(domain.graph, left, domain.name)
        draw_map(domain.vectors, domain.labels, right, f"embeddings: {domain.encoder}")
    for ax in panels[len(domains) :].ravel():
        ax.set_axis_off()
    if remark:
        note = panels[cells - 1, 0]
        style = {"va": "top", "transform": note.transAxes, "in_layout": False}  # wider than its panel, on purpose
        note.text(0.0, 1.0, "How to read this", fontsize=11, fontweight="bold", color=INK, **style)
        note.text(0.0, 0.88, remark, fontsize=9.5, color=FAINT, linespacing=1.6, **style)
    return save(figure, path, dpi=100)
