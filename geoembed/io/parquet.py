"""Parquet: a table in row groups; its columns decide what the rows mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoembed.errors import TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.damage import check_ratio, damage
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import TableRecord, form_of, table_records
from geoembed.schema import Graph

BLOCK = 1024
"""Rows that are decoded at a time where one row is one record …"""

BLOCK_BYTES = 64 << 20
"""… and about how many bytes at most."""

_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 8}


class Parquet:
    """A table as Parquet: streamed in blocks of rows where a row is a record, read whole (under the budget) otherwise.

    A list of structs ``particles: [{pt, eta, phi}]`` is read as list columns ``particles_pt`` … Checksums of pages are
    verified where the writer stored them.
    """

    kind = "table"
    suffixes: tuple[str, ...] = (".parquet", ".pq", ".parq")

    def can_open(self, head: bytes, name: str) -> bool:
        """By the magic bytes ``PAR1``."""
        return head.startswith(b"PAR1")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of the form that the columns have; a table of 0 rows gives none."""
        _check_tail(path)
        with damage(path, "a Parquet footer", pa.ArrowException):
            # Strings as dictionaries: a million equal texts stay one text in memory
            with pq.ParquetFile(path) as plain:
                texts = _texts(plain.metadata)
            file = pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True)
        with file:
            names = file.schema_arrow.names
            repeated = sorted(name for name, count in Counter(names).items() if count > 1)
            if repeated:
                raise UnreadableFileError(where=path, found=f"several columns called {repeated}", expected="one column a name",
                                          remedy="Rename the columns: which of them is meant cannot be told.")
            _check_groups(path, file.metadata)
            form = form_of(_flat_names(file.schema_arrow), path)
            if form.rows:
                blocks = _blocks(path, file)
            else:
                check_budget(path, (_decoded(file.metadata),), 1)
                blocks = _whole(path, file)
            yield from table_records(blocks, form, path.stem)

    def to_graph(self, record: Record) -> Graph:
        """The graph that the table's form makes of the record."""
        payload: TableRecord = record.payload
        return payload.to_graph()


def _check_tail(path: Path) -> None:
    """A Parquet file ends with the length of its footer and ``PAR1``: without them it was cut."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if size < 12 or tail[4:] != b"PAR1" or footer > size - 12:
        raise TruncatedFileError(where=path, found=f"{size} bytes that end with {tail[-4:]!r}", expected="a footer and b'PAR1'",
                                 remedy="Fetch or write the file again: Parquet keeps its schema at the end.")


def _decoded(metadata: pq.FileMetaData) -> int:
    """Bytes of all values once decoded; equal strings are shared, so they count as pointers and what is stored."""
    total = 0
    for group in range(metadata.num_row_groups):
        total += sum(_column_bytes(metadata, group, column) for column in range(metadata.num_columns))
    return total


def _column_bytes(metadata: pq.FileMetaData, group: int, column: int) -> int:
    chunk = metadata.row_group(group).column(column)
    width = _WIDTH.get(chunk.physical_type, 16)
    stored = chunk.total_uncompressed_size if chunk.physical_type == "BYTE_ARRAY" else 0
    return int(chunk.num_values) * width + int(stored)


def _check_groups(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse bombs: run lengths can state 10⁹ equal values in a few bytes, whatever the size of the pages."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            check_ratio(f"{path} [{chunk.path_in_schema}]", _column_bytes(metadata, group, column), chunk.total_compressed_size)


def _texts(metadata: pq.FileMetaData) -> list[str]:
    """Paths of the columns that hold strings or bytes."""
    schema = metadata.schema
    return [schema.column(i).path for i in range(len(schema)) if schema.column(i).physical_type == "BYTE_ARRAY"]


def _whole(path: Path, file: pq.ParquetFile) -> Iterator[pd.DataFrame]:
    with damage(path, "readable pages", pa.ArrowException):
        batches = file.read(use_threads=False).combine_chunks().to_batches()
        frames = [_frame(batch) for batch in batches]
    yield from frames[:1]  # one batch after combining, none where the table has no rows


def _blocks(path: Path, file: pq.ParquetFile) -> Iterator[pd.DataFrame]:
    # Smaller blocks where rows are wide: images beside the particles must not fill the memory
    width = _decoded(file.metadata) // max(file.metadata.num_rows, 1)
    batches = file.iter_batches(max(1, min(BLOCK, BLOCK_BYTES // max(width, 1))), use_threads=False)
    while True:
        with damage(path, "readable pages", pa.ArrowException):
            batch = next(batches, None)
            if batch is None:
                return
            frame = _frame(batch)
        yield frame


def _frame(batch: pa.RecordBatch) -> pd.DataFrame:
    """As a DataFrame; columns of texts hold Python strings, equal ones shared."""
    frame: pd.DataFrame = _unnested(batch).to_pandas()
    for number, kind in enumerate(frame.dtypes):
        if isinstance(kind, pd.CategoricalDtype):
            values = frame.iloc[:, number].astype(object)
            numeric = pd.api.types.is_numeric_dtype(kind.categories.dtype)
            frame.isetitem(number, pd.to_numeric(values).array if numeric else values.array)
    return frame


def _flat_names(schema: pa.Schema) -> list[str]:
    return list(_unnested(pa.RecordBatch.from_pylist([], schema=schema)).schema.names)


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
