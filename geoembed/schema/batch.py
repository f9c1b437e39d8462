"""``GraphBatch``: many graphs as one, flat or stacked on a shared topology, with ``ptr`` as the primary bookkeeping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from typing import Protocol, Self, cast

import torch
import torch_geometric.data.batch
from torch import Tensor
from torch_geometric.data import Batch

from geoembed.errors import EmptyGraphError, SchemaError
from geoembed.schema.fields import FIELDS, level_of
from geoembed.schema.graph import Graph, Provenance


class Provenances(Protocol):
    """One provenance a graph: a list, or what looks each up when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Provenance: ...
    def __iter__(self) -> Iterator[Provenance]: ...


class _BatchMeta(type(Batch), type(Graph)):  # type: ignore[misc]
    """PyG's dynamic batches and its abstract stores have different metaclasses; a class of both needs this one."""


class GraphBatch(Batch, Graph, metaclass=_BatchMeta):  # type: ignore[misc]
    """A batch of B graphs.

    Flat: node fields are [N_total, …], edge indices are shifted, ``ptr`` [B+1] bounds the nodes of each graph (an empty
    graph has two equal bounds). Stacked: where all graphs hold one topology by reference, node features are [B, N, F]
    beside a single edge list; :meth:`ragged` turns it into the flat form, and every encoder gives the same vectors for both.
    """

    ptr: Tensor

    @classmethod
    def from_data_list(
        cls, graphs: Sequence[Graph], follow_batch: list[str] | None = None, exclude_keys: list[str] | None = None
    ) -> Self:
        """A batch of graphs of one kind; graphs of one topology are stacked. Raises :class:`SchemaError` on mixed fields."""
        if not graphs:
            raise EmptyGraphError(where="GraphBatch", found="no graphs", expected="at least one", remedy="Skip empty batches.")
        first = graphs[0]
        keys = set(first.keys())
        for graph in graphs:  # PyG takes the fields of the first graph and would drop those of the others
            if set(graph.keys()) != keys or graph.kind != first.kind:
                raise SchemaError(
                    where=f"GraphBatch, graph {graph.record!r}", found=f"{graph.kind} with {sorted(graph.keys())}",
                    expected=f"{first.kind} with {sorted(keys)}", remedy="Batch graphs of one kind, made by one builder.",
                )
        topology = first.provenance.topology
        if topology and all(graph.provenance.topology == topology for graph in graphs):
            return cast(Self, _stack(graphs))
        # Called on Batch, not on this class: PyG derives the batch's class from the pair (Batch, Graph); see the last lines.
        return cast(Self, Batch.from_data_list(list(graphs), follow_batch=follow_batch, exclude_keys=exclude_keys))

    @classmethod
    def from_fields(cls, provenance: Provenances, ptr: Tensor, topology: str = "", /, **fields: Tensor) -> GraphBatch:
        """A batch from ready-made tensors: ``ptr`` [B+1] int64, flat fields (or stacked ones with a ``topology`` key).

        The way of builders that make many graphs at once and of loaders that slice flat arrays. ``provenance`` is kept as it is
        given: one that looks its entries up when they are asked for stays so.
        """
        rows = next(fields[name] for name in ("x", "pos", "weight", "token") if name in fields)
        nodes = rows.shape[-2] if topology and rows.dim() == 3 else rows.shape[0]
        # To call the class or to set attributes takes PyG longer than a GPU needs for the tensors of a batch.
        batch = copy(_empty())
        batch._store._mapping.update(fields, provenance=provenance, ptr=ptr, topology=topology, num_nodes=nodes)
        batch.__dict__["_num_graphs"] = len(provenance)
        return batch

    @property
    def num_graphs(self) -> int:
        """B."""
        return int(self.ptr.shape[0]) - 1

    @property
    def batch_size(self) -> int:
        """B, the name that PyG's own modules use."""
        return self.num_graphs

    @property
    def stacked(self) -> bool:
        """Whether node features are [B, N, F] on one shared topology."""
        return bool(self._store.get("topology", ""))

    @property
    def provenances(self) -> list[Provenance]:
        """One provenance a graph, in order."""
        return list(cast(Provenances, self.provenance))

    @property
    def kind(self) -> str:
        """The kind that all graphs of the batch share."""
        return cast(Provenances, self.provenance)[0].kind

    @property
    def segment(self) -> Tensor:
        """Graph of each node [N_total] int64; derived from ``ptr``."""
        return torch.repeat_interleave(self.ptr.diff())

    def ragged(self) -> GraphBatch:
        """The same batch in flat form: tensors of the shared topology are repeated for each graph."""
        if not self.stacked:
            return self
        return cast(GraphBatch, Batch.from_data_list([graph.with_provenance(topology="") for graph in self.to_data_list()]))

    def get_example(self, idx: int) -> Graph:
        """Graph number ``idx`` (negative counts from the end), as it was before batching."""
        b = range(self.num_graphs)[idx]  # PyG would slice backwards at −1
        if not self.stacked:
            return cast(Graph, super().get_example(b)) if hasattr(self, "_slice_dict") else self._cut(b)
        fields: dict[str, Tensor] = {}
        for name, value in self.items():
            if isinstance(value, Tensor) and name != "ptr":
                one = FIELDS[name].level == "graph" if name in FIELDS else level_of(name) == "graph"
                fields[name] = value[b : b + 1] if one else (value if _is_shared(name) else value[b])
        return Graph(cast(Provenances, self.provenance)[b], **fields)

    def _cut(self, b: int) -> Graph:
        """A graph of a flat batch that was made from ready fields, found through ``ptr``."""
        low, high = int(self.ptr[b]), int(self.ptr[b + 1])
        edges = torch.zeros(2, dtype=torch.int64)
        if "edge_index" in self:
            edges = torch.searchsorted(self.segment[self.edge_index[1]].contiguous(), torch.tensor([b, b + 1]))
        fields: dict[str, Tensor] = {}
        for name, value in self.items():
            if not isinstance(value, Tensor) or name in ("ptr", "batch"):
                continue
            level = level_of(name)
            if name == "edge_index":
                fields[name] = value[:, edges[0] : edges[1]] - low
            elif level == "edge":
                fields[name] = value[edges[0] : edges[1]]
            elif name == "angle_index":
                owner = self.segment[self.edge_index[1]][value[0]].contiguous()  # graph of each angle: that of its first edge
                rows = torch.searchsorted(owner, torch.tensor([b, b + 1]))
                fields[name] = value[:, rows[0] : rows[1]] - edges[0]
            elif level == "graph":
                fields[name] = value[b : b + 1]
            elif level == "token" and "token_node" in self:
                rows = torch.searchsorted(self.token_node, torch.tensor([low, high]))
                cut = value[rows[0] : rows[1]]
                fields[name] = cut - low if name == "token_node" else cut
            else:
                fields[name] = value[low:high]
        return Graph(cast(Provenances, self.provenance)[b], num_nodes=high - low, **fields)

    def __repr__(self) -> str:
        form = "stacked" if self.stacked else "flat"
        return f"GraphBatch({self.num_graphs} × {self.kind}, {form}: {int(self.ptr[-1])} nodes, {self.num_edges} edges)"


@cache
def _empty() -> GraphBatch:
    return GraphBatch(_base_cls=GraphBatch)


def _is_shared(name: str) -> bool:
    return name in FIELDS and FIELDS[name].shared


def _stack(graphs: Sequence[Graph]) -> GraphBatch:
    """Graphs of one topology as x [B, N, F] beside the topology's own tensors, held once."""
    first = graphs[0]
    fields: dict[str, Tensor] = {}
    for name, value in first.items():
        if not isinstance(value, Tensor):
            continue
        if _is_shared(name):
            fields[name] = value
        elif level_of(name) == "graph":
            fields[name] = torch.cat([graph[name] for graph in graphs])
        else:
            fields[name] = torch.stack([graph[name] for graph in graphs])
    nodes = int(first.num_nodes or 0)
    ptr = torch.arange(len(graphs) + 1, device=first.x.device) * nodes
    provenance = [graph.provenance for graph in graphs]
    return GraphBatch.from_fields(provenance, ptr, first.provenance.topology, **fields)


# PyG derives the class of a batch from the names of its parents and keeps it in its module: for ``Graph`` the name is
# ``GraphBatch``. Ours takes that place, so PyG's own Batch and DataLoader return it.
vars(torch_geometric.data.batch)["GraphBatch"] = GraphBatch
