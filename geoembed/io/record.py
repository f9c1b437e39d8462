"""What readers exchange: records, quarantined records, and the two protocols of a plug-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from geoembed.schema import Graph, Scalar


@dataclass(frozen=True)
class Record:
    """One raw record of a file.

    Attributes:
        key: name of the record inside its file, unique in file order (a repeated name gets ``#2``, ``#3`` …).
        payload: what the library of the format returns; only the reader that made it looks inside.
        notes: what was normalized so far; goes into the provenance of the graph.
    """

    key: str
    payload: Any
    notes: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Quarantined:
    """A record that is left out, with a reason that a person can act on.

    Attributes:
        source: path or URL of the file (``archive.tar!member`` inside an archive).
        record: key of the record, or empty where the file as a whole failed.
        stage: ``open``, ``read``, ``graph``, ``limit`` or ``embed``.
        reason: the message of the typed error.
        error: name of the error's class.
    """

    source: str
    record: str
    stage: str
    reason: str
    error: str = ""


@dataclass(frozen=True)
class BadRecord:
    """Yielded by ``Reader.records`` in place of a record that is broken while the rest of the file can still be read."""

    key: str
    error: Exception


@runtime_checkable
class Joint(Protocol):
    """A payload whose graph can be built together with those of others of its class, in one search for all."""

    @property
    def size(self) -> int:
        """Nodes of the graph."""
        ...

    def graphs(self, payloads: Sequence[Any]) -> list[Graph]:
        """The graphs of some payloads, this one among them, as ``to_graph`` gives them; raises where one is refused."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A file format. Thin: a well-kept library parses, a builder of :mod:`geoembed.graphs` makes the graph.

    Heavy libraries are imported inside the methods through :func:`geoembed.io.extras.require`, so that choosing a reader
    imports nothing. Methods raise typed errors and catch none: ``io.read`` and the shard worker quarantine.
    """

    kind: str
    suffixes: tuple[str, ...]

    def can_open(self, head: bytes, name: str) -> bool:
        """Decide by content first, then by suffix. ``head``: first 4 kB, decompressed; ``name``: lower case, without .gz."""
        ...

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Stream the records of a local, decompressed file in file order."""
        ...

    def to_graph(self, record: Record) -> Graph:
        """The graph of one record; provenance ``source``/``record``/``notes`` are filled in by ``io.read``."""
        ...


@runtime_checkable
class TableForm(Protocol):
    """A meaning of a table (CSV, Parquet, HDF5, FITS table, npz …): which columns make it, and how rows become graphs.

    Attributes:
        rows: True where one row is one record (the file is then streamed in blocks of rows); False where many rows make
            one record (light curves in long form) and the whole table is needed.
        columns: what the form looks for, in words; used in the message when no form fits.
    """

    kind: str
    rows: bool
    columns: str

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether a table with these column names (original case) has this meaning."""
        ...

    def records(self, table: Any, start: int, name: str) -> Iterator[Record | BadRecord]:
        """Records of a pandas DataFrame whose first row is row ``start`` of the file called ``name`` (its stem)."""
        ...

    def to_graph(self, record: Record) -> Graph:
        """The graph of one record of this form."""
        ...
