"""``RowTable``: a vector table that is written by several threads, each at a part of its own, and committed in order by another."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import RLock
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from torch import Tensor

from geoembed.schema import Provenance
from geoembed.store.columns import ListedShard, columns_of
from geoembed.store.entries import ChunkRows
from geoembed.store.lines import Refused
from geoembed.store.origins import Origins
from geoembed.store.parts import ROW_GROUP, TEXTS, Floats, Part, PartWriter, vector_column
from geoembed.store.pieces import Piece
from geoembed.store.prefetch import Thread
from geoembed.store.rows import sorted_out
from geoembed.store.table import VectorTable

log = logging.getLogger("geoembed")
COMMITS = 3
"""Commits that are under way at a time: to encode, hash and flush a part takes several times as long as to fill it with a GPU."""
_numbers = count()


class RowWriter(PartWriter):
    """A part that is written in a thread; rows come with columns of texts, and both are asked for there."""

    def __init__(self, folder: Path, encoder: str, weights: str, dim: int) -> None:
        super().__init__(folder, encoder, weights, dim)
        self._spool = self._spool.with_name(f"{self._spool.name}.{next(_numbers)}")
        self._columns: list[pa.Table] = []
        self._thread = Thread("geoembed-part")
        self._part: Future[Part] | None = None

    def add(self, vectors: Floats, provenance: Sequence[Provenance]) -> None:
        """Append rows: vectors [n, dim], one provenance a row."""
        self.add_later(vectors, lambda: columns_of(provenance))

    def add_later(self, vectors: Floats, columns: Callable[[], pa.Table]) -> None:
        """Append rows: vectors [n, dim], and what gives the columns of their texts."""
        self.rows += len(vectors)
        self._thread.do(self._add, vectors, columns)

    def _add(self, vectors: Floats, columns: Callable[[], pa.Table]) -> None:
        self._columns.append(columns())
        self._vectors.append(vectors)
        self._waiting += len(vectors)
        if self._waiting >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            texts = pa.concat_tables(self._columns).combine_chunks()
            whole = {"encoder": self.encoder, "weights": self.weights}
            columns = (pa.repeat(pa.scalar(whole[name]), len(texts)) if name in whole else texts[name] for name in TEXTS)
            self.add_table(pa.table([vector_column(np.concatenate(self._vectors)), *columns], schema=self._schema))
            self._vectors, self._columns, self._waiting = [], [], 0

    def finish(self) -> Future[Part]:
        """Have the file finished after all its rows; it takes no more of them."""
        if self._part is None:
            self._part = self._thread.do(super().close)
        return self._part

    def close(self) -> Part:
        """Finish the file, and wait for it."""
        with self._thread:
            return self.finish().result()

    def abandon(self) -> None:
        """Drop the half-written file."""
        with self._thread:
            pass
        super().abandon()


Writers = dict[tuple[str, str, int], RowWriter]


class RowTable(VectorTable):
    """A table to which rows are appended by pieces of shards while earlier ones are written and committed; the bytes are those of one
    that is written row by row and commit by commit.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self._committer = Thread("geoembed-commit")
        self._under_way: deque[tuple[Future[None], Writers]] = deque()
        self._one = RLock()  # a commit takes the place of what was appended since

    def append(
        self, vectors: ArrayLike | Tensor, provenance: Sequence[Provenance], *, encoder: str = "", weights: str = ""
    ) -> list[Refused]:
        """Add rows: vectors [n, D] of one encoder, one provenance a row. Zero and non-finite ones are refused and returned."""
        with self._one:
            return super().append(vectors, provenance, encoder=encoder, weights=weights)

    def append_piece(self, vectors: Floats, piece: Piece, *, encoder: str, weights: str) -> list[Refused]:
        """Add the vectors [n, D] of the graphs of a piece. Zero and non-finite ones are refused and returned."""
        shard = piece.shard
        if not isinstance(shard, ListedShard):
            return self.append(vectors, shard.provenance(piece.low, piece.high), encoder=encoder, weights=weights)
        good, refused = sorted_out(vectors, cast(Sequence[Provenance], Origins([piece])))
        with self._one:
            super().append(vectors[:0], (), encoder=encoder, weights=weights)  # refuses a wrong shape, and other weights
            writer = self._writer(encoder, weights, vectors.shape[1]) if good.any() else None
        if writer is not None and good.all():
            writer.add_later(vectors, lambda: shard.columns(piece.low, piece.high))
        elif writer is not None:
            writer.add_later(vectors[good], lambda: shard.columns(piece.low, piece.high).filter(pa.array(good)))
        for line in refused:
            log.warning("left out (embed): %s", line.reason)
        return refused

    def commit_later(
        self, chunks: Sequence[ChunkRows], refused: Sequence[tuple[str, Refused]], then: Callable[[], object]
    ) -> None:
        """Have what was appended so far and what was ``refused``, by chunk, committed as by :meth:`flush`, and ``then`` something done.

        Returns before that, unless several commits are under way.
        """
        with self._one:
            writers, self._writers = cast(Writers, self._writers), {}
        for writer in writers.values():
            writer.finish()
        self._under_way.append((self._committer.do(self._commit, writers, chunks, refused, then), writers))
        self._wait(COMMITS)

    def _commit(
        self, writers: Writers, chunks: Sequence[ChunkRows], refused: Sequence[tuple[str, Refused]], then: Callable[[], object]
    ) -> None:
        for writer in writers.values():
            writer.close()
        with self._one:
            later, self._writers, self._refused = (self._writers, self._refused), dict(writers), list(refused)
            super().flush(chunks)
            self._writers, self._refused = later
        then()

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most or (self._under_way and self._under_way[0][0].done()):
            self._under_way[0][0].result()
            self._under_way.popleft()

    def settle(self) -> None:
        """Return when every commit is made."""
        self._wait(0)

    def flush(self, chunks: Sequence[ChunkRows] = ()) -> None:
        """Commit at once, after what is under way; see :meth:`VectorTable.flush`."""
        self.settle()
        super().flush(chunks)

    def abandon(self) -> None:
        """Drop what was appended since the last commit; those under way are made, unless one has failed."""
        with suppress(Exception), self._committer:
            self.settle()
        for _, writers in self._under_way:
            for writer in writers.values():
                writer.abandon()
        self._under_way.clear()
        super().abandon()

    def _writer(self, encoder: str, weights: str, dim: int) -> RowWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = (encoder, weights, dim)
        writer = self._writers.get(key)
        if not isinstance(writer, RowWriter):
            writer = self._writers[key] = RowWriter(self.folder, encoder, weights, dim)
        return writer
