"""``VectorTable``: vectors and where they came from, in few Parquet files; batched appends, atomic commits, exact search."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike
from torch import Tensor

from geoembed.errors import ConfigError, StoreError, UnknownNameError, ValueRangeError
from geoembed.schema import Provenance
from geoembed.store.answers import Answers
from geoembed.store.atomic import replace_with, sweep
from geoembed.store.entries import ChunkRows
from geoembed.store.exports import to_anndata, to_networkx
from geoembed.store.filters import Filter, Where
from geoembed.store.index import IndexEntry, build_index
from geoembed.store.lines import Refused, refused_line, refused_of
from geoembed.store.origin import called, is_listed, plain_folder
from geoembed.store.parts import ROW_GROUP, Floats, Part, PartWriter, refused_name, text_name, vectors_of
from geoembed.store.remote import local_table
from geoembed.store.replace import earlier, lines_without, parts_without
from geoembed.store.rows import as_floats, join, runs, sorted_out, vector_blocks
from geoembed.store.search import Hits
from geoembed.store.table_list import TABLE, read_list, write_list
from geoembed.store.vectors import MEMORY_GIB

if TYPE_CHECKING:
    import networkx as nx

log = logging.getLogger("geoembed")
_MANY = 8  # compaction: this many neighboring small parts become one


class VectorTable:
    """Vectors [n, D] with their provenance, in a folder; see the specification in :mod:`geoembed.store`.

    Appended rows count once committed: by :meth:`flush`, by :meth:`close`, or at the end of a ``with`` block. A block that
    ends in an error commits nothing.
    """

    def __init__(self, folder: str | Path, *, memory_gib: float = MEMORY_GIB) -> None:
        self.folder = plain_folder(folder)
        self._answers = Answers(self.folder, memory_gib)
        listed = read_list(self.folder)
        self.parts, self.chunks, self.lists = listed.parts, listed.chunks, listed.lists
        self._writers: dict[tuple[str, str, int], PartWriter] = {}
        self._refused: list[tuple[str, Refused]] = []

    # — writing —

    def append(
        self, vectors: ArrayLike | Tensor, provenance: Sequence[Provenance], *, encoder: str = "", weights: str = ""
    ) -> list[Refused]:
        """Add rows: vectors [n, D] of one encoder, one provenance a row. Zero and non-finite ones are refused and returned."""
        rows = as_floats(vectors)
        if rows.ndim != 2 or len(rows) != len(provenance) or rows.shape[1] == 0:
            found = f"vectors {list(rows.shape)} and {len(provenance)} provenances"
            raise ValueRangeError(where=self.folder, found=found, expected="[n, D] and n", remedy="Give one provenance a row.")
        if self.weights_of(encoder) not in (None, weights):
            raise ConfigError(where=f"{self.folder}, encoder {encoder!r}", found=f"weights {weights!r}",
                              expected=f"weights {self.weights_of(encoder)!r}, which made the rows that are here",
                              remedy="Vectors of different weights cannot be compared: write to another table.")
        good, refused = sorted_out(rows, provenance)
        if good.any():
            kept = [origin for origin, keep in zip(provenance, good.tolist(), strict=True) if keep]
            self._writer(encoder, weights, rows.shape[1]).add(rows[good], kept)
        for line in refused:
            log.warning("left out (embed): %s", line.reason)
        return refused

    def append_part(self, folder: Path, part: Part) -> None:
        """Add the rows of a part of another table, that in ``folder``, as they are."""
        writer = self._writer(part.encoder, part.weights, part.dim)
        for batch in pq.ParquetFile(folder / part.file).iter_batches(ROW_GROUP):
            writer.add_table(pa.Table.from_batches([batch]))

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
            write_list(self.folder, self.parts, self.chunks, self.lists)

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
            write_list(self.folder, self.parts, self.chunks, self.lists)

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
        return f"VectorTable({called(self.folder)}: {len(self)} vectors of {', '.join(self.encoders()) or 'no encoder'})"

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
        blocks = list(vector_blocks(self.folder, self.parts_of(encoder)))
        return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)

    def rows_of(self, source: str) -> Iterator[tuple[str, Floats, list[str]]]:
        """(encoder, vectors [n, D], records) of the rows that came from ``source``, part by part."""
        for part in self.parts:
            table = pq.read_table(self.folder / part.file, filters=pc.field("source") == text_name(source))
            if len(table):
                rows = table.combine_chunks()
                yield part.encoder, vectors_of(rows["vector"].chunk(0)), rows["record"].to_pylist()

    def search(
        self, vectors: ArrayLike | Tensor, k: int = 5, *, encoder: str | None = None, where: Where | None = None, exact: bool | None = None
    ) -> pd.DataFrame:
        """The k nearest rows of each query by cosine: vectors [Q, D] -> columns query, rank (from 1), score, source, record.

        Only rows of one encoder are compared; name it where the table holds several. ``k`` may exceed the rows. ``where`` keeps
        rows by columns before the best are chosen: ``{"modality": "crystal", "source": ["a.cif", "*/oxide*"]}``. Exact, except
        beyond a million rows where :meth:`build_index` made an index of what the table holds now; ``exact=True`` or False decides it.
        """
        hits = self.nearest(vectors, k, encoder=encoder, where=where, exact=exact)
        return self._answers.frame(self.parts_of(encoder, where), hits)

    def nearest(
        self, vectors: ArrayLike | Tensor, k: int = 5, *, encoder: str | None = None, where: Where | None = None, exact: bool | None = None
    ) -> Hits:
        """What :meth:`search` finds, as arrays of query, row (a number in ``vectors(encoder)``) and score."""
        queries = np.atleast_2d(as_floats(vectors))
        self._answers.vectors.forget_all_but(self.parts)
        return self._answers.nearest(self.parts_of(encoder, where), queries, k, Filter(where), exact)

    def build_index(self, encoder: str | None = None) -> IndexEntry:
        """Make the index of the rows of one encoder, in ``index/``, and measure its recall on rows of the table; see the module."""
        self._answers.vectors.forget_all_but(self.parts)
        return build_index(self._answers.vectors, self.parts_of(encoder))

    def to_anndata(self, encoder: str | None = None) -> Any:
        """The rows of one encoder as an ``anndata.AnnData``; see :func:`geoembed.store.exports.to_anndata`."""
        return to_anndata(self, encoder)

    def to_networkx(self, k: int = 5, encoder: str | None = None) -> nx.DiGraph:
        """The k-nearest-neighbor graph of the rows of one encoder; see :func:`geoembed.store.exports.to_networkx`."""
        return to_networkx(self, k, encoder)

    def parts_of(self, encoder: str | None, where: Where | None = None) -> list[Part]:
        """The parts of one encoder: the one called so, or the only one of which rows can meet the conditions."""
        conditions = Filter(where)
        names = list({part.encoder: None for part in self.parts if encoder is not None or conditions.admits(part)})
        if encoder is None and len(names) > 1:
            raise UnknownNameError(where=self.folder, found=f"vectors of {len(names)} encoders", expected="the name of one",
                                   remedy=f"Pass encoder=: {', '.join(names)}. Vectors of different encoders cannot be compared.")
        if encoder is not None and encoder not in names:
            raise UnknownNameError(where=self.folder, found=repr(encoder), expected=f"one of {', '.join(names) or '(no rows)'}",
                                   remedy="Name an encoder that made rows of this table.")
        return [part for part in self.parts if part.encoder in names and encoder in (None, part.encoder)]


def open_table(folder: str | Path, *, memory_gib: float = MEMORY_GIB) -> VectorTable:
    """The vector table in a folder, or a copy of that at an fsspec URL, of which searches keep ``memory_gib`` in memory.

    :class:`StoreError` where there is none.
    """
    home = local_table(folder)
    if not (home / TABLE).is_file():
        raise StoreError(where=folder, found=f"no {TABLE}", expected="a vector table",
                         remedy="Make one with 'geoembed embed FILES… -o TABLE'.")
    return VectorTable(home, memory_gib=memory_gib)


def is_table(folder: str | Path) -> bool:
    """Whether ``folder`` (or URL) is a vector table of geoembed."""
    return is_listed(folder, TABLE, "rows")
