"""The field table: the only text about what a graph may hold, its shape, dtype and what a batch adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch

FLOAT = (torch.float32, torch.float64)
INT8, INT64, BOOL = (torch.int8,), (torch.int64,), (torch.bool,)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One row of the contract.

    Attributes:
        level: what a row of the tensor stands for: node, edge, angle, token (a row of a ragged token list) or graph.
        shape: the shape as a text, for messages.
        ndim: number of dimensions.
        axis: the dimension that counts rows of the level, and along which a batch concatenates.
        dtypes: accepted dtypes.
        offset: what a batch adds to the entries: the nodes or the edges of the graphs before.
        shared: whether graphs of one topology hold the same tensor by reference.
        meaning: units and convention.
    """

    level: str
    shape: str
    ndim: int
    dtypes: tuple[torch.dtype, ...]
    meaning: str
    axis: int = 0
    offset: str = ""
    shared: bool = False


FIELDS: MappingProxyType[str, Field] = MappingProxyType({
    "x": Field(level="node", shape="[N, F]", ndim=2, dtypes=FLOAT,
               meaning="measured node features; rows with mask False and entries with measured False are never read"),
    "measured": Field(level="node", shape="[N, F]", ndim=2, dtypes=BOOL,
                      meaning="True where the entry of x was measured: a missing band, level or pixel is False"),
    "token": Field(level="token", shape="[N, V] or [S, V]", ndim=2, dtypes=INT64,
                   meaning="V vocabularies: Z 1…118; particle id and charge class; IUPAC code; passband"),
    "token_node": Field(level="token", shape="[S]", ndim=1, dtypes=INT64, offset="nodes",
                        meaning="the node that each token row belongs to, non-decreasing; only disordered sites need it"),
    "token_weight": Field(level="token", shape="[S]", ndim=1, dtypes=FLOAT, meaning="occupancy of each token row"),
    "pos": Field(level="node", shape="[N, P]", ndim=2, dtypes=FLOAT, shared=True,
                 meaning="Å · (eta, phi) · unit vector · (row, col) · days, log10 Å, base, s"),
    "mask": Field(level="node", shape="[N]", ndim=1, dtypes=BOOL, meaning="True = measured; absent means all True"),
    "weight": Field(level="node", shape="[N]", ndim=1, dtypes=FLOAT, shared=True,
                    meaning="pooling weight: area in sr, occupancy, 1"),
    "node_kind": Field(level="node", shape="[N]", ndim=1, dtypes=INT8, shared=True, meaning="bipartite graphs: grid 0, mesh 1"),
    "edge_kind": Field(level="edge", shape="[E]", ndim=1, dtypes=INT8, shared=True,
                       meaning="bipartite graphs: grid→mesh 0, mesh 1, mesh→grid 2; kinds are contiguous"),
    "edge_index": Field(level="edge", shape="[2, E]", ndim=2, dtypes=INT64, axis=1, offset="nodes", shared=True,
                        meaning="row 0 source, row 1 target; targets non-decreasing within an edge kind"),
    "edge_attr": Field(level="edge", shape="[E, G]", ndim=2, dtypes=FLOAT, shared=True,
                       meaning="geometry of the edge: distance first, or signed steps; a basis is a layer"),
    "edge_shift": Field(level="edge", shape="[E, 3]", ndim=2, dtypes=INT8, meaning="lattice translation of the source"),
    "angle_index": Field(level="angle", shape="[2, A]", ndim=2, dtypes=INT64, axis=1, offset="edges",
                         meaning="pairs of edges that share a site"),
    "cell": Field(level="graph", shape="[1, 3, 3]", ndim=3, dtypes=(torch.float64,), meaning="rows are lattice vectors, Å"),
    "pbc": Field(level="graph", shape="[1, 3]", ndim=2, dtypes=BOOL, meaning="periodic along each lattice vector"),
    "y": Field(level="graph", shape="[1, T]", ndim=2, dtypes=FLOAT, meaning="targets; NaN is a missing label"),
})

PREFIXES = MappingProxyType({"node_": "node", "edge_": "edge", "graph_": "graph"})
"""A user's own fields: the prefix states the level, and nothing is added to them in a batch."""

BOOKKEEPING = frozenset({"provenance", "num_nodes", "batch", "ptr", "topology"})
"""Names that a graph or batch holds beside its fields."""


def level_of(name: str) -> str | None:
    """Level of a field, or None where the name is neither in the table nor prefixed.

    >>> level_of("edge_index"), level_of("graph_energy"), level_of("class_index")
    ('edge', 'graph', None)
    """
    if name in FIELDS:
        return FIELDS[name].level
    return next((level for prefix, level in PREFIXES.items() if name.startswith(prefix)), None)
