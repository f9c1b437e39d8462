"""``read``: a path to graphs. Picks the reader by content, then suffix, and quarantines what is broken."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

from geoembed import registry
from geoembed.errors import ConfigError, GeoembedError, UnreadableFileError
from geoembed.graphs.blocks import Block
from geoembed.io import archive
from geoembed.io.column_map import ColumnMap, column_map
from geoembed.io.opener import is_url, local_file, plain_name, read_head
from geoembed.io.record import BadRecord, Joint, Quarantined, Reader, Record
from geoembed.io.safety import refuse_unsafe
from geoembed.schema import Graph, ensure_valid

log = logging.getLogger("geoembed")


class Reading(Iterator[Graph]):
    """Iterator over the graphs of one source; afterwards it knows what was left out.

    Attributes:
        quarantined: records left out so far, with reasons.
        records_in: records met so far; always graphs yielded + quarantined.
    """

    def __init__(self, source: str | Path, on_error: Literal["quarantine", "raise"], columns: ColumnMap | None = None) -> None:
        self.quarantined: list[Quarantined] = []
        self.records_in = 0
        if on_error not in ("quarantine", "raise"):
            raise ConfigError(where="read: on_error", found=repr(on_error), expected="'quarantine' or 'raise'", remedy="Correct it.")
        self._raise = on_error == "raise"
        self._stream = stream(source, columns)

    def __next__(self) -> Graph:
        for item in self._stream:
            self.records_in += 1
            if isinstance(item, Graph):
                return item
            bad, error = item
            if self._raise:
                raise error
            self.quarantined.append(bad)
            log.warning("left out (%s): %s", bad.stage, bad.reason)
        raise StopIteration


def read(
    path: str | Path, *, on_error: Literal["quarantine", "raise"] = "quarantine", columns: ColumnMap | str | Path | None = None
) -> Reading:
    """Graphs of a file, archive or fsspec URL, in file order, each with its provenance.

    A bad record is left out, logged and listed in ``.quarantined`` (``on_error="raise"``: raised as a
    :class:`GeoembedError`) and the rest goes on. ``columns`` says which columns of a table of particles mean what: a
    :class:`ColumnMap`, its TOML file, or the name of a preset (``top-tagging``, ``jetclass``, ``hls4ml``).
    """
    return Reading(path, on_error, column_map(columns))


Item = Graph | tuple[Quarantined, GeoembedError]
SMALL = 512
"""Nodes of a record up to which it waits for others: a larger one is work enough by itself."""

Entries = Callable[[Reader, Path], Iterator[Block | Record | BadRecord]]


def stream(source: str | Path, columns: ColumnMap | None = None) -> Iterator[Item]:
    """Every record of a source, as a graph or as the reason why not; one item a record, in file order."""
    for item in _items(source, columns, lambda reader, path: reader.records(path)):
        if isinstance(item, Block):  # no reader gives one among its records
            yield from item.graphs()
        elif isinstance(item, Parsed):
            yield item.built()
        else:
            yield item


def stream_blocks(source: str | Path, columns: ColumnMap | None = None) -> Iterator[Item | Block | Parsed]:
    """The same records in the same order; runs of good ones as blocks where the reader has a method ``blocks`` for it.

    ``blocks(path)`` is optional in a :class:`Reader`: it gives what ``records`` does, with a :class:`Block` in the place of
    consecutive records that are good. The keys of a block are those that the records would have. Records whose payload can be
    built together with others (:class:`geoembed.io.record.Joint`) come as :class:`Parsed`, for :func:`built_together`.
    """
    return _items(source, columns, lambda reader, path: getattr(reader, "blocks", reader.records)(path))


def _items(source: str | Path, columns: ColumnMap | None, entries: Entries) -> Iterator[Item | Block | Parsed]:
    text = str(source)
    try:
        head = b"" if Path(text).is_dir() else read_head(text)
        name = plain_name(text)
        if pick(head, name) is None and archive.looks_like_archive(head, name):
            for member, content in archive.members(text):
                inner = f"{text}!{member}"
                yield from [_bad(inner, "", "open", content)] if isinstance(content, Exception) else _file(content, inner, columns, entries)
            return
    except Exception as error:  # noqa: BLE001 — whatever a file provokes becomes a quarantine (the shard worker is the other place)
        yield _bad(text, "", "open", error)
        return
    yield from _file(text, text, columns, entries, head)


def _file(
    path: str | Path, source: str, columns: ColumnMap | None, entries: Entries, head: bytes | None = None
) -> Iterator[Item | Block | Parsed]:
    """Items of one file that is no archive; ``source`` is what a person calls it."""
    step, local = "open", Path(path)
    keys: Counter[str] = Counter()
    try:
        reader = _reader(path, source, read_head(path) if head is None else head, columns)
        # A reader with ``streams`` decompresses for itself, so that whole records before a break in the stream are kept.
        whole = local.is_dir() or (getattr(reader, "streams", False) and not is_url(str(path)))
        lines = plain_name(str(path)).endswith(getattr(reader, "lines", ()))
        with nullcontext(local) if whole else local_file(path, lines) as local:
            step = "read"
            for record in entries(reader, local):
                if isinstance(record, Block):
                    yield record.named(source=source)
                    continue
                keys[record.key] += 1
                key = record.key if keys[record.key] == 1 else f"{record.key}#{keys[record.key]}"
                if isinstance(record, BadRecord):
                    yield _bad(source, key, "read", record.error, local)
                elif hasattr(record.payload, "graphs") and record.payload.size <= SMALL:  # a Joint; isinstance would look at each name
                    yield Parsed(reader, record, source, key, local)
                else:
                    yield _graph(reader, record, source, key, local)
    except Exception as error:  # noqa: BLE001 — see stream
        yield _bad(source, "", step, error, local)


@dataclass(frozen=True)
class Parsed:
    """A record that was read and not yet built: with others it is built in a fraction of the time."""

    reader: Reader
    record: Record
    source: str
    key: str
    local: Path

    def joins(self, other: Parsed) -> bool:
        """Whether both can be built in one call."""
        return type(self.record.payload) is type(other.record.payload)

    def built(self) -> Item:
        """Its graph, or the reason why there is none."""
        return _graph(self.reader, self.record, self.source, self.key, self.local)


def built_together(parsed: Sequence[Parsed]) -> list[Item]:
    """One item a record, in order; where some are refused, each is built by itself, so that the others do not suffer."""
    if len(parsed) < 2:
        return [one.built() for one in parsed]
    payloads: list[Joint] = [one.record.payload for one in parsed]
    try:
        graphs = payloads[0].graphs(payloads)
        places = zip(graphs, parsed, strict=True)
        return [ensure_valid(graph.with_provenance(source=one.source, record=one.key, notes=dict(one.record.notes)))
                for graph, one in places]
    except Exception:  # noqa: BLE001 — see stream; the refused one is found by building each
        return [one.built() for one in parsed]


def _graph(reader: Reader, record: Record, source: str, key: str, local: Path) -> Item:
    try:
        graph = reader.to_graph(record)
        return ensure_valid(graph.with_provenance(source=source, record=key, notes=dict(record.notes)))
    except Exception as error:  # noqa: BLE001 — see stream
        return _bad(source, key, "graph", error, local)


@cache
def readers() -> dict[str, Reader]:
    """One instance of every registered reader, by name."""
    return {name: reader() for name, reader in registry.load_all("geoembed.readers").items()}


def pick(head: bytes, name: str) -> Reader | None:
    """The reader for a file with these first bytes and this plain, lower-case name; None where no reader opens it.

    Content decides; where two readers accept the content, the one with the matching suffix is taken.
    """
    every = readers().values()
    named = [reader for reader in every if name.endswith(reader.suffixes)]  # asked first: the others look at content at length
    others = (reader for reader in every if not name.endswith(reader.suffixes))
    return next((reader for reader in chain(named, others) if reader.can_open(head, name)), None)


def _reader(path: str | Path, source: str, head: bytes, columns: ColumnMap | None) -> Reader:
    refuse_unsafe(head, source)
    if not head and not Path(path).is_dir():
        with local_file(path):  # a compressed stream that breaks before its first byte says so here
            raise UnreadableFileError(where=source, found="an empty file", expected="content", remedy="Fetch the file again.")
    reader = pick(head, plain_name(source))
    if reader is None:
        raise UnreadableFileError(
            where=source, found=f"content that starts with {head[:16]!r}",
            expected="a format of: " + ", ".join(sorted({s for r in readers().values() for s in r.suffixes})),
            remedy="Convert the file, or add a reader (entry point geoembed.readers).",
        )
    if columns is None:
        return reader
    if not hasattr(reader, "mapped"):
        raise ConfigError(where=source, found=f"a column map for {type(reader).__name__}", expected="a table: Parquet, HDF5, npz or ROOT",
                          remedy="Leave 'columns' out, or write the table in another format.")
    mapped: Reader = reader.mapped(columns)
    return mapped


def _bad(source: str, key: str, stage: str, error: Exception, local: Path | None = None) -> tuple[Quarantined, GeoembedError]:
    """The quarantine of a record and the typed error behind it; a spooled copy's path is replaced by the real one."""
    where = f"{source} [{key}]" if key else source
    typed = error
    if isinstance(error, FileNotFoundError) and not key and not os.path.lexists(source):
        typed = UnreadableFileError(where=where, found="no such file or folder", expected="a file", remedy="Check the path.")
    elif not isinstance(typed, GeoembedError):
        typed = UnreadableFileError(
            where=where, found=f"{type(error).__name__}: {error}"[:500], expected=f"a record that passes the step {stage!r}",
            remedy="The file is damaged or of an unknown dialect; if another program opens it, report it with the file.",
        )
        typed.__cause__ = error
    reason = str(typed)
    if local is not None and str(local) not in ("", source):
        reason = reason.replace(str(local), source)
    if source not in reason:
        reason = f"{where}: {reason}"
    return Quarantined(source, key, stage, reason, type(error).__name__), typed
