"""Rows across the parts of a table: their vectors, their names, and small parts joined into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geoembed.errors import ValueRangeError
from geoembed.store.parts import ROW_GROUP, Floats, Part, PartWriter, vectors_of

PART_ROWS = 65_536
"""Rows after which a writer that can choose begins another part."""


def vector_blocks(folder: Path, parts: Sequence[Part]) -> Iterator[Floats]:
    """Vectors of some parts, in order, a row group at a time: [n, D]."""
    for part in parts:
        for batch in pq.ParquetFile(folder / part.file).iter_batches(ROW_GROUP, columns=["vector"]):
            yield vectors_of(batch.column(0))


def texts_of(folder: Path, parts: Sequence[Part], rows: NDArray[np.int64]) -> pd.DataFrame:
    """``source`` and ``record`` of some rows, in the order asked for; only parts that hold some are read."""
    texts = {name: np.full(len(rows), "", dtype=object) for name in ("source", "record")}
    start = 0
    for part in parts:
        here = np.flatnonzero((rows >= start) & (rows < start + part.rows))
        if len(here):
            table = pq.read_table(folder / part.file, columns=list(texts)).take(rows[here] - start)
            for name, column in texts.items():
                column[here] = table[name].to_pylist()
        start += part.rows
    return pd.DataFrame(texts)


def check_queries(queries: Floats, parts: Sequence[Part], k: int, folder: Path) -> None:
    """Raise :class:`ValueRangeError` unless ``queries`` [Q, D] can be compared with the rows of ``parts``."""
    dims = sorted({part.dim for part in parts})
    if k < 1:
        raise ValueRangeError(where="search", found=f"k = {k}", expected="at least 1", remedy="Ask for one neighbor or more.")
    if queries.ndim != 2 or (dims and dims != [queries.shape[1]]):
        raise ValueRangeError(where=folder, found=f"queries {list(queries.shape)}", expected=f"[Q, D] with D = {dims}",
                              remedy="Embed the queries with the encoder that made the table.")
    good = np.isfinite(queries).all(axis=1) & (np.abs(queries).max(axis=1, initial=0.0) > 0)
    if not good.all():
        raise ValueRangeError(where=f"search, query {int(np.argmin(good))}", found="a zero or non-finite vector",
                              expected="a vector with a direction", remedy="Leave it out.")


def runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Neighboring parts that may become one: small, of one encoder; every other part alone."""
    run: list[Part] = []
    for part in parts:
        alike = run and (part.encoder, part.weights, part.dim) == (run[0].encoder, run[0].weights, run[0].dim)
        small = run and max(part.rows, run[-1].rows) < ROW_GROUP and sum(p.rows for p in run) < PART_ROWS
        if run and not (alike and small):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def join(folder: Path, run: Sequence[Part]) -> Part:
    """One part with the rows of several; theirs stay until nothing lists them."""
    writer = PartWriter(folder, run[0].encoder, run[0].weights, run[0].dim)
    for part in run:
        for batch in pq.ParquetFile(folder / part.file).iter_batches(ROW_GROUP):
            writer.add_table(pa.Table.from_batches([batch]))
    return writer.close()
