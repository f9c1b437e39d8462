"""What the writer and the reader of a shard both know: edges that a rule gives back, signatures, names of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from geoembed.graphs.connect import connect, rule_of
from geoembed.ops import segment_ids
from geoembed.schema import FIELDS, Graph

EDGES = ("edge_index", "edge_attr")
"""The fields that an edge rule makes."""

RULED = ("x", "pos", "token")
"""The fields from which edge rules make them."""


def local_edges(fields: Mapping[str, Tensor], ptr: Tensor, rule: Mapping[str, object]) -> dict[str, Tensor]:
    """Edges of some graphs by a rule: their flat fields and ptr [B+1] from 0 -> edge_index with indices local to each graph,
    edge_attr, and ``ptr``, the bounds [B+1] of each graph's edges."""
    graph = connect(Graph(None, int(ptr[-1]), **fields, ptr=ptr), rule)
    target = graph.edge_index[1]
    owner = segment_ids(ptr, int(ptr[-1]))[target]
    bounds = torch.searchsorted(target.contiguous(), ptr.contiguous())  # targets are sorted
    return {"edge_index": graph.edge_index - ptr[owner], "edge_attr": graph.edge_attr, "ptr": bounds}


def derivable(graph: Graph) -> dict[str, object] | None:
    """The rule in the settings of a graph, if it may have made the graph's edges: it makes both fields, from what is there."""
    rule = rule_of(graph.provenance.settings)
    if rule is None or graph.provenance.topology or not {*EDGES, "pos"} <= set(graph.keys()):
        return None
    needs = ({"token"} if rule.get("bands") else set()) if rule["rule"] == "offsets" else {"x"}
    return rule if needs <= set(graph.keys()) else None


def axis_of(name: str) -> int:
    """The dimension of a field along which graphs are concatenated."""
    return FIELDS[name].axis if name in FIELDS else 0


def topology_file(key: str) -> str:
    """Name of the file that holds the shared tensors of the topology ``key``."""
    return f"topology-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"


def widened(name: str, tensor: Tensor) -> Tensor:
    """A stored tensor in the dtype of the contract: fields of the table that are stored narrow become int64."""
    if name in FIELDS and FIELDS[name].dtypes == (torch.int64,):
        return tensor.to(torch.int64)
    return tensor

