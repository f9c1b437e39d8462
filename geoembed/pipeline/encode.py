"""Pieces of shards to vectors: read beside the encoder, fetched when they are there; a batch that fails is halved until the graph that
is to blame stands alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoembed.encoders import Encoder
from geoembed.errors import BackendError, GeoembedError, StoreError
from geoembed.nn import unit_length
from geoembed.pipeline.budgets import FixedBudget
from geoembed.pipeline.precision import AGREEMENT, Precision, agreement, placed, products
from geoembed.schema import Provenance
from geoembed.store import Budget, Refused, Shard
from geoembed.store.flat import FlatGraphs
from geoembed.store.pieces import Piece, plan
from geoembed.store.transfer import Bus, Sent

log = logging.getLogger("geoembed")
# What an encoder may raise over one graph: its own typed errors, and those of torch and Python beneath it.
SAMPLES = 64
"""Graphs by which a rounded encoder is compared with the one that it was made of."""
EDGES = frozenset({"edge_index", "edge_attr"})
_FAULTS = (GeoembedError, RuntimeError, ValueError, TypeError, IndexError, KeyError, ArithmeticError, AttributeError, MemoryError)


@dataclass(frozen=True)
class Encoded:
    """Vectors [n, D] of the graphs of a piece, in order; or, where there is a fault, the one graph that has none."""

    piece: Piece
    vectors: NDArray[np.float32]
    fault: Exception | None = None

    @property
    def provenance(self) -> list[Provenance]:
        """One a graph, read when it is asked for."""
        return self.piece.shard.provenance(self.piece.low, self.piece.high)


@dataclass
class Batch:
    """Graphs on their way to vectors: pieces of shards, planned within a budget; then what was sent; then the vectors, when ``done``."""

    pieces: Sequence[Piece]
    budget: Budget
    sent: Sent | None = None
    vectors: Tensor | None = None
    marks: tuple[torch.cuda.Event | None, torch.cuda.Event | None] = (None, None)
    fault: Exception | None = None

    def __len__(self) -> int:
        return sum(map(len, self.pieces))


class Encoding:
    """An encoder at work on a device in a precision, within a budget that halves when memory runs out.

    A batch goes through :meth:`read`, which may run in a thread beside, :meth:`launch` and :meth:`fetch`. What fails on the way is
    kept with the batch until it is fetched, so that vectors come in the order of the graphs.
    """

    def __init__(
        self, encoder: Encoder[Any], device: torch.device, budget: Budget | FixedBudget, precision: Precision = "fp32"
    ) -> None:
        self.encoder, self.device, self.precision = placed(encoder, device, precision), device, precision
        self.agreement: float | None = None
        self._exact = encoder if self.encoder is not encoder else None  # until the two were compared
        self._budgets = FixedBudget(budget) if isinstance(budget, Budget) else budget
        self._bus = Bus(device)
        self._reading = Lock()  # a shard has one place for the edges that it derived last
        self._before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0

    @property
    def budget(self) -> Budget:
        """What a batch may hold now."""
        return self._budgets.budget

    def at_work(self) -> AbstractContextManager[None]:
        """Within, the encoder is in evaluation mode."""
        return evaluating(self.encoder)

    def plan(self, shards: Sequence[Shard]) -> Iterator[Batch]:
        """Batches of every graph of some shards; shards of one signature are batched together."""
        return (Batch(pieces, self.budget) for pieces in plan(shards, lambda: self.budget))

    def read(self, batch: Batch) -> Batch:
        """The same with its graphs on the device, or on their way there, and checked."""
        try:
            ruled = any(piece.shard.rule is not None for piece in batch.pieces)
            with self._reading if ruled else nullcontext():
                flat = FlatGraphs.of(batch.pieces, edges=bool(EDGES & self.encoder.needs), pinned=self._bus.pins)
                (batch.sent,) = self._bus.send(flat)
        except Exception as error:
            if not _out_of_memory(error):  # a damaged store is no fault of a graph
                raise
            batch.fault = _bare(error)
            return batch
        try:
            self._bus.check(batch.sent, self.encoder.check)
        except StoreError:
            raise
        except _FAULTS as error:
            batch.fault = _bare(error)
        return batch

    def compare(self, pieces: Sequence[Piece]) -> None:
        """Where the encoder was rounded, see once how far that turns the vectors of some graphs, and say so if it is far."""
        exact, self._exact = self._exact, None
        if exact is None:
            return
        try:
            some = [Piece(piece.shard, piece.low, min(piece.high, piece.low + SAMPLES)) for piece in pieces[:1]]
            with evaluating(exact.to(self.device)), _current(self.device), self._reading:
                (sent,) = self._bus.send(FlatGraphs.of(some, edges=bool(EDGES & exact.needs)))
                self.agreement = agreement(exact, self.encoder, sent.received())
        except _FAULTS:
            return  # what is wrong with them is found when they are embedded
        if self.agreement < AGREEMENT:
            log.warning("%s in %s turns vectors: their cosine with those of fp32 is %.3f at least, among the first %d. Take fp32%s.",
                        exact.name, self.precision, self.agreement, len(some[0]), ", or tf32" if self.device.type == "cuda" else "")

    def launch(self, batch: Batch) -> Batch:
        """The same with its vectors, on a CPU; a GPU is told to make them and to send them back, and nobody waits."""
        sent, batch.sent = batch.sent, None
        if batch.fault is not None or sent is None:
            return batch
        self.compare(batch.pieces)
        try:
            with torch.inference_mode(), _current(self.device), products(self.precision, self.device):
                self._embed(batch, sent)
        except StoreError:
            raise
        except _FAULTS as error:
            batch.fault = self._blame(error)
        return batch

    def _embed(self, batch: Batch, sent: Sent) -> None:
        graphs, start = sent.received(), _mark(self.device)
        vectors = unit_length(self.encoder.embed(graphs)).float()  # forward without its check, which was made beside
        if start is None:
            batch.vectors = vectors.cpu()
            return
        batch.vectors = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True).copy_(vectors, non_blocking=True)
        batch.marks = start, _mark(self.device)

    def fetch(self, batch: Batch) -> Iterator[Encoded]:
        """The vectors of a batch, piece by piece, when they are there; of one that failed those of its halves, or its fault."""
        if batch.fault is None:
            try:
                if batch.marks[1] is not None:
                    batch.marks[1].synchronize()
            except _FAULTS as error:
                batch.fault = self._blame(error)
        if batch.fault is not None or batch.vectors is None:
            yield from self._in_halves(batch)
            return
        self._note(batch)
        vectors, start = batch.vectors.numpy(), 0
        for piece in batch.pieces:
            yield Encoded(piece, vectors[start : start + len(piece)])
            start += len(piece)

    def _blame(self, error: Exception) -> Exception:
        """The error as that of a batch; one after which a GPU does nothing more is raised: no graph is to blame for all that follow."""
        if "CUDA error" in str(error) and not _out_of_memory(error):
            raise BackendError(
                where=f"{self.encoder.name} on {self.device}", found=str(error).splitlines()[0], expected="a device that goes on",
                remedy="Run the same command again, it goes on where it stopped; with CUDA_LAUNCH_BLOCKING=1 it says which call failed.",
            ) from error
        return _bare(error)

    def _in_halves(self, batch: Batch) -> Iterator[Encoded]:
        fault = batch.fault or RuntimeError("a batch was fetched that was not launched")
        if _out_of_memory(fault) and len(batch) > 1:
            self._budgets.shrink(batch.budget.halved())
            log.warning("out of memory with %d graphs: batches are halved to %s", len(batch), self.budget)
        if len(batch) == 1:
            yield Encoded(batch.pieces[0], np.empty((0, 0), np.float32), fault)
            return
        for half in _halves(batch.pieces):
            yield from self.fetch(self.launch(self.read(Batch(half, batch.budget.halved()))))

    def _note(self, batch: Batch) -> None:
        """Tell the budget how fast the batch was, while it wants to know."""
        start, end = batch.marks
        if start is None or end is None or not self._budgets.measures:
            return
        seconds = start.elapsed_time(end) / 1e3
        nodes, edges = (sum(piece.rows(level) for piece in batch.pieces) for level in ("node", "edge"))
        full = max(nodes / batch.budget.nodes, edges / batch.budget.edges, len(batch) / batch.budget.graphs)
        peak = torch.cuda.max_memory_allocated(self.device) - self._before
        self._budgets.seen(batch.budget, full, nodes + edges, seconds, peak)


@contextmanager
def evaluating(encoder: Encoder[Any]) -> Iterator[None]:
    """Within, an encoder is in evaluation mode."""
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)


def refused(part: Encoded, encoder: Encoder[Any]) -> Refused:
    """What is listed of a graph that has no vector."""
    (origin,), error = part.provenance, part.fault
    where = f"{origin.source} [{origin.record}]" if origin.record else origin.source
    if isinstance(error, GeoembedError):
        reason = f"{where}: {error}"
    else:
        found = f"{type(error).__name__}: {error} in {encoder.name}"
        reason = f"{where}: found {found}; expected a vector. Look at the graph with 'geoembed inspect'."
    return Refused(origin.source, origin.record, "embed", reason, type(error).__name__)


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Within, a GPU is the current one: kernels that are not torch's own run there, wherever their arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _mark(device: torch.device) -> torch.cuda.Event | None:
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _bare(error: Exception) -> Exception:
    """The error without the frames that raised it: their tensors would stay, and memory ran out perhaps because of them."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


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
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error) or "out of memory" in str(error)
