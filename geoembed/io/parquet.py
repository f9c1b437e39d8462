"""Parquet: a table in row groups; its columns decide what the rows mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoembed.errors import UnreadableFileError
from geoembed.graphs.blocks import Block
from geoembed.io.arrow_columns import ArrowColumns
from geoembed.io.budget import check_budget
from geoembed.io.column_map import ColumnMap
from geoembed.io.damage import check_ratio, damage
from geoembed.io.forms.particle_map import MappedParticles
from geoembed.io.parquet_footer import MAGIC, chunk_sizes
from geoembed.io.record import BadRecord, Record, TableForm
from geoembed.io.tables import TableRecord, form_of, table_blocks, table_records, works_on_columns
from geoembed.schema import Graph

BLOCK = 4096
"""Rows that are decoded at a time where one row is one record …"""

BLOCK_BYTES = 64 << 20
"""… and about how many bytes at most."""


class Parquet:
    """A table as Parquet: streamed in blocks of rows where a row is a record, read whole (under the budget) otherwise.

    A list of structs ``particles: [{pt, eta, phi}]`` is read as list columns ``particles_pt`` … Checksums of pages are
    verified where the writer stored them.
    """

    kind = "table"
    suffixes: tuple[str, ...] = (".parquet", ".pq", ".parq")

    def __init__(self, form: TableForm | None = None) -> None:
        self.form = form

    def mapped(self, columns: ColumnMap) -> Parquet:
        """This reader for tables whose columns a map names."""
        return Parquet(MappedParticles(columns))

    def can_open(self, head: bytes, name: str) -> bool:
        """By the magic bytes ``PAR1``."""
        return head.startswith(MAGIC)

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of the form that the columns have; a table of 0 rows gives none."""
        with _opened(path) as (file, decoded):
            form = form_of(_flat_names(file.schema_arrow), path, self.form)
            frames: Iterator[pd.DataFrame]
            if form.rows:
                frames = map(_frame, _batches(path, file, _step(file, decoded)))
            else:
                check_budget(path, (decoded,), 1)
                frames = _whole(path, file)
            yield from table_records(frames, form, path.stem)

    def blocks(self, path: Path) -> Iterator[Block | Record | BadRecord]:
        """The same records in the same order; many at once where the form works on columns."""
        with _opened(path) as (file, decoded):
            form = form_of(_flat_names(file.schema_arrow), path, self.form)
            if works_on_columns(form):
                batches = _batches(path, file, _step(file, decoded))
                yield from table_blocks((ArrowColumns(_unnested(batch), _frame) for batch in batches), form, path.stem)
                return
        yield from self.records(path)

    def to_graph(self, record: Record) -> Graph:
        """The graph that the table's form makes of the record."""
        payload: TableRecord = record.payload
        return payload.to_graph()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pq.ParquetFile, int]]:
    """The file, and the bytes of all its values once decoded; after the checks that need no value."""
    decoded = _checked_size(path)
    with damage(path, "a Parquet footer", pa.ArrowException):
        # Strings as dictionaries: a million equal texts stay one text in memory
        with pq.ParquetFile(path) as plain:
            texts = _texts(plain.metadata)
        file = pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True)
    with file:
        repeated = sorted(name for name, count in Counter(_flat_names(file.schema_arrow)).items() if count > 1)
        if repeated:
            raise UnreadableFileError(where=path, found=f"several columns called {repeated}", expected="one column a name",
                                      remedy="Rename the columns: which of them is meant cannot be told.")
        yield file, decoded


def _step(file: pq.ParquetFile, decoded: int) -> int:
    """Rows of a block; fewer where rows are wide: images beside the particles must not fill the memory."""
    width = decoded // max(file.metadata.num_rows, 1)
    return max(1, min(BLOCK, BLOCK_BYTES // max(int(width), 1)))


def _checked_size(path: Path) -> int:
    """Bytes of all values once decoded; a bomb is refused: run lengths can state 10⁹ equal values in a few bytes."""
    chunks = chunk_sizes(path)
    for chunk in chunks:
        check_ratio(f"{path} [{chunk.column}]", chunk.decoded, chunk.stored)
    return sum(chunk.decoded for chunk in chunks)


def _texts(metadata: pq.FileMetaData) -> list[str]:
    """Paths of the columns that hold strings or bytes."""
    schema = metadata.schema
    return [schema.column(i).path for i in range(len(schema)) if schema.column(i).physical_type == "BYTE_ARRAY"]


def _whole(path: Path, file: pq.ParquetFile) -> Iterator[pd.DataFrame]:
    with damage(path, "readable pages", pa.ArrowException):
        batches = file.read(use_threads=False).combine_chunks().to_batches()
        frames = [_frame(batch) for batch in batches]
    yield from frames[:1]  # one batch after combining, none where the table has no rows


def _batches(path: Path, file: pq.ParquetFile, rows: int) -> Iterator[pa.RecordBatch]:
    batches = file.iter_batches(rows, use_threads=False)
    while True:
        with damage(path, "readable pages", pa.ArrowException):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _frame(batch: pa.RecordBatch) -> pd.DataFrame:
    """As a DataFrame; columns of texts hold Python strings, equal ones shared."""
    frame: pd.DataFrame = _unnested(batch).to_pandas()
    for name, kind in frame.dtypes.items():
        if isinstance(kind, pd.CategoricalDtype):
            values = frame[name].astype(object)
            frame[name] = pd.to_numeric(values) if pd.api.types.is_numeric_dtype(kind.categories.dtype) else values
    return frame


def _flat_names(schema: pa.Schema) -> list[str]:
    empty = [pa.array([], field.type) for field in schema]
    return [name for field, column in zip(schema, empty, strict=True) for name in _spread(field.name, column)]


def _unnested(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with structs and lists of structs as columns ``outer_inner``."""
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        columns |= _spread(name, column)
    return pa.RecordBatch.from_pydict(columns)


def _spread(name: str, column: pa.Array) -> dict[str, pa.Array]:
    if pa.types.is_struct(column.type):
        inner = {field.name: part for field, part in zip(column.type, column.flatten(), strict=True)}
        return {key: value for field, part in inner.items() for key, value in _spread(f"{name}_{field}", part).items()}
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not is_list or not pa.types.is_struct(column.type.value_type):
        return {name: column}
    kind, kind_of_offset = (pa.ListArray, pa.int32()) if pa.types.is_list(column.type) else (pa.LargeListArray, pa.int64())
    counts = column.value_lengths().to_numpy(zero_copy_only=False)  # NaN where the list is null
    ends = np.concatenate([[0], np.cumsum(np.nan_to_num(counts))])
    offsets = pa.array(ends, kind_of_offset, mask=np.append(np.isnan(counts), False))  # a null offset is a null list
    return {f"{name}_{field.name}": kind.from_arrays(offsets, part)
            for field, part in zip(column.type.value_type, column.flatten().flatten(), strict=True)}
