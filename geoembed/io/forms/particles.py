"""Tables of jets or events: one row holds all particles, as lists or as numbered, zero-padded columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import MissingColumnError, ValueRangeError
from geoembed.io.kinematics import ALIASES, FloatArray, by_prefix, is_kinematic, split
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

_CONSTITUENT = "part|particle|pf|pfcand|cand|candidate|const|constituent|clus|cluster|track|trk|tower|j1"
_PARTICLE_PREFIX = re.compile(rf"(.*[._])?({_CONSTITUENT})s?[._]", re.I)
_NUMBERED = re.compile(r"(?P<name>" + "|".join(n for n in ALIASES if n.isalpha()) + r")_?(?P<number>\d{1,4})", re.I)
_JET_LEVEL = re.compile(r"([a-z]*jet[a-z0-9]*|j|fj)_(pt|eta|phi|m|mass|sdmass|softdrop|energy|e|nparticles)", re.I)
_OF_JET = re.compile(r"(const|constituent)s?_", re.I)
_TAGGING = {"is_signal_new", "is_signal", "ttv", "truthe", "jet_type", "jetlabel"}


class ParticleTable:
    """Jets or events, one a row: (pt, eta, phi) or (px, py, pz) in GeV and rad, with energy or mass, charge, PDG code if given.

    Two layouts: list columns, with or without a common prefix (``pt``, ``part_px``), and numbered columns padded with
    zeros (``E_0, PX_0, PY_0, PZ_0, … E_199``, as in the top-tagging reference tables). Columns that describe the whole jet
    and labels are never inputs. The key of a record is its row number.
    """

    kind = "cloud"
    rows = True
    columns = "lists pt, eta, phi (or px, py, pz) with energy|mass, charge, pid; or E_0, PX_0, PY_0, PZ_0, E_1 …"

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether list or numbered columns of a kinematic set are there, by name."""
        return bool(list_columns(columns) or _numbered(columns))

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record a row; a row whose lists differ in length, or are no lists of numbers, is a :class:`BadRecord`."""
        columns = [str(column) for column in table.columns]
        modality = "jet" if _is_jet(table, name) else "event"
        lists = list_columns(columns)
        if not lists:
            yield from _keyed(start, split(*_numbered_values(table, _numbered(columns)), modality))
            return
        cells, errors = _cells(table, lists, start, name)
        good = np.array([i for i in range(len(table)) if i not in errors], np.int64)
        first = next(iter(lists))
        counts = np.array([len(cells[first][i]) for i in good], np.int64)
        flat = {quantity: np.concatenate([np.empty(0), *(rows[i] for i in good)]) for quantity, rows in cells.items()}
        events = split(_absolute(flat, table, good, counts), counts, modality)
        for row in range(len(table)):
            if row in errors:
                yield BadRecord(str(start + row), errors[row])
            else:
                yield from _keyed(start + row, [next(events)])

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the row's particles."""
        graph: Graph = record.payload.to_graph()
        return graph


def _keyed(start: int, events: Any) -> Iterator[Record]:
    for row, (payload, notes) in enumerate(events):
        yield Record(str(start + row), payload, notes)


def list_columns(columns: Sequence[str]) -> dict[str, str]:
    """{quantity: column} of the list layout: names without a prefix first, then those with the prefix of a constituent."""
    groups = by_prefix(columns)
    axis = {"jet_pt", "jet_eta"} <= set(columns)
    for prefix in sorted(groups, key=lambda text: (text != "", text)):
        group = groups[prefix]
        if not prefix or _PARTICLE_PREFIX.fullmatch(prefix):
            if is_kinematic(group):
                return group
            if axis and _RELATIVE.keys() <= group.keys():
                return group
    return {}


_RELATIVE = {"ptrel": "pt", "etarel": "eta", "phirel": "phi"}


def _absolute(
    flat: dict[str, FloatArray], table: pd.DataFrame, good: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> dict[str, FloatArray]:
    """Momenta relative to the jet (JetNet: Kansal et al. 2021) as absolute ones; without ``jet_phi`` the axis lies at phi 0."""
    if is_kinematic(flat) or not _RELATIVE.keys() <= flat.keys():
        return flat
    axis = {name: np.repeat(numeric(table[[column]]).ravel()[good], counts) if column in table else 0.0
            for name, column in (("pt", "jet_pt"), ("eta", "jet_eta"), ("phi", "jet_phi"))}
    return flat | {"pt": flat["ptrel"] * axis["pt"], "eta": flat["etarel"] + axis["eta"], "phi": flat["phirel"] + axis["phi"]}


def _numbered(columns: Sequence[str]) -> dict[str, list[str]]:
    """{quantity: columns in order of their numbers} of the padded layout; quantities of unequal numbering are left out."""
    found: dict[str, dict[int, str]] = {}
    for column in columns:
        match = _NUMBERED.fullmatch(column)
        if match:
            found.setdefault(ALIASES[match["name"].lower()], {})[int(match["number"])] = column
    momenta = found.get("px") or found.get("pt")
    if not momenta:
        return {}
    same = {quantity: [slots[i] for i in sorted(slots)] for quantity, slots in found.items() if slots.keys() == momenta.keys()}
    return same if is_kinematic(same) else {}


def _numbered_values(table: pd.DataFrame, layout: Mapping[str, list[str]]) -> tuple[dict[str, FloatArray], npt.NDArray[np.int64]]:
    """Flat columns and counts; a slot whose every quantity is absent (NaN) is treated as the table's own mask."""
    values = {quantity: numeric(table.loc[:, names]) for quantity, names in layout.items()}  # [rows, slots] each
    absent = np.logical_and.reduce([np.isnan(value) for value in values.values()])
    flat = {quantity: value.ravel() for quantity, value in values.items()}
    if absent.any() and "valid" not in flat:
        flat["valid"] = (~absent).ravel().astype(np.float64)
    slots = len(next(iter(layout.values())))
    return flat, np.full(len(table), slots, np.int64)


def numeric(part: pd.DataFrame) -> FloatArray:
    """Columns as float64 [rows, columns]; a text that is no number becomes NaN, which the builder refuses in that record."""
    try:
        values: FloatArray = part.to_numpy(np.float64)
    except (ValueError, TypeError):  # text in a cell: it becomes NaN, and the builder refuses that row alone
        values = part.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return values


def _cells(
    table: pd.DataFrame, lists: Mapping[str, str], start: int, name: str
) -> tuple[dict[str, list[FloatArray]], dict[int, Exception]]:
    """The lists of each quantity, and an error for each row that has none or unequal ones."""
    cells: dict[str, list[FloatArray]] = {}
    lengths = np.empty((len(lists), len(table)), np.int64)
    for number, (quantity, column) in enumerate(lists.items()):
        if pd.api.types.is_numeric_dtype(table[column]) and table[column].notna().any():
            raise MissingColumnError(
                where=f"{name}: {column}", found="one number a row", expected="a list a row: all particles of the jet or event",
                remedy="Name the column that groups the rows 'event', or write lists: table.groupby(EVENT).agg(list).",
            )
        cells[quantity] = [_numbers(cell) for cell in table[column]]
        lengths[number] = [len(cell) if cell.ndim == 1 else -1 for cell in cells[quantity]]
    errors: dict[int, Exception] = {}
    for row in np.flatnonzero((lengths != lengths[0]).any(0) | (lengths < 0).any(0)):
        found = {column: int(length) if length >= 0 else "no list of numbers"
                 for column, length in zip(lists.values(), lengths[:, row], strict=True)}
        errors[int(row)] = ValueRangeError(
            where=f"{name}: row {start + row}", found=found, expected="lists of equal length",
            remedy="Write one entry a particle in each of these columns.",
        )
    return cells, errors


_NO_LIST: FloatArray = np.array(np.nan)


def _numbers(cell: object) -> FloatArray:
    """A cell as [n] float64; without dimension where it is no list of numbers. A JSON list as text (from CSV) is read."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            return _NO_LIST
    if not isinstance(cell, (list, tuple, np.ndarray)):
        return _NO_LIST
    try:
        values = np.asarray(cell, np.float64)
    except (ValueError, TypeError):
        return _NO_LIST
    return values if values.ndim == 1 else _NO_LIST


def _is_jet(table: pd.DataFrame, name: str) -> bool:
    """Whether a row is a jet: a number a row describes a jet, or the table is one for tagging, or its name says so."""
    columns = [str(column) for column in table.columns]
    if "jet" in name.lower() or _TAGGING & {column.lower() for column in columns}:
        return True
    return any(
        _OF_JET.match(column) or (_JET_LEVEL.fullmatch(column) and pd.api.types.is_numeric_dtype(table[column])) for column in columns
    )
