"""Rows of a table before and after they are in parts: those without a direction, their vectors, small parts joined into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from geoembed.schema import Provenance
from geoembed.store.lines import Refused
from geoembed.store.parts import ROW_GROUP, Floats, Part, PartWriter, vectors_of

PART_ROWS = 65_536
"""Rows after which a writer that can choose begins another part."""


def as_floats(vectors: ArrayLike | Tensor) -> Floats:
    """Vectors as float32 in memory; those of an encoder may have a gradient, or be on a GPU."""
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().float().cpu().numpy()
    return np.asarray(vectors, dtype=np.float32)


def vector_blocks(folder: Path, parts: Sequence[Part]) -> Iterator[Floats]:
    """Vectors of some parts, in order, a row group at a time: [n, D]."""
    for part in parts:
        for batch in pq.ParquetFile(folder / part.file).iter_batches(ROW_GROUP, columns=["vector"]):
            yield vectors_of(batch.column(0))


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


def sorted_out(rows: Floats, provenance: Sequence[Provenance]) -> tuple[NDArray[np.bool_], list[Refused]]:
    """Which of some rows [n, D] have a direction, and a refusal for each that is zero or not finite."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    good: NDArray[np.bool_] = finite & (np.abs(rows).max(axis=1, initial=0.0) > 0)
    return good, [_refusal(provenance[row], bool(finite[row])) for row in np.flatnonzero(~good).tolist()]


def _refusal(origin: Provenance, finite: bool) -> Refused:
    where = f"{origin.source} [{origin.record}]" if origin.record else origin.source
    found = "the zero vector" if finite else "a vector with NaN or infinity"
    reason = f"{where}: found {found}; expected a finite vector with a direction. It has no neighbors: check the record."
    return Refused(origin.source, origin.record, "embed", reason, "ValueRangeError")
