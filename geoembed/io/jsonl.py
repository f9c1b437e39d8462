"""JSON lines: one object a line; lines are rows, keys are columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from geoembed.errors import BudgetError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.io.budget import check_budget
from geoembed.io.record import BadRecord, Record, TableForm
from geoembed.io.tables import TableRecord, form_of
from geoembed.schema import Graph

BLOCK = 1024
LONGEST = 64 << 20
"""Bytes of the longest line that is read."""


class Jsonl:
    """JSON lines as a table, in blocks of 1,024 lines; a broken line is a :class:`BadRecord` and the rest goes on.

    The key of a row is the number of its line from 0. A list of objects ``{"particles": [{"pt": 1.0}]}`` is read as the
    list column ``particles_pt``.
    """

    kind = "table"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson", ".jsonlines")
    lines = suffixes

    def can_open(self, head: bytes, name: str) -> bool:
        """By the suffix, and an object that opens the file."""
        return name.endswith(self.suffixes) and head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Records in file order, of the form that the keys of the first block have."""
        form: TableForm | None = None
        whole: list[dict[str, Any]] = []
        columns: dict[str, None] = {}  # in order of appearance: a row that lacks one has an empty cell there
        with open(path, "rb") as file:
            for item in _items(file, path):
                if isinstance(item, BadRecord):
                    yield item
                    continue
                start, rows = item
                columns |= dict.fromkeys(key for row in rows for key in row)
                if form is None:
                    form = form_of(list(columns), path)
                    if not form.rows:  # all rows at once: as Python objects they take some 8 times their text
                        check_budget(path, (path.stat().st_size, 8), 1)
                if form.rows:
                    yield from _records(form, pd.DataFrame(rows, columns=list(columns)), start, path.stem)
                else:
                    whole += rows
        if form is None:
            raise EmptyGraphError(where=path, found="no object on any line", expected="one JSON object a line",
                                  remedy="Write one object a line, without a list around them.")
        if whole:
            yield from _records(form, pd.DataFrame(whole, columns=list(columns)), 0, path.stem)

    def to_graph(self, record: Record) -> Graph:
        """The graph that the table's form makes of the record."""
        payload: TableRecord = record.payload
        return payload.to_graph()


def _records(form: TableForm, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
    for record in form.records(table, start, name):
        yield record if isinstance(record, BadRecord) else Record(record.key, TableRecord(form, record), record.notes)


def _items(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[dict[str, Any]]] | BadRecord]:
    """Blocks of consecutive good lines (number of the first, rows), and the bad lines between them."""
    start, rows = 0, []
    for number, line in enumerate(iter(lambda: file.readline(LONGEST), b"")):
        item = _row(line, str(number), path)
        if isinstance(item, dict):
            rows.append(item)
        if rows and (not isinstance(item, dict) or len(rows) == BLOCK):
            yield start, rows
            rows = []
        if isinstance(item, BadRecord):
            yield item
        if not rows:
            start = number + 1
    if rows:
        yield start, rows


def _row(line: bytes, key: str, path: Path) -> dict[str, Any] | BadRecord | None:
    """The object of a line with lists of objects as lists; None where the line is blank."""
    if not line.strip():
        return None
    where = f"{path} [line {int(key) + 1}]"
    if len(line) == LONGEST and not line.endswith(b"\n"):
        raise BudgetError(where=where, found="a line without an end", expected=f"lines of at most {LONGEST >> 20} MiB",
                          remedy="Split the record.")
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half of a pair of surrogates is no text: refused here
    except (ValueError, RecursionError) as error:
        if line.endswith(b"\n"):
            return BadRecord(key, UnreadableFileError(where=where, found=f"{error}"[:200], expected="one JSON object",
                                                      remedy="Correct or remove the line."))
        return BadRecord(key, TruncatedFileError(where=where, found=f"a last line that breaks off ({error})"[:200],
                                                 expected="one JSON object and a line end", remedy="Fetch the file again."))
    if not isinstance(row, dict):
        return BadRecord(key, UnreadableFileError(where=where, found=type(row).__name__, expected="one JSON object",
                                                  remedy="Write one object a line, without a list around them."))
    return _flat(row)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are unique: of two values under one name, a parser keeps the last and says nothing."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key that stands twice in one object")
    return row


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Lists of objects as one list a key: {"a": [{"b": 1}, {"b": 2}]} -> {"a_b": [1, 2]}."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(cell, dict) for cell in value):
            keys = dict.fromkeys(key for cell in value for key in cell)
            flat |= {f"{name}_{key}": [cell.get(key) for cell in value] for key in keys}
        else:
            flat[name] = value
    return flat
