"""``index/``: an index by LanceDB for a table too large to be read for every question; made from the record at will, or deleted.

A vector is filed in the partition of its nearest centroid, a byte a number (IVF with scalar quantization). A question looks into the
``probes`` nearest partitions, and the best rows found there are compared by their float32 vectors. So the index proposes rows, each
with its vector, which a checksum ties to the record: what is answered has its true score, though a nearer row may be missing. How
many are missing is measured when the index is made: recall@10 over rows of the table itself is at least :data:`RECALL`.

LanceDB works on files under ``index/`` alone: it opens no connection and sends nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geoembed.errors import MissingExtraError, StoreError
from geoembed.store.atomic import locked, replace_with, sealed, unsealed
from geoembed.store.parts import Part, vector_column, vector_type, vectors_of
from geoembed.store.search import Floats, Hits, Ids, best_rows, scores_of
from geoembed.store.vectors import Vectors

FOLDER, LIST, FORMAT = "index", "index.json", 1
RECALL, RECALL_K = 0.95, 10
"""Of the 10 nearest rows an index must find this share."""
INDEX_K = 100
"""Most neighbors that are asked of an index."""
FEWEST = 256
"""Rows that the training of an index needs."""
PARTITION = 8192  # rows: what LanceDB aims at too
SAMPLE = 1000  # rows of the table that ask for their neighbors
_PROBES, _REFINE = 16, 4  # the first try: partitions looked into; so many times k rows are compared by their float32 vectors
_BATCH = 64  # queries at once
_COLUMNS = ("row", "check", "vector")
_REMEDY = "Make one of the table as it is with 'geoembed index TABLE', or search exactly."


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """An index: what it was made of and what it finds.

    Attributes:
        encoder: whose rows it holds.
        key: hash of the parts that hold these rows, in their order; a table with other parts has another.
        rows: how many.
        partitions, probes, refine: how it was made, and how it is asked.
        recall: share of the 10 nearest rows that it found, of ``sample`` rows of the table, themselves left out.
        seconds: that it took to make and measure.
        files: its files with their sizes [bytes].
    """

    encoder: str
    key: str
    rows: int
    partitions: int
    probes: int
    refine: int
    recall: float
    sample: int
    seconds: float
    files: dict[str, int]

    @property
    def name(self) -> str:
        """Name of the data set in the folder."""
        return self.key[:20]


class Index:
    """An opened index in ``folder``."""

    def __init__(self, folder: Path, entry: IndexEntry) -> None:
        self.folder, self.entry = folder, entry
        self._table = _lance(folder, lambda database: database.open_table(entry.name))

    def ask(self, queries: Floats, k: int) -> Hits:
        """About the k nearest rows of each query: unit vectors [Q, D]; :class:`StoreError` where the index does not answer."""
        found = [self._proposed(queries[start : start + _BATCH], k, start) for start in range(0, len(queries), _BATCH)]
        if not found:
            return best_rows(queries, [], k)
        query, row, score = (np.concatenate(column) for column in zip(*found, strict=True))
        if (np.bincount(query, minlength=len(queries)) < min(k, self.entry.rows)).any():
            raise _damaged(self.folder, f"fewer than {k} rows for a question")
        order = np.lexsort((row, -score, query))
        return Hits(query[order], row[order], score[order])

    def _proposed(self, queries: Floats, k: int, first: int) -> tuple[Ids, Ids, Floats]:
        """(query, row, score) of what the index proposes; each row with its vector is checked to be as it was written."""
        def run(_: Any) -> pa.Table:
            asked = self._table.search(queries if len(queries) > 1 else queries[0], vector_column_name="vector").distance_type("l2")
            asked = asked.nprobes(self.entry.probes).refine_factor(self.entry.refine).limit(k)
            return asked.select([*_COLUMNS, "_distance"]).to_arrow()

        table = _lance(self.folder, run)
        row, check = (table[name].to_numpy().astype(np.int64) for name in ("row", "check"))
        vectors = np.concatenate([vectors_of(chunk) for chunk in table["vector"].chunks] or [queries[:0]])
        if not np.array_equal(check, checks(row, vectors)):
            raise _damaged(self.folder, "a vector that is not the one that was written")
        query = table["query_index"].to_numpy().astype(np.int64) if len(queries) > 1 else np.zeros(len(row), np.int64)
        return query + first, row, scores_of(queries[query], vectors)


def checks(rows: Ids, vectors: Floats) -> Ids:
    """A number for each row that another row number or any other bit of its vector [n, D] changes."""
    weights = (2 * np.arange(vectors.shape[1] + 1, dtype=np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)  # odd, modulo 2^64
    bits = np.ascontiguousarray(vectors).view(np.uint32).astype(np.uint64)
    found: Ids = ((bits * weights[1:]).sum(axis=1) + rows.astype(np.uint64) * weights[0]).view(np.int64)
    return found


def build_index(vectors: Vectors, parts: Sequence[Part]) -> IndexEntry:
    """Make the index of the rows of ``parts``, measure it, list it; an earlier one of the same encoder goes.

    Raises :class:`MissingExtraError` without the extra ``index``, :class:`StoreError` for fewer than 256 rows or where the recall is
    not reached although half of all partitions are looked into.
    """
    start, rows = time.perf_counter(), sum(part.rows for part in parts)
    if rows < FEWEST:
        raise StoreError(where=vectors.folder, found=f"{rows} rows", expected=f"at least {FEWEST} rows for an index",
                         remedy="Search without one: so few rows are compared exactly in no time.")
    folder = vectors.folder / FOLDER
    key, partitions = key_of(parts), max(1, rows // PARTITION)
    with locked(folder):
        try:
            shutil.rmtree(folder / f"{key[:20]}.lance", ignore_errors=True)
            _lance(folder, lambda database: _make(database, key[:20], vectors, parts, partitions))
            entry = IndexEntry(encoder=parts[0].encoder, key=key, rows=rows, partitions=partitions, probes=_PROBES, refine=_REFINE,
                               recall=0.0, sample=0, seconds=0.0, files={})
            entry = _reaching(vectors, parts, entry)
            entry = replace(entry, seconds=time.perf_counter() - start, files=_sizes(folder, entry.name))
            listed = entries(vectors.folder) | {entry.encoder: entry}
            replace_with(folder / LIST, sealed({"format": FORMAT, "indices": [asdict(one) for one in listed.values()]}))
        finally:
            _remove_what_is_not_listed(vectors.folder)
    return entry


def _make(database: Any, name: str, vectors: Vectors, parts: Sequence[Part], partitions: int) -> None:
    from lancedb.index import IvfSq

    types = (pa.int64(), pa.int64(), vector_type(parts[0].dim))
    schema = pa.schema(list(zip(_COLUMNS, types, strict=True)))

    def batches() -> Iterator[pa.RecordBatch]:
        for block in vectors.blocks(parts):
            row = np.arange(block.first, block.first + len(block.rows))
            yield pa.record_batch([row, checks(row, block.rows), vector_column(block.rows)], schema=schema)

    table = database.create_table(name, pa.RecordBatchReader.from_batches(schema, batches()), schema=schema)
    table.create_index("vector", config=IvfSq(distance_type="l2", num_partitions=partitions))


def _reaching(vectors: Vectors, parts: Sequence[Part], entry: IndexEntry) -> IndexEntry:
    """The entry with as many probes as its recall needs, measured."""
    sample = np.sort(np.random.default_rng(0).choice(entry.rows, min(SAMPLE, entry.rows), replace=False))
    queries = vectors.take(parts, sample)
    k = min(RECALL_K, entry.rows - 1)
    exact = best_rows(queries, vectors.blocks(parts), k + 1)
    while True:
        found = Index(vectors.folder / FOLDER, entry).ask(queries, k + 1)
        entry = replace(entry, recall=recall(exact, found, sample, k), sample=len(sample))
        if entry.recall >= RECALL:
            return entry
        if 2 * entry.probes > max(4 * _PROBES, entry.partitions // 2):  # half of all rows a question is no index any more
            break
        entry = replace(entry, probes=2 * entry.probes, refine=min(2 * entry.refine, 32))
    raise StoreError(where=vectors.folder, found=f"recall@{k} {entry.recall:.3f} with {entry.probes} of {entry.partitions} partitions",
                     expected=f"at least {RECALL}", remedy="These vectors have no neighborhoods that an index could use: search exactly.")


def recall(exact: Hits, found: Hits, sample: Ids, k: int) -> float:
    """Share of the k nearest rows of each of ``sample`` rows, itself left out, that were found; equally near rows count alike."""
    others = exact.row != sample[exact.query]
    rank = np.cumsum(others) - np.concatenate([[0], np.cumsum(others)])[np.searchsorted(exact.query, exact.query)]
    least = np.full(len(sample), np.inf, np.float32)
    np.minimum.at(least, exact.query[others & (rank <= k)], exact.score[others & (rank <= k)])
    right = (found.row != sample[found.query]) & (found.score >= least[found.query])
    return float(np.minimum(np.bincount(found.query[right], minlength=len(sample)), k).sum() / (k * len(sample)))


def current_index(folder: Path, parts: Sequence[Part]) -> Index:
    """The index of what ``parts`` of the table in ``folder`` hold now.

    :class:`StoreError` where there is none, or only one of an earlier state, or a damaged one.
    """
    entry = entries(folder).get(parts[0].encoder) if parts else None
    if entry is None:
        raise StoreError(where=folder, found="no index", expected=f"one in {FOLDER}/", remedy=_REMEDY)
    if entry.key != key_of(parts):
        raise StoreError(where=folder, found=f"an index of an earlier state of the table ({entry.rows} rows)",
                         expected=f"one of its {sum(part.rows for part in parts)} rows now", remedy=_REMEDY)
    if _sizes(folder / FOLDER, entry.name) != entry.files:
        raise _damaged(folder / FOLDER, f"other files than those of the index of {entry.encoder!r}")
    return Index(folder / FOLDER, entry)


def entries(folder: Path) -> dict[str, IndexEntry]:
    """The indices of a table by encoder; empty where it has none or their list is damaged."""
    try:
        document = unsealed(folder / FOLDER / LIST, (FORMAT,))
        found = [IndexEntry(**values) for values in document["indices"]]
    except (StoreError, KeyError, TypeError):
        return {}
    return {entry.encoder: entry for entry in found if entry.name.isalnum()}


def key_of(parts: Sequence[Part]) -> str:
    """Hash of what some parts hold, in their order: rows are known to an index by their number."""
    return hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()


def _lance(folder: Path, run: Any) -> Any:
    """``run(database)`` in LanceDB; what it cannot do is a :class:`StoreError`."""
    try:
        lancedb = _quietly_imported()
    except ImportError as error:
        raise MissingExtraError(where=folder, found=f"no lancedb ({error})", expected="an installed library",
                                remedy="pip install 'geoembed[index]'") from error
    try:
        return run(lancedb.connect(str(folder)))
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise _damaged(folder, reason[0][:300]) from error


def _quietly_imported() -> Any:
    """The library; it is told once, while it is loaded, that it need not say on stderr that a new folder is new."""
    if sys.modules.get("lancedb") is not None:
        return sys.modules["lancedb"]
    mine = "LANCEDB_LOG" not in os.environ
    if mine:
        os.environ["LANCEDB_LOG"] = "error"
    try:
        return import_module("lancedb")
    finally:
        if mine:
            del os.environ["LANCEDB_LOG"]


def _damaged(folder: Path, found: str) -> StoreError:
    return StoreError(where=folder, found=found, expected="an index as it was made", remedy=_REMEDY)


def _sizes(folder: Path, name: str) -> dict[str, int]:
    root = folder / f"{name}.lance"
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(root.rglob("*")) if path.is_file()}


def _remove_what_is_not_listed(table: Path) -> None:
    keep = {f"{entry.name}.lance" for entry in entries(table).values()}
    for path in (table / FOLDER).glob("*.lance"):
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
