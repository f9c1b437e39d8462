"""Tables as text: comma, tab, semicolon or white-space separated, with a header line; ``form_of`` knows what the columns mean."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from geoembed.errors import BudgetError, MissingColumnError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.forms.light_curves import OBJECTS
from geoembed.io.record import BadRecord, Record
from geoembed.io.snana import looks_like_snana
from geoembed.io.tables import TableRecord, form_of, table_records
from geoembed.schema import Graph, Scalar

CHUNK = 8192
"""Rows of a block, where a row is a record."""

EXPANSION = 10
"""Bytes in memory for a byte of text, at most: a cell "1," becomes a float64, a short text a Python string."""

_SEPARATORS = (",", "\t", ";", "|")
_COMMENT = ("#", "@", "%", "\\")
_HEAD = 1 << 20  # comments of self-describing tables (ECSV) can be long; a longer prologue is no table
_OPTICAL = (800, 30_000)  # [Å]: what two bare columns of numbers must span to be taken for a spectrum
_FOREIGN = (b">", b"<", b"{", b"[", b"data_", b"CDF", b"BEGIN:", b"%!", b"%PDF")


@dataclass(frozen=True)
class _Layout:
    """How a text is a table.

    Attributes:
        separator: one character, or the regular expression of white space.
        skip: lines before the first row of data.
        names: names of the columns; empty where the text has no header.
        width: fields of a row.
        constants: columns that the prologue gives once for all rows.
        surplus: names given to an empty last field that the header does not name.
    """

    separator: str
    skip: int
    names: list[str]
    width: int
    constants: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)


class Csv:
    """A text table. Rows that are records are streamed; tables of which many rows make a record are read whole, under the budget.

    A text declares no length: a last line that is cut in a row raises :class:`TruncatedFileError`, a file that ends without a
    newline is noted, and a cut between two lines cannot be seen.
    """

    kind, suffixes = "table", (".csv", ".tsv", ".tab", ".ecsv", ".dat", ".txt", ".ascii", ".mjd")

    def can_open(self, head: bytes, name: str) -> bool:
        """By suffix, and content that is text of no other format; in a .dat or .txt two lines must have as many fields."""
        text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
        if not name.endswith(self.suffixes) or b"\0" in head or text.startswith(_FOREIGN) or looks_like_snana(head):
            return False
        if not name.endswith((".dat", ".txt", ".ascii", ".mjd")):
            return True
        lines = [line for line in head.decode("utf-8", "replace").splitlines()[:-1] if line.strip() and line[0] not in _COMMENT]
        if len(lines) < 2:  # a prologue longer than the head
            return bool(lines) or text.startswith((b"#", b"@"))
        separator = _separator(lines[0])
        first, second = (len(_fields(line, separator)) for line in lines[:2])
        return first == second > 1

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records of the form that the columns have; :class:`MissingColumnError` where no form fits."""
        notes: dict[str, Scalar] = {}
        if not _ends_with_newline(path):
            notes["no_final_newline"] = True
        layout = _layout(path)
        if not layout.names:
            layout = _headerless(path, layout)
        _check_last_line(path, layout)
        form = form_of([*layout.names, *layout.constants], path)
        if not form.rows:
            check_budget(path, (path.stat().st_size, EXPANSION), 1)
        blocks = _blocks(path, layout, CHUNK if form.rows else None, text_objects=form.kind == "chain")
        for record in table_records(blocks, form, path.stem):
            yield record if isinstance(record, BadRecord) else Record(record.key, record.payload, {**notes, **record.notes})

    def to_graph(self, record: Record) -> Graph:
        """The graph that the form makes of the record."""
        payload: TableRecord = record.payload
        return payload.to_graph()


def _layout(path: Path) -> _Layout:
    """Separator, header and width of a text table, from its prologue and first lines."""
    prologue: list[str] = []
    first: list[str] = []
    for line in _lines(path):
        if first or (line.strip() and not line.startswith(_COMMENT)):
            first.append(line)
            if len(first) == 2:
                break
        else:
            prologue.append(line)
    if not first:
        raise UnreadableFileError(where=path, found="no line of data", expected="a header and rows", remedy="Give a table.")
    separator = _separator(first[0])
    fields = _fields(first[0], separator)
    described, constants = _described(prologue)
    if not _is_data(fields):
        below = len(_fields(first[1], separator)) if len(first) == 2 else len(fields)
        if below > len(fields) + 1:
            raise _ragged(path, below, len(fields))
        surplus = ["surplus field"] if below > len(fields) else []  # rows that end with a separator
        return _Layout(separator, len(prologue) + 1, _unique([*fields, *surplus]), max(below, len(fields)), constants, surplus)
    comment = _fields(prologue[-1].lstrip("#%@ "), separator) if prologue else []
    if len(described) == len(fields):
        return _Layout(separator, len(prologue), described, len(fields), constants)
    if len(comment) == len(fields) and not _is_data(comment):
        return _Layout(separator, len(prologue), _unique(comment), len(fields), constants)
    return _Layout(separator, len(prologue), [], len(fields), constants)


def _lines(path: Path) -> Iterator[str]:
    """Lines from the beginning of a text, up to a budget for prologues."""
    read = 0
    try:
        with open(path, encoding="utf-8-sig", newline=None) as file:
            while line := file.readline(_HEAD):
                read += len(line)
                if read >= _HEAD:
                    raise BudgetError(
                        where=path, found=f"no two lines of data in the first {_HEAD >> 10} KiB", expected="a header and rows",
                        remedy="Shorten the comments above the table.",
                    )
                yield line
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def _not_text(path: Path, error: UnicodeDecodeError) -> UnreadableFileError:
    return UnreadableFileError(
        where=path, found=f"byte {error.object[error.start]:#04x} at {error.start}, which is no UTF-8", expected="text in UTF-8",
        remedy="Save the table as UTF-8, or fetch it again.",
    )


def _separator(line: str) -> str:
    """The most frequent of the usual separators, white space where there is none of them."""
    counts = {separator: line.count(separator) for separator in _SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] else r"\s+"


def _fields(line: str, separator: str) -> list[str]:
    if separator == r"\s+":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=separator, skipinitialspace=True), [])]


def _is_data(fields: list[str]) -> bool:
    """Whether most fields are numbers, as in a row and not in a header."""
    numeric = sum(_is_number(cell) for cell in fields)
    return 2 * numeric >= max(len([cell for cell in fields if cell]), 1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _described(prologue: list[str]) -> tuple[list[str], dict[str, str]]:
    """Column names and constants of the dialect of SALT2: ``@BAND g`` lines, ``#Name : meaning`` lines, ``#end``."""
    if not any(line.strip().lower() == "#end" for line in prologue):
        return [], {}
    names = [line[1:].partition(":")[0].strip() for line in prologue if line.startswith("#") and ":" in line]
    values = {line[1:].split()[0].lower(): line.split()[1] for line in prologue if line.startswith("@") and len(line.split()) > 1}
    return names, {"band": values["band"]} if "band" in values else {}


def _unique(names: list[str]) -> list[str]:
    """Names without repetition: a second ``flux`` becomes ``flux.1``."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        unique.append(f"{name}.{seen[name]}" if seen[name] else name)
    return unique


def _headerless(path: Path, layout: _Layout) -> _Layout:
    """Two or three columns of numbers, the first one rising through wavelengths [Å], are a spectrum."""
    if layout.width in (2, 3):
        check_budget(path, (path.stat().st_size, EXPANSION), 1)
        bare = _Layout(layout.separator, layout.skip, ["wavelength", "flux", "error"][: layout.width], layout.width)
        first = pd.to_numeric(next(_blocks(path, bare, None, text_objects=False))["wavelength"], errors="coerce")
        rising = len(first) > 1 and first.is_monotonic_increasing and first.is_unique
        if rising and first.between(*_OPTICAL).all():
            return bare
    raise MissingColumnError(
        where=path, found=f"{layout.width} columns without a header",
        expected=f"a header line, or wavelengths within {_OPTICAL[0]}…{_OPTICAL[1]} Å, flux and error",
        remedy="Write the names of the columns in the first line.",
    )


def _ragged(path: Path, found: int, expected: int) -> UnreadableFileError:
    return UnreadableFileError(
        where=path, found=f"a row of {found} fields", expected=f"{expected}, one a column",
        remedy="Name every column in the header.",
    )


def _ends_with_newline(path: Path) -> bool:
    return _tail(path, 1) in (b"\n", b"\r")


def _tail(path: Path, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        return file.read()


def _check_last_line(path: Path, layout: _Layout) -> None:
    """Raise :class:`TruncatedFileError` where the file ends inside a row."""
    if _ends_with_newline(path):
        return
    tail = _tail(path, 1 << 20).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")  # old files end lines with CR alone
    above, newline, last = tail.rpartition("\n")
    if last.startswith(_COMMENT) or (not newline and path.stat().st_size > 1 << 20):
        return
    width = len(_fields(last, layout.separator))
    if 0 < width < len(layout.names) - len(layout.surplus) or not above:  # cut in a row, or in the header
        raise TruncatedFileError(
            where=path, found=f"a last line of {width} fields without an end of line", expected=f"{layout.width} fields",
            remedy="Fetch the file again.",
        )


def _blocks(path: Path, layout: _Layout, chunk: int | None, *, text_objects: bool) -> Iterator[pd.DataFrame]:
    """The rows as DataFrames of ``chunk`` rows, or as one; object columns stay text, so that "007" is not 7."""
    texts = [name for name in layout.names if name.strip().lower() in OBJECTS] if text_objects else []
    try:
        # The prologue is skipped here: pandas would take a lone quotation mark in it for the beginning of a long cell.
        with open(path, encoding="utf-8-sig", newline="") as file:
            for _ in range(layout.skip):
                file.readline()
            with pd.read_csv(
                file, sep=layout.separator, header=None, names=layout.names, index_col=False, skipinitialspace=True,
                chunksize=chunk or 2**31 - 1, dtype=dict.fromkeys(texts, str), low_memory=False,
                comment="#" if layout.separator == r"\s+" else None,
            ) as reader:
                for block in reader:
                    if any(block[name].notna().any() for name in layout.surplus):  # row names: every column would be shifted
                        raise _ragged(path, layout.width, layout.width - 1)
                    yield block.assign(**layout.constants).reset_index(drop=True)
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except (ValueError, OverflowError, Warning) as error:  # ParserError is a ValueError, ParserWarning tells of fields cut off
        raise UnreadableFileError(
            where=path, found=f"a row that does not fit the header ({error})"[:300], expected=f"{layout.width} fields a row",
            remedy="Correct the row, or fetch the file again.",
        ) from error
