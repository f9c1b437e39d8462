"""Les Houches events: the partons of a hard process, as text (Alwall et al. 2007, hep-ph/0609017) or as HDF5 tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError
from geoembed.io.kinematics import FloatArray, IntArray, Particles, split
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph, Scalar

COLUMNS = ("id", "status", "mother1", "mother2", "color1", "color2", "px", "py", "pz", "e", "m", "lifetime", "spin")
"""Columns of a particle, in the order of the standard; momenta in GeV."""

LINE = 1 << 16
MOST_PARTICLES = 100_000


class Lhe:
    """Les Houches event files: one event a record, its outgoing particles (status 1) as the nodes."""

    kind = "cloud"
    suffixes: tuple[str, ...] = (".lhe", ".lhef")
    lines = suffixes

    def can_open(self, head: bytes, name: str) -> bool:
        """By the tag that opens the file; a comment may stand before it."""
        return b"<LesHouchesEvents" in head and b"\0" not in head  # a tar archive shows the text of its first member

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records in file order; the key is the number of the event from 0."""
        with open(path, encoding="utf-8", errors="replace") as file:
            number, last = -1, None
            while (line := file.readline(LINE)) and "</LesHouchesEvents>" not in line:
                if line.lstrip().startswith(("<event>", "<event ")):
                    number += 1
                    last = _event(file, str(number), path)
                    yield last
            cut = isinstance(last, BadRecord) and isinstance(last.error, TruncatedFileError)
            if not line and not cut:  # one break is named once
                raise TruncatedFileError(where=path, found=f"the end of the file after {number + 1} events",
                                         expected="</LesHouchesEvents>", remedy="Fetch or write the file again.")

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the outgoing particles."""
        payload: Particles = record.payload
        return payload.to_graph()


def final_state(
    columns: Mapping[str, FloatArray], counts: IntArray, status: int = 1
) -> Iterator[tuple[Particles, dict[str, Scalar]]]:
    """Particles of ``status`` of each event: flat ``columns`` by the names of :data:`COLUMNS`, ``counts`` [B] -> B payloads.

    Incoming and intermediate particles are left out and counted in the notes.
    """
    keep = columns["status"] == status
    segment = np.repeat(np.arange(len(counts)), counts)
    kept = np.bincount(segment[keep], minlength=len(counts))
    flat = {"px": "px", "py": "py", "pz": "pz", "energy": "e", "pdg": "id"}
    events = split({quantity: columns[name][keep] for quantity, name in flat.items()}, kept, "event")
    for (payload, notes), total, here in zip(events, counts, kept, strict=True):
        left = {"not_final_dropped": int(total - here)} if total > here else {}
        yield payload, {**notes, **left}


def _event(file: TextIO, key: str, path: Path) -> Record | BadRecord:
    lines: list[str] = []
    while (line := file.readline(LINE)) and "</event" not in line and len(lines) <= MOST_PARTICLES:
        if line.strip() and not line.lstrip().startswith("#"):
            lines.append(line)
    try:
        columns = _particles(lines, f"{path} [{key}]")
    except GeoembedError as error:
        if line:
            return BadRecord(key, error)
        return BadRecord(key, TruncatedFileError(where=error.where, found="the end of the file within an event", expected="</event>",
                                                 remedy="Fetch or write the file again."))
    payload, notes = next(final_state(columns, np.array([len(columns["id"])])))
    return Record(key, payload, notes)


def _particles(lines: list[str], where: str) -> dict[str, FloatArray]:
    """Columns of the particles of one event: the first line says how many follow."""
    try:
        count = int(lines[0].split()[0])
        rows = [line.replace("D", "E").replace("d", "e") for line in lines[1 : count + 1]]  # Fortran's exponent
        table = np.loadtxt(rows, ndmin=2, usecols=range(len(COLUMNS))) if rows else np.empty((0, len(COLUMNS)))
    except (ValueError, IndexError) as error:
        raise UnreadableFileError(where=where, found=f"{error}"[:200], expected="a count, then 13 numbers a particle",
                                  remedy="Fetch or write the file again.") from error
    if len(table) != count:
        raise TruncatedFileError(where=where, found=f"{len(table)} particles", expected=f"{count}, as the event states",
                                 remedy="Fetch or write the file again.")
    return dict(zip(COLUMNS, table.T, strict=True))
