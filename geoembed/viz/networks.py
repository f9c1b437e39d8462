"""Graphs as networkx graphs: topology in numbers, and a picture of any graph whose kind has no picture of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from geoembed.schema import Graph, level_of
from geoembed.viz.palette import COLORS, EDGE, add_lines, bare_axes, name_of, segments, thinned, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NODES_LAID_OUT = 600
"""More nodes than this are thinned before a layout by springs, whose cost grows as their square."""


def to_networkx(graph: Graph) -> nx.MultiDiGraph:
    """The graph as ``networkx.MultiDiGraph``: nodes 0…N−1 and edges (source, target, key) with every field as attribute.

    Two sites of a crystal may be linked several times, through different cells: hence a multigraph; ``key`` is the row of
    ``edge_index``. Attributes are numbers, or lists where a row has several; ``provenance`` (a dictionary), ``cell`` and other
    fields of the whole graph are in ``.graph``. Fields of ragged tokens are attributes of their node: a list of rows.

    >>> from geoembed.graphs.chain import chain_graph
    >>> network = to_networkx(chain_graph([0.0, 1.0, 3.0], [5.0, 6.0, 7.0], offsets=(1,)))
    >>> network.number_of_edges(), network.nodes[1]["x"], network[0][1][1]["edge_attr"]
    (4, 6.0, -1.0)
    """
    network = nx.MultiDiGraph(provenance=graph.provenance.to_dict())
    nodes: dict[str, list[object]] = {}
    edges: dict[str, list[object]] = {}
    count = int(graph.num_nodes or 0)
    for name, value in graph.items():
        if not isinstance(value, Tensor) or name in ("edge_index", "token_node"):
            continue
        level = level_of(name)
        if level == "node" or (level == "token" and "token_node" not in graph):
            nodes[name] = _rows(value)
        elif level == "token":
            parts = torch.split(value, torch.bincount(graph.token_node, minlength=count).tolist())
            nodes[name] = [_rows(part) for part in parts]
        elif level == "edge":
            edges[name] = _rows(value)
        elif level == "graph":
            network.graph[name] = value[0].tolist()
    network.add_nodes_from((i, dict(zip(nodes, row, strict=True))) for i, row in enumerate(_zipped(nodes, count)))
    source, target = graph.edge_index.tolist() if "edge_index" in graph else ([], [])
    attributes = (dict(zip(edges, row, strict=True)) for row in _zipped(edges, len(source)))
    network.add_edges_from(zip(source, target, range(len(source)), attributes, strict=True))
    return network


@dataclass(frozen=True)
class Topology:
    """Numbers of a graph's links: ``components`` are weakly connected, ``isolated`` have no link, ``loops`` link to themselves
    (a crystal site to its own image), ``parallel`` repeat a pair of nodes, ``degree`` is (least, median, largest) in-degree."""

    nodes: int
    edges: int
    components: int
    isolated: int
    loops: int
    parallel: int
    degree: tuple[int, float, int]


def topology(graph: Graph) -> Topology:
    """How the graph hangs together.

    >>> from geoembed.graphs.chain import chain_graph
    >>> topology(chain_graph([0.0, 1.0, 3.0], [5.0, 6.0, 7.0], offsets=(1,))).degree
    (1, 1.0, 2)
    """
    nodes = int(graph.num_nodes or 0)
    ends = graph.edge_index.numpy() if "edge_index" in graph else np.empty((2, 0), dtype=np.int64)
    pairs = np.unique(ends[0] * nodes + ends[1])  # one number a pair: rows of two would take ten times as long to sort
    network = nx.Graph()  # without attributes or repeated links, which are half of the cost of a large graph
    network.add_nodes_from(range(nodes))
    network.add_edges_from(zip((pairs // max(nodes, 1)).tolist(), (pairs % max(nodes, 1)).tolist(), strict=True))
    degrees = np.bincount(ends[1], minlength=nodes) if nodes else np.zeros(1, dtype=np.int64)
    return Topology(
        nodes=nodes, edges=ends.shape[1], components=nx.number_connected_components(network), isolated=nx.number_of_isolates(network),
        loops=int((ends[0] == ends[1]).sum()), parallel=ends.shape[1] - len(pairs),
        degree=(int(degrees.min()), float(np.median(degrees)), int(degrees.max())),
    )


def draw_network(graph: Graph, ax: Axes, title: str = "") -> None:
    """Any graph as circles and lines, laid out by springs; components in different colors. The picture of kinds without their own."""
    network = nx.Graph(to_networkx(graph))
    total = network.number_of_nodes()
    kept = thinned(total, NODES_LAID_OUT).tolist()
    network = network.subgraph(kept).copy()
    # Nearest neighbors of a layout are better seen without loops; the seed makes equal graphs equal pictures
    network.remove_edges_from(list(nx.selfloop_edges(network)))
    place = nx.spring_layout(network, seed=0, iterations=60 if len(kept) < 200 else 25)
    xy = np.array([place[node] for node in kept]).reshape(-1, 2)
    order = {node: i for i, node in enumerate(kept)}
    ends = np.array([(order[a], order[b]) for a, b in network.edges()]).reshape(-1, 2)
    add_lines(ax, segments(xy[ends[:, 0]], xy[ends[:, 1]]), colors=EDGE, linewidths=0.6, alpha=0.7)
    color = np.zeros(len(kept), dtype=np.int64)
    for number, members in enumerate(sorted(nx.connected_components(network), key=min)):
        color[[order[node] for node in members]] = number % len(COLORS)
    ax.scatter(xy[:, 0], xy[:, 1], s=30, c=[COLORS[i] for i in color], edgecolors="white", linewidths=0.5, zorder=2)
    bare_axes(ax)
    ax.margins(0.08)
    shown = f" ({len(kept)} drawn)" if len(kept) < total else ""
    write_title(ax, title or name_of(graph), f"{total:,} nodes{shown}, {graph.num_edges:,} links")


def _rows(value: Tensor) -> list[object]:
    """Each row as a number, or as a list where it has several."""
    flat = value.squeeze(-1) if value.dim() == 2 and value.shape[1] == 1 else value
    rows: list[object] = flat.tolist()
    return rows


def _zipped(columns: dict[str, list[object]], count: int) -> list[tuple[object, ...]]:
    return list(zip(*columns.values(), strict=True)) if columns else [()] * count
