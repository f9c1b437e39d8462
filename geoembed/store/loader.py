"""From shards to batches by slicing flat arrays, and ``ShardDataset``, the map-style face for PyG's ``DataLoader``."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from geoembed.errors import EmptyGraphError
from geoembed.schema import FIELDS, Graph, GraphBatch, level_of
from geoembed.store.layout import EDGES
from geoembed.store.manifest import Store, open_store
from geoembed.store.shards import Shard

_OPEN_BYTES = 512 << 20  # of the maps that random access keeps: a store may be larger than memory, and than its limit


@dataclass(frozen=True)
class Budget:
    """How much a batch may hold; a single graph that is larger makes a batch of its own."""

    nodes: int = 32_768
    edges: int = 524_288
    graphs: int = 1024

    def halved(self) -> Budget:
        """Half of everything, at least 1."""
        return Budget(max(self.nodes // 2, 1), max(self.edges // 2, 1), max(self.graphs // 2, 1))


@dataclass(frozen=True)
class Piece:
    """Graphs ``low`` … ``high - 1`` of a shard."""

    shard: Shard
    low: int
    high: int

    def __len__(self) -> int:
        return self.high - self.low


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


def plan(shards: Iterable[Shard], budget: Budget) -> Iterator[list[Piece]]:
    """Which graphs make a batch: pieces of shards of one signature, within ``budget``; every graph exactly once."""
    by_signature: dict[str, list[Shard]] = {}
    for shard in shards:
        if len(shard):
            by_signature.setdefault(shard.entry.signature, []).append(shard)
    for group in by_signature.values():
        yield from _fill(group, budget)


def close_finished(pieces: Iterable[Piece]) -> None:
    """Close the shards that end with these pieces, so that open maps do not add up."""
    for piece in pieces:
        if piece.high == len(piece.shard):
            piece.shard.close()


def _fill(shards: Sequence[Shard], budget: Budget) -> Iterator[list[Piece]]:
    pieces: list[Piece] = []
    room = budget
    for shard in shards:
        low = 0
        while low < len(shard):
            high = _reach(shard, low, room)
            if high == low and pieces:
                yield pieces
                pieces, room = [], budget
                continue
            high = max(high, low + 1)
            pieces.append(Piece(shard, low, high))
            room = Budget(room.nodes - _span(shard, "node", low, high), room.edges - _span(shard, "edge", low, high),
                          room.graphs - (high - low))
            low = high
    if pieces:
        yield pieces


def _span(shard: Shard, level: str, low: int, high: int) -> int:
    ptr = shard.tensors[f"ptr.{level}"]
    return int(ptr[high] - ptr[low])


def _reach(shard: Shard, low: int, room: Budget) -> int:
    """The largest ``high`` such that graphs ``low`` … ``high - 1`` fit into ``room``."""
    high = min(len(shard), low + max(room.graphs, 0))
    for level, limit in (("node", room.nodes), ("edge", room.edges)):
        ptr = shard.tensors[f"ptr.{level}"]
        high = min(high, int(torch.searchsorted(ptr, ptr[low] + limit, right=True)) - 1)
    return max(high, low)


def gather(pieces: Sequence[Piece], *, edges: bool = True) -> GraphBatch:
    """The batch of some pieces of shards of one signature; without ``edges``, those that a rule would have to make are left out."""
    if not pieces:
        raise EmptyGraphError(where="a batch", found="no graphs", expected="at least one", remedy="Skip empty batches.")
    first = pieces[0].shard
    provenance = [origin for piece in pieces for origin in piece.shard.provenance(piece.low, piece.high)]
    nodes = torch.cat([_counts(piece, "ptr.node") for piece in pieces])
    ptr = torch.cat([nodes.new_zeros(1), nodes.cumsum(0)])
    ruled = () if edges else {name for piece in pieces if piece.shard.rule is not None for name in EDGES}
    own = [name for name in first.fields if name not in first.shared and name not in ruled]
    if first.stacked:
        fields = {name: _stacked(name, pieces) for name in own} | first.shared
        return GraphBatch.from_fields(provenance, ptr, first.entry.topology, **{name: fields[name] for name in first.fields})
    starts = {"nodes": ptr[:-1]}
    if any(name in FIELDS and FIELDS[name].offset == "edges" for name in own):
        counts = torch.cat([_counts(piece, "ptr.edge") for piece in pieces])
        starts["edges"] = counts.cumsum(0) - counts
    return GraphBatch.from_fields(provenance, ptr, "", **{name: _shifted(name, pieces, starts) for name in own})


def _counts(piece: Piece, name: str) -> Tensor:
    return piece.shard.tensors[name][piece.low : piece.high + 1].diff()


def _cat(name: str, pieces: Sequence[Piece]) -> Tensor:
    axis = FIELDS[name].axis if name in FIELDS else 0
    return torch.cat([piece.shard.rows(name, piece.low, piece.high) for piece in pieces], dim=axis)


def _stacked(name: str, pieces: Sequence[Piece]) -> Tensor:
    """Rows of a field of equally large graphs as [B, rows, …]; fields of the graph stay [B, …]."""
    rows = _cat(name, pieces)
    graphs = sum(map(len, pieces))
    return rows if level_of(name) == "graph" else rows.reshape(graphs, len(rows) // graphs, *rows.shape[1:])


def _shifted(name: str, pieces: Sequence[Piece], starts: dict[str, Tensor]) -> Tensor:
    """Rows of a field; entries that are indices become those of the batch, by the field table."""
    rows = _cat(name, pieces)
    offset = FIELDS[name].offset if name in FIELDS else ""
    if not offset:
        return rows
    level = FIELDS[name].level
    counts = torch.cat([_counts(piece, f"ptr.{level}") for piece in pieces])
    return rows + torch.repeat_interleave(starts[offset], counts)


class ShardDataset(Dataset[Graph]):
    """The graphs of a store by number, each as it was written, bit for bit; for PyG's ``DataLoader`` with any number of workers.

    Args:
        store: a :class:`Store` or its folder.
        modality: only graphs of this modality (a batch takes one kind); empty for all.
    """

    def __init__(self, store: Store | str | Path, modality: str = "") -> None:
        store = store if isinstance(store, Store) else open_store(store)
        self.shards = [shard for shard in store.shards() if modality in ("", shard.entry.modality)]
        self._ends = list(accumulate(len(shard) for shard in self.shards))
        self._open: OrderedDict[int, tuple[Shard, int]] = OrderedDict()
        self._mapped = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Graph:
        try:
            number = range(len(self))[index]
        except IndexError:
            raise IndexError(f"graph {index} of a store of {len(self)}") from None  # what ends a for loop over a sequence
        place = bisect_right(self._ends, number)
        shard = self.shards[place]
        self._keep_open(place, shard)
        return shard.graph(number - self._ends[place] + len(shard))

    def _keep_open(self, place: int, shard: Shard) -> None:
        """Note the use of a shard, and before it is opened close those that were not used for longest."""
        if place in self._open:
            self._open.move_to_end(place)
            return
        size = shard.nbytes
        while self._open and self._mapped + size > _OPEN_BYTES:
            _, (oldest, mapped) = self._open.popitem(last=False)
            self._mapped -= mapped
            oldest.close()
        self._open[place] = (shard, size)
        self._mapped += size

    def __repr__(self) -> str:
        return f"ShardDataset({len(self)} graphs, {len(self.shards)} shards)"
