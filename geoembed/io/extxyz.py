"""XYZ and extended XYZ, frame by frame: of the comment line only Lattice, Properties and pbc are read, of the columns species and pos.

After the extended XYZ specification of libAtoms (``key=value`` pairs; ``Properties=species:S:1:pos:R:3:…``); a comment without
them is the plain format: symbol, x, y, z in Å, and whatever follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import IO, NamedTuple

import numpy as np

from geoembed.errors import EmptyGraphError, GeoembedError, TruncatedFileError, UnknownNameError, UnreadableFileError, ValueRangeError
from geoembed.io.cif_checks import NUMBERS
from geoembed.io.record import BadRecord, Record
from geoembed.io.sites import Array, Ints, Sites
from geoembed.schema import Scalar

_PAIR = re.compile(  # a quoted text that is no key, or key = "value" | 'value' | {value} | [value] | value
    r'"(?:[^"\\]|\\.)*"(?!\s*=)|([\w.:/+-]+|"[^"]*")\s*=\s*'
    r'(?:"((?:[^"\\]|\\.)*)"|' r"'([^']*)'|\{([^}]*)\}|\[([^\]]*)\]|([^\s\"'{\[]\S*))"
)
_READ = ("Lattice", "Properties", "pbc")
_BOOL = {"T": True, "F": False, "true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False,
         "1": True, "0": False}
_PLAIN = "species:S:1:pos:R:3"
_FORMAT = "the extended XYZ format"


class _Columns(NamedTuple):
    """Places of what is read in a row of words (-1 where it is not there), and the number of words that are declared."""

    species: int
    number: int
    position: int
    width: int


class _Place(NamedTuple):
    """Where a frame stands: what a person calls the file, and the line of its number of atoms."""

    where: str
    line: int

    def at(self, row: int) -> str:
        """A line of the frame: 0 is the number of atoms, 1 the comment, 2 the first atom."""
        return f"{self.where}: line {self.line + row}"

    def error(self, row: int, found: str, expected: str) -> UnreadableFileError:
        """A line that is not what it should be."""
        return UnreadableFileError(where=self.at(row), found=found[:120], expected=expected,
                                   remedy="Correct the file; if ASE reads it, report it with the file.")


def xyz_records(lines: IO[str], where: str) -> Iterator[Record | BadRecord]:
    """Frames of (extended) XYZ text: a line with N, a comment line, N lines of atoms. A broken frame costs itself only."""
    frame, number = 0, 0
    while line := lines.readline():
        number += 1
        if not line.strip():
            continue  # between frames, or after the last
        frame += 1
        word = line.split()[0]
        if not word.isdecimal() or len(word) > 9:
            raise UnreadableFileError(where=f"{where}: line {number}", found=repr(line.strip()[:60]),
                                      expected=f"the number of atoms of frame {frame}",
                                      remedy="Correct the number of atoms of the frame before, or that line.")
        rows = list(islice(lines, int(word) + 1))
        yield _frame(f"frame-{frame}", _Place(where, number), rows, int(word))
        number += len(rows)


def _frame(key: str, place: _Place, rows: list[str], count: int) -> Record | BadRecord:
    notes: dict[str, Scalar] = {}
    try:
        if len(rows) < count + 1:
            raise TruncatedFileError(where=place.at(0), found=f"{max(len(rows) - 1, 0)} lines of atoms", expected=f"{count}",
                                     remedy="Fetch the file again.")
        if not count:
            raise EmptyGraphError(where=place.at(0), found="no atoms", expected="at least one", remedy="Leave the frame out.")
        if not rows[-1].endswith("\n"):  # the file may have been cut in the middle of the last number
            notes["no_line_end_at_the_end"] = True
        sites = _sites(rows[0].strip(), [row.split() for row in islice(rows, 1, None)], place, notes)
    except GeoembedError as error:
        return BadRecord(key, error)
    return Record(key, sites, notes)


def _sites(comment: str, words: list[list[str]], place: _Place, notes: dict[str, Scalar]) -> Sites:
    items = _items(comment, place)
    columns = _columns(items.get("Properties", _PLAIN), place)
    lengths = set(map(len, words))
    if min(lengths) < columns.width:
        bad = next(i for i, row in enumerate(words) if len(row) < columns.width)
        raise place.error(bad + 2, repr(" ".join(words[bad])), f"at least {columns.width} columns")
    if "Properties" in items and lengths != {columns.width}:
        notes["undeclared_columns"] = True
    positions = _positions(words, columns.position, place)
    numbers = _atomic_numbers([row[columns.species if columns.species >= 0 else columns.number] for row in words], place, notes)
    if columns.species >= 0 and columns.number >= 0 and [row[columns.number] for row in words] != [str(z) for z in numbers.tolist()]:
        raise place.error(1, "columns species and Z that disagree", "one element an atom")
    cell = _lattice(items["Lattice"], place) if "Lattice" in items else None
    return Sites(numbers, positions, cell, True, _pbc(items.get("pbc"), cell is not None, place))


def _items(comment: str, place: _Place) -> dict[str, str]:
    """Lattice, Properties and pbc of a comment line, as far as it has them; one that cannot be read is an error, not absent."""
    wanted = sum(name in comment for name in _READ)
    found: dict[str, str] = {}
    if not wanted:
        return found
    for match in _PAIR.finditer(comment):
        key = (match.group(1) or "").strip('"')
        if key in _READ:
            if key in found:
                raise place.error(1, f"{key} twice", "each key once")
            found[key] = next(value for value in match.groups()[1:] if value is not None)
    if len(found) < wanted:
        rest = _PAIR.sub(" ", comment)
        for name in _READ:
            if name not in found and re.search(rf"\b{name}\s*=", rest):
                raise place.error(1, f"{name} with a value that does not end", _FORMAT)
    return found


def _columns(properties: str, place: _Place) -> _Columns:
    columns = _parsed(properties)
    if columns is None or columns.position < 0 or max(columns.species, columns.number) < 0:
        raise place.error(1, f"Properties={properties}", "name:type:count of each column, with species (or Z) and pos")
    return columns


@lru_cache(maxsize=256)
def _parsed(properties: str) -> _Columns | None:
    """Places of the columns that ``name:type:count`` triples describe; None where they do not."""
    parts = properties.split(":")
    at: dict[str, int] = {}
    width = 0
    for name, kind, count in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if kind not in ("R", "I", "S", "L") or not count.isdecimal() or not 0 < int(count) < 10_000 or name in at:
            return None
        if {"species": ("S", 1), "Z": ("I", 1), "pos": ("R", 3)}.get(name, (kind, int(count))) != (kind, int(count)):
            return None
        at[name], width = width, width + int(count)
    if len(parts) % 3:
        return None
    return _Columns(at.get("species", -1), at.get("Z", -1), at.get("pos", -1), width)


def _positions(words: list[list[str]], first: int, place: _Place) -> Array:
    texts = [row[first : first + 3] for row in words]
    try:
        if "_" in (together := "".join(chain.from_iterable(texts))) or not together.isascii():
            raise ValueError("digits of Python or of another script")
        positions = np.array(texts, dtype=np.float64)
    except ValueError as error:
        raise place.error(_first_bad(texts) + 2, repr(" ".join(texts[_first_bad(texts)])), "three coordinates") from error
    if not np.isfinite(positions).all():
        bad = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise ValueRangeError(where=f"{place.at(bad + 2)}: pos", found=" ".join(texts[bad]), expected="finite numbers",
                              remedy="Correct the coordinates.")
    return positions


def _first_bad(texts: list[list[str]]) -> int:
    """The first row of which a text is no number."""
    for i, row in enumerate(texts):
        try:
            list(map(float, row))
        except ValueError:
            return i
        if "_" in "".join(row) or not "".join(row).isascii():
            return i
    return 0


def _atomic_numbers(symbols: list[str], place: _Place, notes: dict[str, Scalar]) -> Ints:
    """Atomic numbers of symbols (``CL`` is read as Cl, and noted) or of numbers; D and T are hydrogen, noted."""
    atomic: dict[str, int] = {}
    for symbol in set(symbols):
        number = NUMBERS.get(symbol) or NUMBERS.get(symbol.capitalize()) or (int(symbol) if symbol.isdecimal() and symbol.isascii() else 0)
        if not 0 < number <= 118:
            raise _no_element(symbol, symbols.index(symbol), place)
        atomic[symbol] = number
        if symbol.capitalize() in ("D", "T"):
            notes["isotopes_as_hydrogen"] = symbols.count(symbol) + int(notes.get("isotopes_as_hydrogen") or 0)
        if symbol not in NUMBERS and not symbol.isdecimal():
            notes["symbols_recased"] = symbols.count(symbol) + int(notes.get("symbols_recased") or 0)
    return np.array([atomic[symbol] for symbol in symbols], dtype=np.int64)


def _no_element(symbol: str, row: int, place: _Place) -> GeoembedError:
    if symbol.capitalize() in ("X", "Xx", "Du", "0"):
        return UnknownNameError(where=f"{place.at(0)}: atom {row + 1}", found=f"the symbol {symbol!r}", expected="an element",
                                remedy="Leave dummy atoms out.")
    return place.error(row + 2, f"the symbol {symbol!r}", "an element symbol")


def _lattice(text: str, place: _Place) -> Array:
    """Rows are the lattice vectors, as they are written: a, then b, then c."""
    try:
        values = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise place.error(1, f"Lattice={text!r}", "nine numbers") from error
    if len(values) != 9:
        raise place.error(1, f"a Lattice of {len(values)} numbers", "nine")
    cell = np.array(values).reshape(3, 3)
    if not np.isfinite(cell).all():
        raise ValueRangeError(where=f"{place.at(1)}: Lattice", found=text[:120], expected="finite numbers", remedy="Correct the cell.")
    return cell


def _pbc(text: str | None, periodic: bool, place: _Place) -> tuple[bool, bool, bool]:
    """Periodic axes; by default all where there is a Lattice."""
    if text is None:
        return periodic, periodic, periodic
    axes = [_BOOL.get(word) for word in text.replace(",", " ").split()]
    if len(axes) == 1:
        axes *= 3
    if len(axes) != 3 or axes[0] is None or axes[1] is None or axes[2] is None:
        raise place.error(1, f"pbc={text!r}", "three of T and F")
    return axes[0], axes[1], axes[2]
