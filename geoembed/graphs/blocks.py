"""``Block``: the graphs of consecutive records as flat arrays, without an object a graph.

Readers of tables make blocks, the store writes them as they are; a block becomes a :class:`GraphBatch`, or single graphs,
where somebody asks for them. Its edges are those of the rule in its settings and are made only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geoembed.graphs.connect import connect
from geoembed.schema import FIELDS, Graph, GraphBatch, Provenance, Scalar, Setting, level_of

G = TypeVar("G", bound=Graph)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Names:
    """Source, keys and notes of consecutive records, said once.

    Attributes:
        prefix: what the keys begin with.
        first: number of the first record; the key of record i is prefix + (first + i).
        source: path or URL.
        notes: what holds for all.
        counts: notes that are a count of their own a record: {name: [B] int64}, 0 where a record has no such note.
    """

    prefix: str = ""
    first: int = 0
    source: str = ""
    notes: Mapping[str, Scalar] = field(default_factory=dict)
    counts: Mapping[str, Ints] = field(default_factory=dict)

    def key(self, i: int) -> str:
        """Key of record i."""
        return f"{self.prefix}{self.first + i}"

    def notes_of(self, i: int) -> dict[str, Scalar]:
        """Notes of record i."""
        return {**self.notes, **{name: int(count[i]) for name, count in self.counts.items() if count[i]}}

    def cut(self, low: int, high: int) -> Names:
        """Those of records ``low`` … ``high − 1``; counts that are all 0 there are left out."""
        counts = {name: count[low:high] for name, count in self.counts.items() if count[low:high].any()}
        return replace(self, first=self.first + low, counts=counts)


@dataclass(frozen=True, kw_only=True)
class Block:
    """B graphs of one kind whose edges follow from a rule.

    Attributes:
        kind, modality, settings: as in :class:`Provenance`; the same for all.
        ptr: [B+1] int64 bounds of the nodes of each graph.
        fields: flat fields in the order of the builder, edges left out; int64 ones may be held narrow.
        names: source, keys and notes.
    """

    kind: str
    modality: str
    settings: Mapping[str, Setting]
    ptr: Tensor
    fields: Mapping[str, Tensor]
    names: Names

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def cut(self, low: int, high: int) -> Block:
        """Graphs ``low`` … ``high − 1``; tensors are views."""
        start, stop = int(self.ptr[low]), int(self.ptr[high])
        fields = {name: value[low:high] if level_of(name) == "graph" else value[start:stop] for name, value in self.fields.items()}
        return replace(self, ptr=self.ptr[low : high + 1] - start, fields=fields, names=self.names.cut(low, high))

    def named(self, **changes: Any) -> Block:
        """The same block with other names (``source``, ``prefix`` …)."""
        return replace(self, names=replace(self.names, **changes))

    def provenance(self, i: int) -> Provenance:
        """Where graph i came from."""
        return Provenance(kind=self.kind, modality=self.modality, source=self.names.source, record=self.names.key(i),
                          settings=self.settings, notes=self.names.notes_of(i))

    def graph(self, i: int) -> Graph:
        """Graph i, as its builder makes it from the record alone."""
        one = self.cut(i, i + 1)
        graph = Graph(self.provenance(i), num_nodes=int(one.ptr[-1]), **_wide(one.fields, "node"))
        return _completed(graph, one)

    def graphs(self) -> Iterator[Graph]:
        """All graphs, one by one."""
        return map(self.graph, range(len(self)))

    def batch(self) -> GraphBatch:
        """All graphs as one batch, with their edges."""
        batch = GraphBatch.from_fields([self.provenance(i) for i in range(len(self))], self.ptr, **_wide(self.fields, "node"))
        return _completed(batch, self)


def _completed(graph: G, block: Block) -> G:
    """A graph or batch of the nodes of a block with its edges and then its own fields, in the order in which builders set them."""
    connect(graph, block.settings)
    for name, value in _wide(block.fields, "graph").items():
        setattr(graph, name, value)
    return graph


def _wide(fields: Mapping[str, Tensor], level: str) -> dict[str, Tensor]:
    """Fields of a level in the dtype of the contract, in memory of their own; tokens are of nodes."""
    return {name: value.to(torch.int64) if name in FIELDS and FIELDS[name].dtypes == (torch.int64,) else value.clone()
            for name, value in fields.items() if (level_of(name) == "graph") == (level == "graph")}
