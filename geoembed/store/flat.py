"""``FlatGraphs``: graphs of one signature as flat arrays in memory, on a CPU or a GPU, from which batches are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import EmptyGraphError
from geoembed.graphs.connect import connect
from geoembed.ops import ragged_rows
from geoembed.schema import FIELDS, Graph, GraphBatch, level_of
from geoembed.store.layout import EDGES, axis_of, widened
from geoembed.store.origins import Origins
from geoembed.store.pieces import Budget, Piece, close_finished, plan
from geoembed.store.ragged import Bounds, RaggedRows, sent
from geoembed.store.shards import Shard


@dataclass(frozen=True)
class FlatGraphs:
    """B graphs one after the other, in the dtypes of the store, indices local to each graph.

    Attributes:
        fields: tensors of all graphs; those of a shared topology are in ``shared``.
        bounds: first row of each graph and the end of the last, [B+1] on the CPU, a level.
        shared: tensors that all graphs hold by reference.
        names: order of the fields of a graph.
        rule: the edge rule that makes ``edge_index`` and ``edge_attr``; None where they are fields, or nobody wants them.
        topology: key of the shared tensors.
        origins: where each graph came from.
    """

    fields: Mapping[str, Tensor]
    bounds: Mapping[str, Bounds]
    shared: Mapping[str, Tensor]
    names: Sequence[str]
    rule: Mapping[str, Any] | None
    topology: str
    origins: Origins

    @classmethod
    def of(cls, pieces: Sequence[Piece], *, edges: bool = True, pinned: bool = False) -> FlatGraphs:
        """A copy of some pieces of shards of one signature; without ``edges``, those that a rule would have to make are left out.

        ``pinned``: it lies in memory from which a GPU can take it while others work.
        """
        if not pieces:
            raise EmptyGraphError(where="a batch", found="no graphs", expected="at least one", remedy="Skip empty batches.")
        first = pieces[0].shard
        ruled = [piece.shard.rule is not None for piece in pieces]
        left = EDGES if all(ruled) or (not edges and any(ruled)) else ()
        names = [name for name in first.fields if edges or name not in left]
        own = [name for name in names if name not in first.shared and name not in left]
        join = _joined_pinned if pinned else torch.cat
        fields = {name: join([piece.shard.stored(name, piece.low, piece.high) for piece in pieces], axis_of(name)) for name in own}
        levels = {level for level in ("node", "edge", "token", "angle") if f"ptr.{level}" in first.tensors}
        bounds = {level: _joined([piece.shard.tensors[f"ptr.{level}"][piece.low : piece.high + 1] for piece in pieces]) for level in levels}
        return cls(fields, bounds, first.shared, names, first.rule if all(ruled) and edges else None, first.entry.topology, Origins(pieces))

    def __len__(self) -> int:
        return len(self.bounds["node"]) - 1

    @property
    def nbytes(self) -> int:
        """Size of the fields."""
        return sum(field.nbytes for field in self.fields.values())

    def to(self, device: torch.device) -> FlatGraphs:
        """The same on a device; what lies in pinned memory is on its way there, in the current stream."""
        fields, shared = ({name: value.to(device, non_blocking=value.is_pinned()) for name, value in some.items()}
                          for some in (self.fields, self.shared))
        return FlatGraphs(fields, self.bounds, shared, self.names, self.rule, self.topology, self.origins)

    def pinned(self) -> FlatGraphs:
        """The same in pinned memory."""
        fields = {name: value.pin_memory() for name, value in self.fields.items()}
        return FlatGraphs(fields, self.bounds, self.shared, self.names, self.rule, self.topology, self.origins)

    def take(self, index: Bounds) -> FlatGraphs:
        """The graphs of these numbers, in this order; repeats are allowed."""
        fields, bounds = self._ragged.take(index)
        return FlatGraphs(fields, bounds, self.shared, self.names, self.rule, self.topology, self.origins.take(index))

    def run(self, low: int, high: int) -> FlatGraphs:
        """Graphs ``low`` … ``high - 1``, without a copy."""
        fields = {}
        for name, value in self.fields.items():
            first, end = (low, high) if self._level(name) == "graph" else self._rows(name, low, high)
            fields[name] = value.narrow(axis_of(name), first, end - first)
        bounds = {level: held[low : high + 1] - held[low] for level, held in self.bounds.items()}
        return FlatGraphs(fields, bounds, self.shared, self.names, self.rule, self.topology, self.origins.part(low, high))

    def batch(self) -> GraphBatch:
        """All graphs as one batch, indices shifted, in the dtypes of the contract."""
        (whole,) = self.batches([len(self)])
        return whole

    def batches(self, ends: Sequence[int]) -> Iterator[GraphBatch]:
        """Batches of consecutive graphs that end before these numbers, the last one at B: made together, then split."""
        cuts = _Cuts(self.bounds, ends)
        if self.rule is not None and len(ends) > 1:  # a rule makes the edges of one batch
            for low, high in cuts.graphs:
                yield self.run(low, high).batch()
            return
        ptr = sent(cuts.ptr, self.device)
        if self.shared:
            fields = {name: self._stacked(name, value) for name, value in self.fields.items()}
            parts = {name: torch.split(value, cuts.sizes["graph"]) for name, value in fields.items()}
        else:
            fields = {name: self._lifted(name, value, cuts) for name, value in self.fields.items()}
            if self.rule is not None:
                made = connect(Graph(None, int(self.bounds["node"][-1]), **fields, ptr=ptr), self.rule)
                fields |= {name: made[name] for name in EDGES}
            parts = {name: torch.split(value, cuts.sizes[self._level(name)], axis_of(name)) for name, value in fields.items()}
        topology = self.topology if self.shared else ""
        ptrs = torch.split(ptr, [size + 1 for size in cuts.sizes["graph"]])
        for i, ((low, high), bounds) in enumerate(zip(cuts.graphs, ptrs, strict=True)):
            origins = self.origins if high - low == len(self) else self.origins.part(low, high)
            own = {name: parts[name][i] if name in parts else self.shared[name] for name in self.names}
            yield GraphBatch.from_fields(origins, bounds, topology, **own)

    @cached_property
    def _ragged(self) -> RaggedRows:
        return RaggedRows(self.fields, {name: self._level(name) for name in self.fields}, {name: axis_of(name) for name in self.fields},
                          self.bounds)

    @property
    def device(self) -> torch.device:
        """Where the fields are."""
        return next(iter(self.fields.values())).device

    def _level(self, name: str) -> str:
        level = level_of(name) or ""
        return "node" if level == "token" and "token" not in self.bounds else level

    def _rows(self, name: str, low: int, high: int) -> tuple[int, int]:
        held = self.bounds[self._level(name)]
        return int(held[low]), int(held[high])

    def _stacked(self, name: str, value: Tensor) -> Tensor:
        """Rows of a field of equally large graphs as [B, rows, …]; fields of the graph stay [B, …]."""
        value = widened(name, value)
        return value if self._level(name) == "graph" else value.reshape(len(self), len(value) // len(self), *value.shape[1:])

    def _lifted(self, name: str, value: Tensor, cuts: _Cuts) -> Tensor:
        """Rows of a field; entries that are indices become those of their batch, by the field table."""
        offset = FIELDS[name].offset if name in FIELDS else ""
        if not offset:
            return widened(name, value)
        starts = cuts.starts(offset.removesuffix("s"))
        if value.device.type == "cpu":  # NumPy repeats and adds several times faster than torch, and int32 twice as fast as int64
            narrow = starts.astype(np.int32) if starts[-1:].max(initial=0) < 1 << 31 else starts
            return torch.from_numpy((value.numpy() + np.repeat(narrow, np.diff(self.bounds[self._level(name)]))).astype(np.int64))
        ptr = sent(self.bounds[self._level(name)], value.device)
        return ragged_rows(value, ptr[:-1], ptr, value.shape[axis_of(name)], sent(starts, value.device), dim=axis_of(name))


class _Cuts:
    """Where batches of consecutive graphs begin and end, in graphs and in rows of every level."""

    def __init__(self, bounds: Mapping[str, Bounds], ends: Sequence[int]) -> None:
        self.bounds = bounds
        self.graphs = list(pairwise([0, *ends]))
        edges = np.array([0, *ends])
        self.sizes = {level: np.diff(held[edges]).tolist() for level, held in bounds.items()} | {"graph": np.diff(edges).tolist()}

    @property
    def ptr(self) -> Bounds:
        """First node of each graph within its batch, and the end of each batch: [B + batches]."""
        held = self.bounds["node"]
        return np.concatenate([held[low : high + 1] - held[low] for low, high in self.graphs])

    def starts(self, level: str) -> Bounds:
        """First row of each graph within its batch, [B]."""
        held = self.bounds[level]
        base: Bounds = np.repeat(held[[low for low, _ in self.graphs]], self.sizes["graph"])
        return held[:-1] - base


def gather(pieces: Sequence[Piece], *, edges: bool = True) -> GraphBatch:
    """The batch of some pieces of shards of one signature; see :meth:`FlatGraphs.of`."""
    return FlatGraphs.of(pieces, edges=edges).batch()


def _joined_pinned(parts: Sequence[Tensor], axis: int) -> Tensor:
    """What ``torch.cat`` gives, copied once, to pinned memory; shards may keep a field in different narrow types."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    dtype = reduce(torch.promote_types, (part.dtype for part in parts))
    return torch.cat(list(parts), axis, out=torch.empty(shape, dtype=dtype, pin_memory=torch.cuda.is_available()))


def _joined(bounds: Sequence[Tensor]) -> Bounds:
    """Bounds of graphs that lie in several shards."""
    counts = np.concatenate([[0], *(np.diff(part.numpy()) for part in bounds)])
    return counts.cumsum()


def batches(
    shards: Iterable[Shard], *, max_nodes: int = Budget.nodes, max_edges: int = Budget.edges, max_graphs: int = Budget.graphs
) -> Iterator[GraphBatch]:
    """Batches of all graphs of ``shards`` [B graphs each], filled up to the three limits.

    In order, except that shards of another field set or topology (another ``signature``) are left for a later batch. No
    object a graph is made; graphs of one topology are stacked.
    """
    for pieces in plan(shards, Budget(max_nodes, max_edges, max_graphs)):
        yield gather(pieces)
        close_finished(pieces)
