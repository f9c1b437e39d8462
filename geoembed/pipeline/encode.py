"""Pieces of shards to vectors: a batch that fails is halved until the graph that is to blame stands alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoembed.encoders import Encoder
from geoembed.errors import GeoembedError, StoreError
from geoembed.schema import Provenance
from geoembed.store import Budget, Refused, Shard
from geoembed.store.flat import gather
from geoembed.store.pieces import Piece, close_finished, plan

log = logging.getLogger("geoembed")
# What an encoder may raise over one graph: its own typed errors, and those of torch and Python beneath it.
EDGES = frozenset({"edge_index", "edge_attr"})
_FAULTS = (GeoembedError, RuntimeError, ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError, MemoryError)


@dataclass(frozen=True)
class Encoded:
    """Vectors [n, D] of graphs of one shard, in order; or, where there is a fault, the one graph that has none."""

    shard: Shard
    provenance: Sequence[Provenance]
    vectors: NDArray[np.float32]
    fault: Refused | None = None


class Encoding:
    """An encoder at work on a device, within a budget that halves when memory runs out."""

    def __init__(self, encoder: Encoder[Any], device: torch.device, budget: Budget) -> None:
        self.encoder, self.device, self.budget = encoder.to(device), device, budget

    def run(self, shards: Sequence[Shard]) -> Iterator[Encoded]:
        """Every graph of some shards, encoded or refused, piece by piece; shards of one signature are batched together."""
        training = self.encoder.training
        self.encoder.eval()
        try:
            for pieces in plan(shards, self.budget):
                yield from self._encode(pieces)
                close_finished(pieces)
        finally:
            self.encoder.train(training)

    def _encode(self, pieces: Sequence[Piece]) -> Iterator[Encoded]:
        batch = gather(pieces, edges=bool(EDGES & self.encoder.needs))  # outside the try: a damaged store is no fault of a graph
        provenance = batch.provenances
        fault: Exception
        try:
            with torch.inference_mode():
                vectors = self.encoder(batch.to(self.device)).float().cpu().numpy()
        except StoreError:
            raise
        except _FAULTS as error:
            fault = error
        else:
            start = 0
            for piece in pieces:
                stop = start + len(piece)
                yield Encoded(piece.shard, provenance[start:stop], vectors[start:stop])
                start = stop
            return
        del batch
        if _out_of_memory(fault) and len(provenance) > 1:
            self.budget = self.budget.halved()
            log.warning("out of memory with %d graphs: batches are halved to %s", len(provenance), self.budget)
        if len(provenance) == 1:
            yield Encoded(pieces[0].shard, provenance, np.empty((0, 0), np.float32), _refused(provenance[0], fault, self.encoder))
            return
        for half in _halves(pieces):
            yield from self._encode(half)


def _halves(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """The same graphs as two lists of pieces, the first with half of them."""
    left, right, room = list[Piece](), list[Piece](), sum(map(len, pieces)) // 2
    for piece in pieces:
        cut = min(piece.low + room, piece.high)
        if cut > piece.low:
            left.append(Piece(piece.shard, piece.low, cut))
        if cut < piece.high:
            right.append(Piece(piece.shard, cut, piece.high))
        room -= cut - piece.low
    return left, right


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def _refused(origin: Provenance, error: Exception, encoder: Encoder[Any]) -> Refused:
    where = f"{origin.source} [{origin.record}]" if origin.record else origin.source
    if isinstance(error, GeoembedError):
        reason = f"{where}: {error}"
    else:
        found = f"{type(error).__name__}: {error} in {encoder.name}"
        reason = f"{where}: found {found}; expected a vector. Look at the graph with 'geoembed inspect'."
    return Refused(origin.source, origin.record, "embed", reason, type(error).__name__)
