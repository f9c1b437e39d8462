"""Tables: whatever their container, the columns decide what they mean.

A container (CSV, Parquet, HDF5, FITS table, npz …) hands a pandas DataFrame to :func:`form_of` and :func:`table_records`;
the forms are plug-ins of the group ``geoembed.tables``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from geoembed import registry
from geoembed.errors import MissingColumnError
from geoembed.graphs.blocks import Block
from geoembed.io.columns import ColumnBlock
from geoembed.io.record import BadRecord, Joint, Record, TableForm
from geoembed.schema import Graph


@dataclass(frozen=True)
class TableRecord:
    """Payload of a record of a table: the form that understands it, and the form's own record."""

    form: TableForm
    record: Record

    def to_graph(self) -> Graph:
        """The graph that the form makes of it."""
        return self.form.to_graph(self.record)

    @property
    def size(self) -> int:
        """Nodes of the graph, where the form's payload says so; else more than any."""
        payload = self.record.payload
        return int(payload.size) if hasattr(payload, "graphs") else sys.maxsize  # a Joint; isinstance would look at each name

    def graphs(self, payloads: Sequence[Any]) -> list[Graph]:
        """The graphs of some rows whose payloads are built together."""
        inner = [payload.record.payload for payload in payloads]
        joint: Joint = inner[0]
        return joint.graphs(inner)


def forms() -> dict[str, TableForm]:
    """One instance of every registered table form, by name."""
    return {name: form() for name, form in registry.load_all("geoembed.tables").items()}


def form_of(columns: Sequence[str], where: str | PathLike[str], given: TableForm | None = None) -> TableForm:
    """The form that a table with these columns has; ``given`` is the only one considered, where there is one.

    :class:`MissingColumnError` lists what is there and what each form looks for.
    """
    if given is not None:
        if given.matches(columns):
            return given
        raise MissingColumnError(where=where, found=list(columns), expected=given.columns, remedy="Correct the column map.")
    known = forms()
    for form in known.values():
        if form.matches(columns):
            return form
    shown = list(columns[:12]) + (["…"] if len(columns) > 12 else [])
    raise MissingColumnError(
        where=where, found=shown, expected="; or ".join(f"{name}: {form.columns}" for name, form in known.items()),
        remedy="Rename the columns.",
    )


def table_records(blocks: Iterable[Any], form: TableForm, name: str) -> Iterator[Record | BadRecord]:
    """Records of a table given as DataFrames in row order (one block where ``form.rows`` is False)."""
    start = 0
    for block in blocks:
        for record in form.records(block, start, name):
            yield record if isinstance(record, BadRecord) else Record(record.key, TableRecord(form, record), record.notes)
        start += len(block)


def works_on_columns(form: TableForm) -> bool:
    """Whether the form takes blocks of whole columns: it then has a method ``blocks`` with the arguments of ``records``."""
    return form.rows and hasattr(form, "blocks")


def table_blocks(blocks: Iterable[ColumnBlock], form: TableForm, name: str) -> Iterator[Block | Record | BadRecord]:
    """As :func:`table_records`, of a form that works on columns: what is good comes as blocks of many records."""
    start = 0
    for block in blocks:
        for item in form.blocks(block, start, name):  # type: ignore[attr-defined]
            yield Record(item.key, TableRecord(form, item), item.notes) if isinstance(item, Record) else item
        start += len(block)


def find(columns: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Which column holds which quantity: {quantity: column}, by case-insensitive alias, the first alias that fits.

    >>> find(["MJD", "flux"], {"time": ["time", "mjd"], "mag": ["mag"]})
    {'time': 'MJD'}
    """
    lower = {column.strip().lower(): column for column in reversed(list(columns))}
    found = {}
    for quantity, names in aliases.items():
        column = next((lower[alias] for alias in names if alias in lower), None)
        if column is not None:
            found[quantity] = column
    return found
