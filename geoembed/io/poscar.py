"""POSCAR, CONTCAR and XDATCAR of VASP: one crystal a file, or one a configuration.

After the VASP manual: a comment, one or three scaling factors (a negative one is the volume of the cell), three lattice
vectors, symbols, counts, an optional line *Selective dynamics*, *Direct* or *Cartesian*, and the coordinates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np

from geoembed.errors import (
    EmptyGraphError,
    GeoembedError,
    TruncatedFileError,
    UnknownNameError,
    UnreadableFileError,
    ValueRangeError,
)
from geoembed.io.budget import check_budget
from geoembed.io.poscar_symbols import of_potcar, symbols_of_atoms
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Array, Ints, Sites, atomic_numbers
from geoembed.schema import Graph, Scalar

_NAME = re.compile(r"poscar|contcar|xdatcar")
_REAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?"
_VECTOR = rf"[ \t]*{_REAL}[ \t]+{_REAL}[ \t]+{_REAL}[^\n]*\n"
_HEAD = re.compile(rf"\A[^\n]*\n[ \t]*{_REAL}[^\n]*\n(?:{_VECTOR}){{3}}[ \t]*(?:[A-Z][a-z]?\b|\d+\b)")
_MODE = re.compile(r"^[ \t]*(?:direct|cart|selective|k|c|d|s)", re.MULTILINE | re.IGNORECASE)
_GLUED = re.compile(r"(?<=\d)-(?=[\d.])")
_MAX_ATOMS_LINE = 1 << 16


class Poscar:
    """Crystals as VASP writes them; XDATCAR gives one record a configuration, fixed or variable cell."""

    kind, suffixes = "crystal", (".vasp", ".poscar")

    def can_open(self, head: bytes, name: str) -> bool:
        """By the name (POSCAR, CONTCAR, XDATCAR, .vasp), else by the five numeric lines and the line that states the mode."""
        if b"\0" in head or head.lstrip()[:1] in (b"{", b"["):
            return False
        if _NAME.search(name) or name.endswith(self.suffixes):
            return True
        text = head.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(_HEAD.match(text)) and bool(_MODE.search(text))

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """One record a file, or a configuration of an XDATCAR."""
        check_budget(path, (path.stat().st_size,), 1)
        with open(path, encoding="utf-8", errors="replace") as lines:
            yield from poscar_records(lines, str(path), "structure", path.with_name("POTCAR"))

    def to_graph(self, record: Record) -> Graph:
        """The crystal graph of the cell."""
        sites: Sites = record.payload
        return sites.graph()


@dataclass
class _Header:
    """What stands before the coordinates: cell rows [Å], factor of Cartesian coordinates [3], atomic numbers [N] or counts."""

    cell: Array
    factor: Array
    counts: list[int]
    symbols: list[str]
    comment: str
    notes: dict[str, Scalar] = field(default_factory=dict)


class _Lines(Iterator[str]):
    """Lines, their number, and one step back."""

    def __init__(self, lines: Iterator[str], where: str, potcar: Path | None = None) -> None:
        self._lines, self.where, self._potcar, self.number, self._again = lines, where, potcar, 0, ""

    def __next__(self) -> str:
        line, self._again = self._again or next(self._lines), ""
        self.number += 1
        return line

    @cached_property
    def potcar(self) -> list[str]:
        """Elements of the POTCAR beside the file."""
        return of_potcar(self._potcar)

    def back(self, line: str) -> None:
        """Give ``line`` again at the next step."""
        self._again, self.number = line, self.number - 1

    def need(self, what: str) -> str:
        """The next line without its comment; :class:`TruncatedFileError` says ``what`` should be there."""
        line = next(self, None)
        if line is None:
            raise TruncatedFileError(where=f"{self.where}: line {self.number + 1}", found="the end of the file", expected=what,
                                     remedy="Fetch the file again, or write it again to the end.")
        return line.partition("#")[0].partition("!")[0].rstrip() + "\n"

    def take(self, count: int) -> list[str]:
        """The next lines, up to ``count`` of them."""
        rows = [self._again] if self._again and count else []
        rows += islice(self._lines, count - len(rows))
        self._again, self.number = "" if count else self._again, self.number + len(rows)
        return rows

    def error(self, found: str, expected: str) -> UnreadableFileError:
        """An error about the line that was read last."""
        return UnreadableFileError(where=f"{self.where}: line {self.number}", found=repr(found.strip()[:80]), expected=expected,
                                   remedy="Correct that line.")


def poscar_records(lines: Iterator[str], where: str, name: str, potcar: Path | None = None) -> Iterator[Record | BadRecord]:
    """Records of the lines of a POSCAR (its key is ``name``) or XDATCAR (keys ``configuration-1`` …).

    ``potcar`` may exist and is asked for the elements where the lines do not name them.
    """
    source = _Lines(iter(lines), where, potcar)
    header = _header(source, source.need("a comment"))
    index, mode = 1, next(source, "")
    while index == 1 or mode:
        trajectory = index > 1 or not mode.strip() or "config" in mode.lower()
        record = _configuration(source, header, mode, f"configuration-{index}" if trajectory else name)
        yield record
        if not trajectory:
            return  # velocities and predictor-corrector blocks follow
        index, mode = index + 1, next(source, "")
        if mode.strip() and "config" not in mode.lower():
            header = _header(source, mode)  # variable cell: the header is written again
            mode = next(source, "")
        elif not mode.strip():
            rest = next(source, "")  # VASP 4: a blank line alone, or the end
            if not rest.strip():
                return
            source.back(rest)


def _header(lines: _Lines, comment: str) -> _Header:
    scale = _reals(lines, lines.need("the scaling factor").split(), "one or three scaling factors")
    if len(scale) not in (1, 3):
        raise lines.error(f"{len(scale)} scaling factors", "one or three")
    cell = np.array([_vector(lines) for _ in range(3)])
    if len(scale) == 1 and scale[0] < 0:
        volume = abs(float(np.linalg.det(cell)))
        if volume == 0:
            raise ValueRangeError(where=f"{lines.where}: lattice vectors", found="a cell of volume 0",
                                  expected="three independent vectors", remedy="Correct the lattice vectors.")
        scale = [math.cbrt(-scale[0] / volume)]
    factor = np.array(scale if len(scale) == 3 else scale * 3)
    symbols: list[str] = []
    line = lines.need("symbols or counts")
    while not line.split()[:1] or not line.split()[0].isdecimal():
        words = line.split()
        if not words or len(symbols) > _MAX_ATOMS_LINE:
            raise lines.error(line, "element symbols or numbers of atoms")
        symbols += [re.split(r"[/_]", word)[0] for word in words]  # Mg_pv/f474ac0d is Mg
        line = lines.need("the numbers of atoms")
    counts = _counts(lines, line.split())
    while symbols and len(counts) < len(symbols):
        counts += _counts(lines, lines.need("the numbers of atoms").split())
    if symbols and len(counts) != len(symbols):
        raise lines.error(f"{len(counts)} counts for {len(symbols)} symbols", "one count a symbol")
    return _Header(cell * factor, factor, counts, symbols, comment)


def _vector(lines: _Lines) -> list[float]:
    words = lines.need("a lattice vector").split()
    if len(words) < 3:
        raise lines.error(" ".join(words), "three components")
    return _reals(lines, words[:3], "three components")


def _counts(lines: _Lines, words: list[str]) -> list[int]:
    if not words or not all(word.isdecimal() and len(word) < 10 for word in words):
        raise lines.error(" ".join(words), "numbers of atoms")
    counts = [int(word) for word in words]
    check_budget(lines.where, (sum(counts),), 200)
    return counts


def _reals(lines: _Lines, words: list[str], expected: str) -> list[float]:
    """Finite numbers; Fortran's ``1.0D0`` is read."""
    try:
        values = [float(word.replace("D", "e").replace("d", "e")) for word in words]
    except ValueError as error:
        raise lines.error(" ".join(words), expected) from error
    if not values or not all(map(math.isfinite, values)):
        raise ValueRangeError(where=f"{lines.where}: line {lines.number}", found=" ".join(words) or "an empty line",
                              expected=expected, remedy="Correct the number.")
    return values


def _configuration(lines: _Lines, header: _Header, mode: str, key: str) -> Record | BadRecord:
    """One set of coordinates under a header. Its lines are always read to the end, so that the next one is found."""
    selective = mode.strip()[:1].lower() == "s"
    if selective:
        mode = lines.need("Direct or Cartesian")
    start, count = lines.number, sum(header.counts)
    rows = lines.take(count)
    notes = dict(header.notes)
    try:
        if not count:
            raise EmptyGraphError(where=lines.where, found="no atoms", expected="at least one", remedy="Leave the file out.")
        if len(rows) < count:
            raise TruncatedFileError(where=f"{lines.where} [{key}]", found=f"{len(rows)} coordinate lines", expected=f"{count}",
                                     remedy="Fetch the file again, or write it again to the end.")
        if not rows[-1].endswith("\n"):  # the end of the file, perhaps in the middle of a number
            notes["no_line_end_at_the_end"] = True
        glued = _GLUED.search("".join(rows)) is not None
        words = [_split(row, notes) if glued else row.split() for row in rows]
        coordinates = _coordinates(lines, words, start)
        numbers = _numbers(lines, header, [row[6 if selective else 3 :] for row in words], notes)  # the flag F is no fluorine
    except GeoembedError as error:
        return BadRecord(key, error)
    cartesian = mode.strip()[:1].lower() in ("c", "k")
    place = coordinates * header.factor if cartesian else coordinates
    return Record(key, Sites(numbers, place, header.cell, cartesian), notes)


def _split(row: str, notes: dict[str, Scalar]) -> list[str]:
    words = row.split()
    if any(_GLUED.search(word) for word in words[:3]):  # -0.63-0.11: the field width of the writer was too small
        notes["glued_numbers_split"] = 1 + int(notes.get("glued_numbers_split") or 0)
        words = list(chain.from_iterable(_GLUED.sub(" -", word).split() for word in words))
    return words


def _coordinates(lines: _Lines, words: list[list[str]], start: int) -> Array:
    short = next((i for i, row in enumerate(words) if len(row) < 3), None)
    if short is not None:
        raise UnreadableFileError(where=f"{lines.where}: line {start + short + 1}", found=repr(" ".join(words[short])[:80]),
                                  expected="three coordinates", remedy="Correct that line.")
    try:
        coordinates = np.array([row[:3] for row in words], dtype=np.float64)
    except ValueError as error:
        raise UnreadableFileError(where=f"{lines.where}: coordinates", found=str(error), expected="numbers",
                                  remedy="Correct the coordinates.") from error
    if not np.isfinite(coordinates).all() or np.abs(coordinates).max() > 1e6:
        bad = int(np.flatnonzero(~(np.abs(coordinates) <= 1e6).all(axis=1))[0])
        raise ValueRangeError(where=f"{lines.where}: line {start + bad + 1}", found=" ".join(words[bad][:3]),
                              expected="finite coordinates", remedy="Correct the coordinates.")
    return coordinates


def _numbers(lines: _Lines, header: _Header, after: list[list[str]], notes: dict[str, Scalar]) -> Ints:
    """Atomic numbers: of the symbols line; without one (VASP 4) from where else they are written down."""
    if header.symbols:
        species = [symbol for symbol, count in zip(header.symbols, header.counts, strict=True) for _ in range(count)]
        return atomic_numbers(species, notes, lines.where)
    species, note = symbols_of_atoms(header.counts, after, lines.potcar, header.comment)
    if not species:
        raise UnknownNameError(where=f"{lines.where}: elements", found="counts of atoms without symbols (VASP 4)",
                               expected="a line of element symbols before the counts, or a POTCAR beside the file",
                               remedy="Add that line.")
    notes[note] = True
    return atomic_numbers(species, notes, lines.where)
