"""``read``: a path to graphs. Picks the reader by content, then suffix, and quarantines what is broken."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

from geoembed import registry
from geoembed.errors import GeoembedError, UnreadableFileError
from geoembed.io import archive
from geoembed.io.opener import is_url, local_file, plain_name, read_head
from geoembed.io.record import BadRecord, Quarantined, Reader, Record
from geoembed.io.safety import refuse_unsafe
from geoembed.schema import Graph, validate

log = logging.getLogger("geoembed")


class Reading(Iterator[Graph]):
    """Iterator over the graphs of one source; afterwards it knows what was left out.

    Attributes:
        quarantined: records left out so far, with reasons.
        records_in: records met so far; always graphs yielded + quarantined.
    """

    def __init__(self, source: str | Path, on_error: Literal["quarantine", "raise"]) -> None:
        self.quarantined: list[Quarantined] = []
        self.records_in = 0
        self._raise = on_error == "raise"
        self._stream = stream(source)

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


def read(path: str | Path, *, on_error: Literal["quarantine", "raise"] = "quarantine") -> Reading:
    """Graphs of a file, archive or fsspec URL, in file order, each with its provenance.

    A bad record is left out, logged and listed in ``.quarantined`` (``on_error="raise"``: raised as a
    :class:`GeoembedError`) and the rest goes on.
    """
    return Reading(path, on_error)


Item = Graph | tuple[Quarantined, GeoembedError]


def stream(source: str | Path) -> Iterator[Item]:
    """Every record of a source, as a graph or as the reason why not; one item a record, in file order."""
    text = str(source)
    try:
        head = b"" if Path(text).is_dir() else read_head(text)
        name = plain_name(text)
        if pick(head, name) is None and archive.looks_like_archive(head, name):
            for member, content in archive.members(text):
                inner = f"{text}!{member}"
                yield from [_bad(inner, "", "open", content)] if isinstance(content, Exception) else _file(content, inner)
            return
    except Exception as error:  # noqa: BLE001 — whatever a file provokes becomes a quarantine (the shard worker is the other place)
        yield _bad(text, "", "open", error)
        return
    yield from _file(text, text, head)


def _file(path: str | Path, source: str, head: bytes | None = None) -> Iterator[Item]:
    """Items of one file that is no archive; ``source`` is what a person calls it."""
    step, local = "open", Path(path)
    keys: Counter[str] = Counter()
    try:
        reader = _reader(path, source, read_head(path) if head is None else head)
        # A reader with ``streams`` decompresses for itself, so that whole records before a break in the stream are kept.
        whole = local.is_dir() or (getattr(reader, "streams", False) and not is_url(str(path)))
        with nullcontext(local) if whole else local_file(path) as local:
            step = "read"
            for record in reader.records(local):
                keys[record.key] += 1
                key = record.key if keys[record.key] == 1 else f"{record.key}#{keys[record.key]}"
                if isinstance(record, BadRecord):
                    yield _bad(source, key, "read", record.error, local)
                else:
                    yield _graph(reader, record, source, key, local)
    except Exception as error:  # noqa: BLE001 — see stream
        yield _bad(source, "", step, error, local)


def _graph(reader: Reader, record: Record, source: str, key: str, local: Path) -> Item:
    try:
        graph = reader.to_graph(record)
        return validate(graph.with_provenance(source=source, record=key, notes=dict(record.notes)))
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
    able = [reader for reader in readers().values() if reader.can_open(head, name)]
    return next((reader for reader in able if name.endswith(reader.suffixes)), able[0] if able else None)


def _reader(path: str | Path, source: str, head: bytes) -> Reader:
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
    return reader


def _bad(source: str, key: str, stage: str, error: Exception, local: Path | None = None) -> tuple[Quarantined, GeoembedError]:
    """The quarantine of a record and the typed error behind it; a spooled copy's path is replaced by the real one."""
    where = f"{source} [{key}]" if key else source
    typed = error
    if not isinstance(typed, GeoembedError):
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
