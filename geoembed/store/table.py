"""``VectorTable``: vectors and where they came from, in few Parquet files; batched appends, atomic commits, exact search."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from geoembed.errors import ConfigError, StoreError, UnknownNameError, ValueRangeError
from geoembed.schema import Provenance
from geoembed.store.atomic import is_sealed, replace_with, sealed, sweep, unsealed
from geoembed.store.entries import ChunkRows
from geoembed.store.lines import Refused, refused_line, refused_of
from geoembed.store.parts import Floats, Part, PartWriter, refused_name, text_name, vectors_of
from geoembed.store.replace import earlier, lines_without, parts_without
from geoembed.store.rows import check_queries, join, runs, texts_of, vector_blocks
from geoembed.store.search import top_k

log = logging.getLogger("geoembed")
TABLE, FORMAT = "table.json", 1
_MANY = 8  # compaction: this many neighboring small parts become one


class VectorTable:
    """Vectors [n, D] with their provenance, in a folder; see the specification in :mod:`geoembed.store`.

    Appended rows count once committed: by :meth:`flush`, by :meth:`close`, or at the end of a ``with`` block. A block that
    ends in an error commits nothing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.parts: list[Part] = []
        self.chunks: dict[str, ChunkRows] = {}
        self.lists: dict[str, str] = {}
        self._writers: dict[tuple[str, str, int], PartWriter] = {}
        self._refused: list[tuple[str, Refused]] = []
        if (self.folder / TABLE).is_file():
            self._read_list()

    def _read_list(self) -> None:
        document = unsealed(self.folder / TABLE, (FORMAT,))
        try:
            self.parts = [Part(**part) for part in document["parts"]]
            self.chunks = {chunk["key"]: ChunkRows(**chunk) for chunk in document["chunks"]}
            self.lists = dict(document["lists"])
        except (KeyError, TypeError) as error:
            raise StoreError(where=self.folder / TABLE, found=f"an entry that is not one of a table ({error})",
                             expected=f"format {FORMAT}", remedy="Make the table again.") from error
        for name in self.files():
            if Path(name).name != name:
                raise StoreError(where=self.folder / TABLE, found=f"a file called {name!r}", expected="a plain name",
                                 remedy="The list was edited: make the table again.")

    # — writing —

    def append(
        self, vectors: ArrayLike, provenance: Sequence[Provenance], *, encoder: str = "", weights: str = ""
    ) -> list[Refused]:
        """Add rows: vectors [n, D] of one encoder, one provenance a row. Zero and non-finite ones are refused and returned."""
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(provenance) or rows.shape[1] == 0:
            found = f"vectors {list(rows.shape)} and {len(provenance)} provenances"
            raise ValueRangeError(where=self.folder, found=found, expected="[n, D] and n", remedy="Give one provenance a row.")
        if self.weights_of(encoder) not in (None, weights):
            raise ConfigError(where=f"{self.folder}, encoder {encoder!r}", found=f"weights {weights!r}",
                              expected=f"weights {self.weights_of(encoder)!r}, which made the rows that are here",
                              remedy="Vectors of different weights cannot be compared: write to another table.")
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
        good: NDArray[np.bool_] = finite & (np.abs(rows).max(axis=1, initial=0.0) > 0)
        if good.any():
            kept = [origin for origin, keep in zip(provenance, good.tolist(), strict=True) if keep]
            self._writer(encoder, weights, rows.shape[1]).add(rows[good], kept)
        verdicts = zip(provenance, finite.tolist(), good.tolist(), strict=True)
        refused = [_refusal(origin, fine) for origin, fine, keep in verdicts if not keep]
        for line in refused:
            log.warning("left out (embed): %s", line.reason)
        return refused

    def refuse(self, refused: Sequence[Refused], chunk: str = "") -> None:
        """List quarantined records (of the chunk ``chunk``) beside the rows; they count with the next commit."""
        self._refused += [(chunk, line) for line in refused]

    def flush(self, chunks: Sequence[ChunkRows] = ()) -> None:
        """Commit: what was appended and refused so far belongs to the table from now on, and ``chunks`` are done.

        Rows of an earlier state of the same inputs, asked of the same encoder, make way in the same commit.
        """
        parts = [writer.close() for writer in self._writers.values()]
        self._writers = {}
        self._drop_earlier(chunks)
        lists = {}
        if self._refused:
            lines = [refused_line(number, line, chunk) for number, (chunk, line) in enumerate(self._refused)]
            lists = self._new_list("".join(f"{line}\n" for line in lines).encode())
            self._refused = []
        if parts or lists or chunks or not (self.folder / TABLE).is_file():
            self.parts += parts
            self.lists |= lists
            self.chunks |= {chunk.key: chunk for chunk in chunks}
            self._write_list()

    def _drop_earlier(self, chunks: Sequence[ChunkRows]) -> None:
        stale = earlier(self.chunks, chunks)
        if stale:
            sources = {source for chunk in chunks for source in chunk.sources}
            encoders = {encoder for chunk in stale for encoder in chunk.encoders}
            keys = {chunk.key for chunk in stale}
            self.parts = parts_without(self.folder, self.parts, sources, encoders)
            content = lines_without(self.folder, self.lists, sources, keys)
            self.lists = self._new_list(content) if content else {}
            self.chunks = {key: chunk for key, chunk in self.chunks.items() if key not in keys}

    def _new_list(self, content: bytes) -> dict[str, str]:
        name = refused_name(content)
        return {name: replace_with(self.folder / name, content)}

    def close(self) -> None:
        """Commit and compact: many small parts become one."""
        self.flush()
        self._compact()
        sweep(self.folder, set(self.files()), ("part-", "quarantine-"))

    def _write_list(self) -> None:
        replace_with(self.folder / TABLE, sealed({
            "format": FORMAT, "rows": len(self), "parts": [asdict(part) for part in self.parts],
            "chunks": [asdict(chunk) for chunk in self.chunks.values()], "lists": self.lists,
        }))

    def _compact(self) -> None:
        joined: list[Part] = []
        for run in runs(self.parts):
            if len(run) < _MANY:
                joined += run
                continue
            joined.append(join(self.folder, run))
        many = len(self.lists) >= _MANY
        if many:
            self.lists = self._new_list(lines_without(self.folder, self.lists, set(), set()))
        if many or joined != self.parts:
            self.parts = joined
            self._write_list()

    def _writer(self, encoder: str, weights: str, dim: int) -> PartWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = (encoder, weights, dim)
        if key not in self._writers:
            self._writers[key] = PartWriter(self.folder, encoder, weights, dim)
        return self._writers[key]

    @property
    def uncommitted(self) -> int:
        """Rows appended since the last commit."""
        return sum(writer.rows for writer in self._writers.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Drop what was appended since the last commit."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers, self._refused = {}, []

    # — reading —

    def __len__(self) -> int:
        return sum(part.rows for part in self.parts)

    def __repr__(self) -> str:
        return f"VectorTable({self.folder}: {len(self)} vectors of {', '.join(self.encoders()) or 'no encoder'})"

    def files(self) -> dict[str, str]:
        """Every listed file of the table with its sha256."""
        return {part.file: part.sha256 for part in self.parts} | self.lists

    def encoders(self) -> dict[str, str]:
        """Names of the encoders that made the rows, with the hash of their weights."""
        return {part.encoder: part.weights for part in self.parts}

    def weights_of(self, encoder: str) -> str | None:
        """Hash of the weights that made the rows of ``encoder``; None where it has none here."""
        pending = {name: weights for name, weights, _ in self._writers}
        return (pending | self.encoders()).get(encoder)

    def encoder_folder(self, name: str) -> Path:
        """Where the encoder called ``name`` is saved."""
        return self.folder / "encoders" / name

    def keep_encoder(self, name: str, save: Callable[[Path], object]) -> Path:
        """Save an encoder beside its rows by ``save(folder)``."""
        folder = self.encoder_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        save(folder)
        return folder

    def refused(self) -> list[Refused]:
        """Every quarantined record, in the order of the commits."""
        return [line for lines in self.refused_by_chunk().values() for line in lines]

    def refused_by_chunk(self) -> dict[str, list[Refused]]:
        """The quarantined records by the key of their chunk of inputs, empty for those of :meth:`append` alone."""
        found: dict[str, list[Refused]] = {}
        for line in (line for name in self.lists for line in (self.folder / name).read_bytes().splitlines()):
            found.setdefault(json.loads(line).get("chunk", ""), []).append(refused_of(line))
        return found

    def rows_in(self, part: Part) -> int:
        """Rows that the file of a part holds."""
        return int(pq.read_metadata(self.folder / part.file).num_rows)

    def to_pandas(self) -> pd.DataFrame:
        """All rows, in order: ``vector`` (an array a row), source, record, kind, modality, encoder, weights, notes (JSON)."""
        frames = [pq.read_table(self.folder / part.file).to_pandas() for part in self.parts]
        names = ["vector", "source", "record", "kind", "modality", "encoder", "weights", "notes"]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names)

    def vectors(self, encoder: str | None = None) -> Floats:
        """Vectors [n, D] of one encoder, in row order."""
        blocks = list(vector_blocks(self.folder, self._parts_of(encoder)))
        return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)

    def rows_of(self, source: str) -> Iterator[tuple[str, Floats, list[str]]]:
        """(encoder, vectors [n, D], records) of the rows that came from ``source``, part by part."""
        for part in self.parts:
            table = pq.read_table(self.folder / part.file, filters=pc.field("source") == text_name(source))
            if len(table):
                rows = table.combine_chunks()
                yield part.encoder, vectors_of(rows["vector"].chunk(0)), rows["record"].to_pylist()

    def search(self, vectors: ArrayLike, k: int = 5, *, encoder: str | None = None) -> pd.DataFrame:
        """The k nearest rows of each query by cosine: vectors [Q, D] -> columns query, rank (from 1), score, source, record.

        Exact. Only rows of one encoder are compared; name it where the table holds several. ``k`` may exceed the rows.
        """
        queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        parts = self._parts_of(encoder)
        check_queries(queries, parts, k, self.folder)
        best = top_k(queries, vector_blocks(self.folder, parts), k)
        rows = np.concatenate([hits for _, hits in best]) if best else np.empty(0, np.int64)
        hits = pd.DataFrame({
            "query": np.repeat(np.arange(len(best)), [len(found) for _, found in best]),
            "rank": np.concatenate([np.arange(1, len(found) + 1) for _, found in best]) if best else rows,
            "score": np.concatenate([score for score, _ in best]) if best else np.empty(0, np.float32),
        })
        return hits.join(texts_of(self.folder, parts, rows))

    def _parts_of(self, encoder: str | None) -> list[Part]:
        names = list(self.encoders())
        if encoder is None and len(names) > 1:
            raise UnknownNameError(where=self.folder, found=f"vectors of {len(names)} encoders", expected="the name of one",
                                   remedy=f"Pass encoder=: {', '.join(names)}. Vectors of different encoders cannot be compared.")
        if encoder is not None and encoder not in names:
            raise UnknownNameError(where=self.folder, found=repr(encoder), expected=f"one of {', '.join(names) or '(no rows)'}",
                                   remedy="Name an encoder that made rows of this table.")
        return [part for part in self.parts if encoder in (None, part.encoder)]


def open_table(folder: str | Path) -> VectorTable:
    """The vector table in ``folder``; :class:`StoreError` where there is none."""
    if not (Path(folder) / TABLE).is_file():
        raise StoreError(where=folder, found=f"no {TABLE}", expected="a vector table",
                         remedy="Make one with 'geoembed embed FILES… -o TABLE'.")
    return VectorTable(folder)


def is_table(folder: str | Path) -> bool:
    """Whether ``folder`` is a vector table of geoembed."""
    return is_sealed(Path(folder) / TABLE, "rows")


def _refusal(origin: Provenance, finite: bool) -> Refused:
    where = f"{origin.source} [{origin.record}]" if origin.record else origin.source
    found = "the zero vector" if finite else "a vector with NaN or infinity"
    reason = f"{where}: found {found}; expected a finite vector with a direction. It has no neighbors: check the record."
    return Refused(origin.source, origin.record, "embed", reason, "ValueRangeError")
