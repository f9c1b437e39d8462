"""SNANA text files: supernova light curves as ``KEY: value`` headers and ``OBS:`` rows (Kessler et al. 2009, PASP 121, 1028)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from geoembed.errors import (
    EmptyGraphError,
    GeoembedError,
    TruncatedFileError,
    UnreadableFileError,
    ValueRangeError,
)
from geoembed.io.budget import check_budget
from geoembed.io.forms.light_curves import LightCurve, LightCurveTable
from geoembed.io.record import BadRecord, Record
from geoembed.io.snana_filters import filter_meanings, renamed
from geoembed.schema import Graph, Scalar

_KEYS = re.compile(rb"^\s*(SURVEY|SNID|FILTERS|NOBS|NVAR|VARLIST|OBS|PHOTOMETRY_VERSION|LIBID|DECL|PIXSIZE):", re.M)
_LIBRARY = re.compile(rb"^\s*(BEGIN LIBGEN|LIBID:)", re.M)
_ROWS = ("OBS", "EPOCH")  # EPOCH: before 2010
_FILTERS_COMMENT = "FILTERS#"
_SHARED = ("SURVEY", "FILTERS", _FILTERS_COMMENT)
_BAND = ("flt", "band")
_PHOTOMETRY = frozenset({"mjd", "flt", "band", "fluxcal", "fluxcalerr", "mag", "magerr", "mag_err"})


def looks_like_snana(head: bytes) -> bool:
    """Whether a text begins like an SNANA file, a light curve or another kind."""
    keys = {match.group(1) for match in _KEYS.finditer(head)}
    return len(keys) >= 2 and bool(keys & {b"SNID", b"SURVEY", b"LIBID"})


@dataclass
class _Block:
    """One supernova: its header, the text of its rows, and whether END was met."""

    header: dict[str, str] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def key(self) -> str:
        return (self.header.get("SNID", "").split() or [""])[0]


class Snana:
    """One record a supernova (SNID); FLUXCAL where given, else MAG; both the FLT and the BAND dialect.

    A count of rows that differs from NOBS is noted and the rows are kept; fewer rows than NOBS without END is a truncated file.
    """

    kind, suffixes = "chain", (".dat", ".txt", ".snana")

    def can_open(self, head: bytes, name: str) -> bool:
        """By at least two SNANA keys at the beginnings of lines, and the suffix."""
        return name.endswith(self.suffixes) and looks_like_snana(head)

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Supernovae in file order; observing libraries (SIMLIB) and files without OBS rows raise."""
        check_budget(path, (path.stat().st_size,), 1)
        with open(path, "rb") as file:
            if _LIBRARY.search(file.read(1 << 16)):
                raise UnreadableFileError(
                    where=path, found="an observing library (SIMLIB): conditions of observation", expected="light curves",
                    remedy="Give the files that SNANA simulated from it.",
                )
        empty = True
        for block in _blocks(path):
            empty = False
            try:
                yield _record(block, path)
            except GeoembedError as error:
                yield BadRecord(block.key or path.stem, error)
        if empty:
            raise EmptyGraphError(where=path, found="no OBS rows", expected="VARLIST and OBS", remedy="Give a light-curve file.")

    def to_graph(self, record: Record) -> Graph:
        """The light curve as a chain."""
        curve: LightCurve = record.payload
        return curve.to_graph()


def _blocks(path: Path) -> Iterator[_Block]:
    """The supernovae of a file; lines that are no ``KEY: value`` are free text."""
    block = _Block()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            line, _, comment = line.partition("#")
            key, colon, value = line.partition(":")
            key = key.strip()
            if not colon or not key or " " in key:
                continue
            if key in _ROWS:
                block.rows.append(value)
            elif key == "END":
                block.ended = True
            else:
                if block.rows and (key in ("SURVEY", "SNID") or block.ended):
                    yield block
                    block = _Block({shared: block.header[shared] for shared in _SHARED if shared in block.header})
                block.header[key] = value.strip()
                if key == "FILTERS":
                    block.header[_FILTERS_COMMENT] = comment.strip()
    if block.rows or "SNID" in block.header:
        yield block


def _record(block: _Block, path: Path) -> Record:
    key = block.key or path.stem
    where = f"{path} [{key}]"
    table, notes = _table(block, where)
    survey = block.header.get("SURVEY", "")
    meanings = filter_meanings(survey, block.header.get("FILTERS", ""), where, block.header.get(_FILTERS_COMMENT, ""))
    for column in (column for column in table.columns if meanings and column.lower() in _BAND):
        table[column], replaced = renamed(table[column], meanings, where, survey)
        if replaced:
            notes["filter_codes_replaced"] = replaced
    for found in LightCurveTable().records(table, 0, key):
        if isinstance(found, BadRecord):
            raise found.error
        return replace(found, notes={**notes, **found.notes})
    raise EmptyGraphError(where=where, found="no OBS rows", expected="at least one", remedy="Leave the object out.")


def _table(block: _Block, where: str) -> tuple[pd.DataFrame, dict[str, Scalar]]:
    """Photometry columns of a block, as text, and what is odd about its rows."""
    tokens = [row.split() for row in block.rows]
    notes = _count_notes(block, where)
    names = block.header.get("VARLIST", "").split()
    widths = {len(row) for row in tokens} or {len(names)}
    width = len(names)
    if len(widths) == 1 and min(widths) < width and block.header.get("NVAR", "").split()[:1] == [str(min(widths))]:
        width = min(widths)  # VARLIST names a column that NVAR and the rows do not have
        notes["varlist_without_values"] = " ".join(names[width:])
    lower = {name.lower() for name in names[:width]}
    if twice := next((name for name in names[:width] if names[:width].count(name) > 1 and name.lower() in _PHOTOMETRY), ""):
        raise UnreadableFileError(where=where, found=f"{twice} twice in VARLIST", expected="one column of that name",
                                  remedy="Correct the VARLIST line.")
    if "mjd" not in lower or not lower & {"fluxcal", "mag"}:
        raise UnreadableFileError(
            where=where, found=f"VARLIST: {' '.join(names[:width]) or 'absent'}", expected="MJD with FLUXCAL or MAG",
            remedy="Give a light-curve file with its VARLIST line.",
        )
    if min(widths) >= width < max(widths) and block.header.get("NVAR", "").split()[:1] == [str(width)]:
        # SNANA reads as many values of a row as VARLIST names; some releases write a zero point behind them
        notes["values_beyond_varlist"] = sum(len(row) > width for row in tokens)
        tokens, widths = [row[:width] for row in tokens], {width}
    if widths != {width}:
        odd = next(number for number, row in enumerate(tokens) if len(row) != width)
        if odd == len(tokens) - 1 and not block.ended:
            raise _truncated(where, f"{len(tokens[odd])} values in the last row and no END", f"{width} values")
        raise ValueRangeError(
            where=where, found=f"{len(tokens[odd])} values in OBS row {odd}", expected=f"{width} (VARLIST)",
            remedy="Correct the row or leave it out.",
        )
    table = pd.DataFrame(tokens, columns=names[:width], dtype=object)
    return table[[name for name in table.columns if name.lower() in _PHOTOMETRY]], notes


def _count_notes(block: _Block, where: str) -> dict[str, Scalar]:
    """Notes of a missing END and of a NOBS that is not the count of rows; both together, with rows missing, are a cut file."""
    notes: dict[str, Scalar] = {} if block.ended else {"no_end_mark": True}
    rows, declared = len(block.rows), block.header.get("NOBS", "").split()
    if declared and declared[0].isdecimal() and int(declared[0]) != rows:
        if rows < int(declared[0]) and not block.ended:
            raise _truncated(where, f"{rows} OBS rows and no END", f"{declared[0]} rows (NOBS)")
        notes["nobs_mismatch"] = f"NOBS {declared[0]}, {rows} rows"
    return notes


def _truncated(where: str, found: str, expected: str) -> TruncatedFileError:
    return TruncatedFileError(where=where, found=found, expected=expected, remedy="Fetch the file again.")
