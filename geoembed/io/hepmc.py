"""HepMC ASCII events, versions 2 and 3 (Buckley et al. 2021, Comput. Phys. Commun. 260): final particles as nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError
from geoembed.io.kinematics import Particles
from geoembed.io.lhe import LINE, final_state
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

_SCALE = {"GEV": 1.0, "MEV": 1e-3}
# after the letter P: 3 = number, mother, code, px, py, pz, e, m, status; 2 = barcode, code, px, py, pz, e, m, status, …
_USED = {3: (3, 4, 5, 6, 7, 9), 2: (2, 3, 4, 5, 6, 8)}


@dataclass
class _Event:
    """Lines of one event, and how many vertices and particles it states."""

    key: str
    version: int
    vertices: int
    particles: int
    unit: str = "GEV"
    seen_vertices: int = 0
    lines: list[str] = field(default_factory=list)


class HepMc:
    """HepMC ASCII files: one event a record, its undecayed particles (status 1) as the nodes."""

    kind = "cloud"
    suffixes: tuple[str, ...] = (".hepmc", ".hepmc2", ".hepmc3", ".dat")
    lines = suffixes

    def can_open(self, head: bytes, name: str) -> bool:
        """By the line ``HepMC::Version`` or the opening of an event listing."""
        return head.lstrip().startswith(b"HepMC::")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records in file order; the key is the number of the event from 0. An event that lacks particles is a BadRecord."""
        with open(path, encoding="utf-8", errors="replace") as file:
            version, number, event, ended = 0, 0, None, False
            while line := file.readline(LINE):
                if line.startswith("HepMC::"):
                    version = {"Asciiv3": 3, "IO_GenEvent": 2}.get(line[7:].split("-")[0], version)
                    ended = "END_EVENT_LISTING" in line
                    if "EVENT_LISTING" in line and event is not None:
                        yield _record(event, path)
                        event = None
                elif line.startswith("E "):
                    if event is not None:
                        yield _record(event, path)
                    event, number = _opened(line, str(number), version), number + 1
                elif event is not None:
                    _add(event, line)
            last = _record(event, path) if event is not None else None
            if last is not None:
                yield last
            if not ended and not isinstance(last, BadRecord):  # one break is named once
                raise TruncatedFileError(where=path, found=f"the end of the file after the start of {number} events",
                                         expected="HepMC::…-END_EVENT_LISTING", remedy="Fetch or write the file again.")

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the final particles."""
        payload: Particles = record.payload
        return payload.to_graph()


def _opened(line: str, key: str, version: int) -> _Event:
    """The event that a line ``E`` opens; counts of −1 are not stated there (version 2 states particles at its vertices)."""
    words = line.split()
    try:
        if version == 3:
            return _Event(key, 3, int(words[2]), int(words[3]))
        return _Event(key, 2, int(words[8]), 0)
    except (IndexError, ValueError):
        return _Event(key, version, -1, -1)


def _add(event: _Event, line: str) -> None:
    if line.startswith("P "):
        event.lines.append(line)
    elif line.startswith("V "):
        event.seen_vertices += 1
        words = line.split()
        if event.version == 2 and len(words) > 8 and words[7].isdigit() and words[8].isdigit():
            event.particles += int(words[7]) + int(words[8])  # orphans coming in, and all going out
    elif line.startswith("U "):
        event.unit = [*line.split(), ""][1].upper()


def _record(event: _Event, path: Path) -> Record | BadRecord:
    where = f"{path} [{event.key}]"
    try:
        _check(event, where)
        columns = _columns(event, where)
    except GeoembedError as error:
        return BadRecord(event.key, error)
    payload, notes = next(final_state(columns, np.array([len(columns["id"])])))
    return Record(event.key, payload, {**notes, **({} if event.unit == "GEV" else {"momenta_in": event.unit})})


def _check(event: _Event, where: str) -> None:
    if event.version not in _USED or event.vertices < 0 or event.unit not in _SCALE:
        raise UnreadableFileError(where=where, found=f"version {event.version}, unit {event.unit!r}, {event.vertices} vertices",
                                  expected="HepMC 2 or 3, GEV or MEV, and counts on line E", remedy="Write the file again.")
    stated, seen = (event.particles, len(event.lines)) if event.version == 3 else (
        event.particles + event.vertices, len(event.lines) + event.seen_vertices)
    if stated != seen:
        raise TruncatedFileError(where=where, found=f"{len(event.lines)} particles, {event.seen_vertices} vertices",
                                 expected=f"{event.particles} particles, {event.vertices} vertices",
                                 remedy="The event is cut off: fetch or write the file again.")


def _columns(event: _Event, where: str) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    try:
        table = np.loadtxt(event.lines, ndmin=2, usecols=_USED[event.version]) if event.lines else np.empty((0, 6))
    except (ValueError, IndexError) as error:
        raise UnreadableFileError(where=where, found=f"{error}"[:200], expected="numbers on the lines P",
                                  remedy="Fetch or write the file again.") from error
    columns = dict(zip(("id", "px", "py", "pz", "e", "status"), table.T, strict=True))
    for name in ("px", "py", "pz", "e"):
        columns[name] = columns[name] * _SCALE[event.unit]
    return columns
