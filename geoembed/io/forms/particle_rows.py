"""Tables with one particle a row and a column that says to which event or jet it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from geoembed.errors import ValueRangeError
from geoembed.io.columns import FloatArray, numeric
from geoembed.io.forms.particles import ParticleTable, list_columns
from geoembed.io.kinematics import IntArray, split
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import find
from geoembed.schema import Graph, Scalar

_EVENT = ("event", "event_id", "eventid", "event_number", "eventnumber", "evt", "evt_id", "ievent", "jet_id", "jetid", "jet_index")
_NO_NOTES: Mapping[str, Scalar] = {}
_RUN = {"run": ("run", "run_number", "runnumber"), "block": ("luminosityblock", "lumi", "ls")}


class ParticleRows:
    """Events or jets in long form: rows with one ``event`` (and ``run``, ``luminosityBlock``) are one cloud.

    Kinematic columns as in :class:`ParticleTable`, one number a row. Events come in order of their first row; the key is
    the event's number, with those of run and block before it where the table has them. A table that has lists beside an
    event number is read as :class:`ParticleTable` does.
    """

    kind = "cloud"
    rows = False
    columns = "event, and pt, eta, phi (or px, py, pz) of one particle a row"

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether an event column stands beside kinematic columns."""
        return bool(find(columns, {"event": _EVENT}) and list_columns(columns))

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record an event; rows without an event number are one :class:`BadRecord`."""
        columns = [str(column) for column in table.columns]
        lists = list_columns(columns)
        if not all(pd.api.types.is_numeric_dtype(table[column]) for column in lists.values()) and _holds_lists(table, lists):
            yield from ParticleTable().records(table, start, name)
            return
        event = find(columns, {"event": _EVENT})["event"]
        modality = "jet" if "jet" in event.lower() or "jet" in name.lower() else "event"
        yield from grouped_records(table, lists, [*find(columns, _RUN).values(), event], modality, name)

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the event's particles."""
        graph: Graph = record.payload.to_graph()
        return graph


def grouped_records(
    table: pd.DataFrame, columns: Mapping[str, str], identity: Sequence[str], modality: str, name: str, *,
    scale: Callable[[Mapping[str, FloatArray]], dict[str, FloatArray]] = dict, labels: Sequence[str] = (),
    remark: Mapping[str, Scalar] = _NO_NOTES,
) -> Iterator[Record | BadRecord]:
    """Records of a table with one particle a row.

    Args:
        columns: {quantity: column}.
        identity: columns whose values together name the event.
        scale: what brings the columns to GeV.
        labels: columns that become targets; their value is that of the event's first row.
        remark: notes of every record.
    """
    named = table[list(identity)]
    code, first = _grouped(named)
    order = np.argsort(code, kind="stable")[int((code < 0).sum()) :]
    flat = scale({quantity: numeric(table[[column]]).ravel()[order] for quantity, column in columns.items()})
    counts = np.bincount(code[code >= 0], minlength=len(first))
    targets = numeric(table[list(labels)])[first] if labels else None
    keys = [":".join(map(_number, row)) for row in named.iloc[first].itertuples(index=False)]
    for event, (key, (payload, notes)) in enumerate(zip(keys, split(flat, counts, modality), strict=True)):
        yield Record(key, payload if targets is None else replace(payload, labels=targets[event]), {**remark, **notes})
    if (code < 0).any():
        yield BadRecord("", ValueRangeError(where=f"{name}: {identity[-1]}", found=f"{int((code < 0).sum())} rows without a number",
                                            expected="one a row", remedy="Fill in the event of each particle."))


def _number(cell: object) -> str:
    """An event number as text; a missing one elsewhere in the column has made it a float."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _holds_lists(table: pd.DataFrame, lists: dict[str, str]) -> bool:
    column = next(iter(lists.values()))
    return any(isinstance(cell, (list, np.ndarray)) or (isinstance(cell, str) and cell.startswith("[")) for cell in table[column][:1])


def _grouped(identity: pd.DataFrame) -> tuple[IntArray, list[int]]:
    """Group of each row in order of first appearance (−1 where a number is missing), and the first row of each group."""
    groups = identity.groupby(list(identity.columns), sort=False, dropna=True)
    code: IntArray = groups.ngroup().fillna(-1).to_numpy().astype(np.int64)
    first = np.unique(code, return_index=True)
    return code, [int(row) for group, row in zip(*first, strict=True) if group >= 0]
