"""Parquet parts of a vector table: rows gather in memory, go to the disk in row groups, and appear under a name when whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geoembed.errors import StoreError
from geoembed.schema import Provenance
from geoembed.store.atomic import UNTOUCHED, WRITING, publish, sha256_of
from geoembed.store.lines import plain

ROW_GROUP = 4096
TEXTS = ("source", "record", "kind", "modality", "encoder", "weights", "notes")
OF_ROWS = ("source", "record", "kind", "modality", "notes")
"""The texts that differ from row to row of a part."""
_VECTOR = "vector.list.element"  # the column as Parquet calls it
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a table: rows of one encoder."""

    file: str
    sha256: str
    rows: int
    encoder: str
    weights: str
    dim: int


class PartWriter:
    """Appends rows of one encoder to a file that gets its name in :meth:`close`; memory holds one row group."""

    def __init__(self, folder: Path, encoder: str, weights: str, dim: int) -> None:
        self.folder, self.encoder, self.weights, self.dim = folder, encoder, weights, dim
        self.rows = self._waiting = 0
        self._vectors: list[Floats] = []
        self._texts: dict[str, list[str]] = {name: [] for name in OF_ROWS}
        mark = hashlib.sha256(f"{encoder}:{weights}:{dim}".encode()).hexdigest()[:16]
        self._spool = folder / f"{WRITING}part-{mark}.{os.getpid()}"
        self._schema = schema(dim)
        self._file: pq.ParquetWriter | None = None

    def add(self, vectors: Floats, provenance: Sequence[Provenance]) -> None:
        """Append rows: vectors [n, dim], one provenance a row."""
        self._vectors.append(vectors)
        self._waiting += len(vectors)
        for name, texts in _texts(provenance).items():
            self._texts[name] += texts
        self.rows += len(vectors)
        if self._waiting >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            texts = self._texts | {name: [value] * self._waiting for name, value in (("encoder", self.encoder), ("weights", self.weights))}
            columns = (pa.array(texts[name], pa.string()) for name in TEXTS)
            self.add_table(pa.table([vector_column(np.concatenate(self._vectors)), *columns], schema=self._schema))
            self._vectors, self._texts, self._waiting = [], {name: [] for name in OF_ROWS}, 0

    def add_table(self, rows: pa.Table) -> None:
        """Append rows that are an Arrow table already (compaction)."""
        try:
            if self._file is None:
                # Vectors are as good as noise: a dictionary or zstd makes them 7 % smaller and five times slower to read
                codecs = {_VECTOR: "none"} | dict.fromkeys(TEXTS, "zstd")
                self._file = pq.ParquetWriter(self._spool, self._schema, compression=codecs, use_dictionary=list(TEXTS))
            self._file.write_table(rows.cast(self._schema), row_group_size=ROW_GROUP)  # an older part may allow null entries
        except OSError as error:
            raise _full(self.folder, error) from error

    def close(self) -> Part:
        """Finish the file: flushed, named by its content, part of the table once the table's list has it."""
        self._write()
        if self._file is None:
            raise StoreError(where=self.folder, found="a part without rows", expected="at least one", remedy="Append first.")
        try:
            self._file.close()
            with open(self._spool, "rb") as file:
                os.fsync(file.fileno())
            digest = sha256_of(self._spool)
            name = f"part-{digest[:20]}.parquet"
            publish(self._spool, self.folder / name)
        except OSError as error:
            raise _full(self.folder, error) from error
        rows = pq.read_metadata(self.folder / name).num_rows
        return Part(file=name, sha256=digest, rows=rows, encoder=self.encoder, weights=self.weights, dim=self.dim)

    def abandon(self) -> None:
        """Drop the half-written file."""
        if self._file is not None:
            self._file.close()
        self._spool.unlink(missing_ok=True)


def schema(dim: int) -> pa.Schema:
    """The columns of a table whose vectors have ``dim`` entries."""
    return pa.schema([pa.field("vector", vector_type(dim)), *(pa.field(name, pa.string()) for name in TEXTS)])


def vector_type(dim: int) -> pa.DataType:
    """The type of a vector; an entry that could be null would be three times slower to read."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), dim)


def vector_column(vectors: Floats) -> pa.FixedSizeListArray:
    """Vectors [n, D] as one Arrow column."""
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=vector_type(vectors.shape[1]))


def vectors_of(column: pa.Array) -> Floats:
    """Vectors [n, D] of an Arrow column."""
    values: Floats = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def text_name(text: str) -> str:
    """A text as Parquet can hold it; bytes of a file name that are no UTF-8 are spelled out."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if not text.isascii() else text


def refused_name(content: bytes) -> str:
    """Name of a list of quarantined records, by its content."""
    return f"quarantine-{hashlib.sha256(content).hexdigest()[:20]}.jsonl"


def _texts(provenance: Sequence[Provenance]) -> dict[str, list[str]]:
    return {
        "source": [text_name(origin.source) for origin in provenance], "record": [text_name(origin.record) for origin in provenance],
        "kind": [origin.kind for origin in provenance], "modality": [origin.modality for origin in provenance],
        "notes": [json.dumps(plain(origin.notes)) if origin.notes else "{}" for origin in provenance],
    }


def _full(folder: Path, error: OSError) -> StoreError:
    return StoreError(where=folder, found=f"{error.strerror or error}", expected="room and permission to write",
                      remedy=UNTOUCHED)
