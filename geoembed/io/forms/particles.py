"""Tables of jets or events: one row holds all particles, as lists or as numbered, zero-padded columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import MissingColumnError, ValueRangeError
from geoembed.graphs.blocks import Block
from geoembed.io.cloud_blocks import row_blocks
from geoembed.io.columns import ColumnBlock, FrameColumns
from geoembed.io.kinematics import ALIASES, FloatArray, IntArray, by_prefix, is_kinematic, prepare
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
        flat = _flat(FrameColumns(table), start, name)
        prepared = prepare(flat.columns, flat.counts, flat.modality)
        events = iter(range(len(flat.counts)))
        for row in range(len(table)):
            if row in flat.errors:
                yield BadRecord(str(start + row), flat.errors[row])
            else:
                yield Record(str(start + row), *prepared.event(next(events)))

    def blocks(self, table: ColumnBlock, start: int, name: str) -> Iterator[Block | Record | BadRecord]:
        """The same rows in the same order, those that are plainly good as blocks: runs of consecutive rows."""
        flat = _flat(table, start, name)
        yield from row_blocks(flat.columns, flat.counts, flat.modality, start, flat.errors)

    def to_graph(self, record: Record) -> Graph:
        """The cloud of the row's particles."""
        graph: Graph = record.payload.to_graph()
        return graph


@dataclass(frozen=True)
class Flat:
    """Particles of all rows that have any: columns by quantity, particles of each such row, and an error for each other row."""

    columns: dict[str, FloatArray]
    counts: IntArray
    modality: str
    errors: Mapping[int, Exception]


def _flat(table: ColumnBlock, start: int, name: str) -> Flat:
    modality = "jet" if _is_jet(table, name) else "event"
    lists = list_columns(table.names)
    return flat_lists(table, lists, start, name, modality) if lists else flat_padded(table, _numbered(table.names), modality)


def flat_lists(table: ColumnBlock, lists: Mapping[str, str], start: int, name: str, modality: str) -> Flat:
    """The particles of columns of lists, {quantity: column}; ``start`` is the number of the first row of the table ``name``."""
    for column in lists.values():
        if table.is_number(column) and not table.is_absent(column):
            raise MissingColumnError(
                where=f"{name}: {column}", found="one number a row", expected="a list a row: all particles of the jet or event",
                remedy="Name the column that groups the rows 'event', or write lists: table.groupby(EVENT).agg(list).",
            )
    cells = {quantity: table.lists(column) for quantity, column in lists.items()}
    lengths = np.stack([cell.counts for cell in cells.values()])
    wrong = (lengths != lengths[0]).any(0) | (lengths < 0).any(0)
    errors = {int(row): _unequal(lists, lengths[:, row], f"{name}: row {start + row}") for row in np.flatnonzero(wrong)}
    good = ~wrong
    flat = {quantity: cell.kept(good).values for quantity, cell in cells.items()}
    return Flat(_absolute(flat, table, good, lengths[0][good]), lengths[0][good], modality, errors)


def _unequal(lists: Mapping[str, str], lengths: IntArray, where: str) -> ValueRangeError:
    found = {column: int(length) if length >= 0 else "no list of numbers" for column, length in zip(lists.values(), lengths, strict=True)}
    return ValueRangeError(where=where, found=found, expected="lists of equal length",
                           remedy="Write one entry a particle in each of these columns.")


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


def _absolute(flat: dict[str, FloatArray], table: ColumnBlock, good: npt.NDArray[np.bool_], counts: IntArray) -> dict[str, FloatArray]:
    """Momenta relative to the jet (JetNet: Kansal et al. 2021) as absolute ones; without ``jet_phi`` the axis lies at phi 0."""
    if is_kinematic(flat) or not _RELATIVE.keys() <= flat.keys():
        return flat
    axis = {name: np.repeat(table.matrix([column]).ravel()[good], counts) if column in table.names else 0.0
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


def flat_padded(table: ColumnBlock, layout: Mapping[str, list[str]], modality: str) -> Flat:
    """The particles of numbered columns, {quantity: columns}; a slot whose every quantity is absent (NaN) is no particle."""
    flat = {quantity: table.matrix(names).ravel() for quantity, names in layout.items()}  # [rows · slots] each
    absent = np.logical_and.reduce([np.isnan(value) for value in flat.values()])
    if absent.any() and "valid" not in flat:
        flat["valid"] = (~absent).astype(np.float64)
    return Flat(flat, np.full(len(table), len(next(iter(layout.values()))), np.int64), modality, {})


def _is_jet(table: ColumnBlock, name: str) -> bool:
    """Whether a row is a jet: a number a row describes a jet, or the table is one for tagging, or its name says so."""
    if "jet" in name.lower() or _TAGGING & {column.lower() for column in table.names}:
        return True
    return any(_OF_JET.match(column) or (_JET_LEVEL.fullmatch(column) and table.is_number(column)) for column in table.names)
