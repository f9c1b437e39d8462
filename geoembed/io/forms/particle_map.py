"""Tables of particles whose columns are named by a :class:`ColumnMap`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from geoembed.errors import MissingColumnError
from geoembed.graphs.blocks import Block
from geoembed.io.cloud_blocks import row_blocks
from geoembed.io.column_map import ColumnMap
from geoembed.io.columns import ColumnBlock, FloatArray, FrameColumns
from geoembed.io.forms.particle_rows import grouped_records
from geoembed.io.forms.particles import Flat, flat_lists, flat_padded
from geoembed.io.kinematics import prepare
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph, Scalar

_MOMENTA = frozenset({"pt", "px", "py", "pz", "energy", "mass"})


class MappedParticles:
    """The form that a map describes; everything else about it is that of :class:`ParticleTable` and :class:`ParticleRows`."""

    kind = "cloud"

    def __init__(self, columns: ColumnMap) -> None:
        self.map, self.rows = columns, columns.layout != "rows"
        self.columns = ", ".join([*columns.columns.values(), *columns.event, *columns.labels])

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether every column that the map names is there."""
        there = set(columns)
        beside = {*self.map.event, *self.map.labels}
        return beside <= there and all(bool(_slots(name, columns)) if "{}" in name else name in there for name in self.map.columns.values())

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record a row, or an event where a row is a particle."""
        if not self.rows:
            yield from grouped_records(table, self.map.named, self.map.event, self.map.modality, name,
                                       scale=self._scaled, labels=self.map.labels, remark=self._remark)
            return
        block = FrameColumns(table)
        flat = self._flat(block, start, name)
        prepared, labels = prepare(flat.columns, flat.counts, self.map.modality), self._labels(block, flat)
        events = iter(range(len(flat.counts)))
        for row in range(len(table)):
            if row in flat.errors:
                yield BadRecord(str(start + row), flat.errors[row])
                continue
            event = next(events)
            payload, notes = prepared.event(event)
            own = None if labels is None else labels[event]
            yield Record(str(start + row), replace(payload, labels=own), {**self._remark, **notes})

    def blocks(self, table: ColumnBlock, start: int, name: str) -> Iterator[Block | Record | BadRecord]:
        """The same rows in the same order, those that are plainly good as blocks."""
        flat = self._flat(table, start, name)
        return row_blocks(flat.columns, flat.counts, self.map.modality, start, flat.errors, remark=self._remark,
                          labels=self._labels(table, flat))

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the row's particles, with its labels."""
        graph: Graph = record.payload.to_graph()
        return graph

    @property
    def _remark(self) -> Mapping[str, Scalar]:
        return {} if self.map.unit == "GeV" else {"momenta_in": self.map.unit}

    def _scaled(self, columns: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return scaled(columns, self.map)

    def _flat(self, table: ColumnBlock, start: int, name: str) -> Flat:
        if self.map.layout == "padded":
            slots = {quantity: _slots(column, table.names) for quantity, column in self.map.named.items()}
            if len({tuple(numbers) for numbers in slots.values()}) > 1:
                raise MissingColumnError(where=name, found={key: f"{len(value)} columns" for key, value in slots.items()},
                                         expected="as many of each quantity, numbered alike", remedy="Correct the column map.")
            columns = {key: [self.map.named[key].replace("{}", number) for number in numbers] for key, numbers in slots.items()}
            flat = flat_padded(table, columns, self.map.modality)
        else:
            flat = flat_lists(table, self.map.named, start, name, self.map.modality)
        return replace(flat, columns=self._scaled(flat.columns))

    def _labels(self, table: ColumnBlock, flat: Flat) -> FloatArray | None:
        """[rows with particles, T]."""
        return labels_of(table, self.map.labels, np.delete(np.arange(len(table)), list(flat.errors)))


def scaled(columns: Mapping[str, FloatArray], given: ColumnMap) -> dict[str, FloatArray]:
    """Columns by quantity with momenta, energies and masses in GeV."""
    return {name: column * given.scale if name in _MOMENTA and given.scale != 1 else column for name, column in columns.items()}


def labels_of(table: ColumnBlock, names: Sequence[str], rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray | None:
    """Columns of labels for some rows: [rows, T]; None where none is named. A text is no label."""
    for name in names:
        if not table.is_number(name):
            raise MissingColumnError(where=f"labels: {name}", found="no column of numbers", expected="one number a row",
                                     remedy="Encode classes as numbers, or leave the column out of labels.")
    return table.matrix(names)[rows] if names else None


def _slots(pattern: str, columns: Sequence[str]) -> list[str]:
    """Numbers of the columns that fit a pattern, in order."""
    before, _, after = pattern.partition("{}")
    fitting = re.compile(re.escape(before) + r"(\d{1,5})" + re.escape(after))
    return sorted((match[1] for match in map(fitting.fullmatch, columns) if match), key=int)
