"""From shards to batches in their order: which graphs make a batch, within a budget of nodes, edges and graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from geoembed.store.shards import Shard


@dataclass(frozen=True)
class Budget:
    """How much a batch may hold; a single graph that is larger makes a batch of its own."""

    nodes: int = 32_768
    edges: int = 524_288
    graphs: int = 1024

    def halved(self) -> Budget:
        """Half of everything, at least 1."""
        return Budget(max(self.nodes // 2, 1), max(self.edges // 2, 1), max(self.graphs // 2, 1))

    def doubled(self) -> Budget:
        """Twice everything."""
        return Budget(2 * self.nodes, 2 * self.edges, 2 * self.graphs)


@dataclass(frozen=True)
class Piece:
    """Graphs ``low`` … ``high - 1`` of a shard."""

    shard: Shard
    low: int
    high: int

    def __len__(self) -> int:
        return self.high - self.low

    def rows(self, level: str) -> int:
        """Nodes or edges of these graphs."""
        return _span(self.shard, level, self.low, self.high)


def plan(shards: Iterable[Shard], budget: Budget | Callable[[], Budget]) -> Iterator[list[Piece]]:
    """Which graphs make a batch: pieces of shards of one signature, within ``budget``; every graph exactly once.

    A budget that is a function is asked before each batch: it may shrink when memory runs out, and grow.
    """
    ask: Callable[[], Budget] = (lambda: budget) if isinstance(budget, Budget) else budget
    by_signature: dict[str, list[Shard]] = {}
    for shard in shards:
        if len(shard):
            by_signature.setdefault(shard.entry.signature, []).append(shard)
    for group in by_signature.values():
        yield from _fill(group, ask)


def close_finished(pieces: Iterable[Piece]) -> None:
    """Close the shards that end with these pieces, so that open maps do not add up."""
    for piece in pieces:
        if piece.high == len(piece.shard):
            piece.shard.close()


def _fill(shards: Sequence[Shard], budget: Callable[[], Budget]) -> Iterator[list[Piece]]:
    pieces: list[Piece] = []
    room = budget()
    for shard in shards:
        low = 0
        while low < len(shard):
            high = _reach(shard, low, room)
            if high == low and pieces:
                yield pieces
                pieces, room = [], budget()
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
