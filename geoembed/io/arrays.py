"""Named arrays as a table: HDF5 groups and npz archives hold columns, matrices of lists and padded blocks of particles.

Arrays of equal first length are one table. A vector is a column; a matrix [n, k] is a column of lists, or several columns
where its k features have names; a block [n, k, f] of named features is f columns of lists (jets padded to k particles).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from geoembed.graphs.blocks import Block
from geoembed.io.budget import check_budget
from geoembed.io.column_map import ColumnMap
from geoembed.io.columns import ArrayColumns
from geoembed.io.forms.particle_map import MappedParticles
from geoembed.io.kinematics import MASSES
from geoembed.io.record import BadRecord, Record, TableForm
from geoembed.io.tables import form_of, table_blocks, table_records, works_on_columns

BLOCK, BLOCK_BYTES = 4096, 64 << 20

Arrays = Mapping[str, Any]
"""Arrays by name: numpy arrays, or HDF5 datasets, which are read when a block of rows is cut out of them."""

_JETNET = ("etarel", "phirel", "ptrel", "mask"), ("jet_pt", "jet_eta", "jet_mass", "jet_nparticles")
_HLS4ML = {"jetConstituentList": "particleFeatureNames", "jets": "jetFeatureNames"}
_ENERGYFLOW = ("constituent_pt", "constituent_rapidity", "constituent_phi", "constituent_pid")


@dataclass(frozen=True)
class ArrayTable:
    """Arrays of one first length ``rows``, and the names of features along their last axis, by array."""

    arrays: Arrays
    features: Mapping[str, Sequence[str]]
    rows: int
    form: TableForm | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._frame(0, 0).columns)

    def records(self, where: str | PathLike[str], name: str) -> Iterator[Record | BadRecord]:
        """Records of the form that the columns have; :class:`MissingColumnError` where they have none."""
        form = self._form(where)
        if not form.rows:
            return table_records((self._frame(0, rows) for rows in [self.rows]), form, name)  # read when asked for
        return table_records(itertools.starmap(self._frame, self._steps()), form, name)

    def blocks(self, where: str | PathLike[str], name: str) -> Iterator[Block | Record | BadRecord]:
        """The same records in the same order; many at once where the form works on columns."""
        form = self._form(where)
        if not works_on_columns(form):
            return self.records(where, name)
        return table_blocks((ArrayColumns(self._columns(*bounds), bounds[1] - bounds[0]) for bounds in self._steps()), form, name)

    def _form(self, where: str | PathLike[str]) -> TableForm:
        form = form_of(self.columns, where, self.form)
        check_budget(where, (1 if form.rows else self.rows, self._row_bytes()), 1)
        return form

    def _steps(self) -> Iterator[tuple[int, int]]:
        step = max(1, min(BLOCK, BLOCK_BYTES // max(self._row_bytes(), 1)))
        return ((low, min(low + step, self.rows)) for low in range(0, self.rows, step))

    def _row_bytes(self) -> int:
        return sum(int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize for array in self.arrays.values())

    def _frame(self, low: int, high: int) -> pd.DataFrame:
        columns = ArrayColumns(self._columns(low, high), high - low)
        return pd.DataFrame({name: columns.column(name) for name in columns.names})

    def _columns(self, low: int, high: int) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        several = sum(bool(array.dtype.names) for array in self.arrays.values()) > 1
        for name, array in self.arrays.items():
            prefix = f"{name}_" if several and array.dtype.names else ""  # tables of jets and of tracks both have a pt
            for column, values in _spread(name, array[low:high], self.features).items():
                columns[prefix + column if prefix + column not in columns else f"{name}_{column}"] = values
        return columns


def array_table(
    arrays: Arrays, named: Mapping[str, Sequence[str]] | None = None, columns: ColumnMap | None = None
) -> ArrayTable | None:
    """The table that these arrays make, or None where none of them can be a column.

    The number of rows is the first length that most arrays share (the larger one in a tie); names of features come from
    ``named``, from text arrays as long as a last axis, or from a known layout (JetNet, EnergyFlow, the jets of hls4ml). A map of
    ``columns`` names features too, and says what the columns mean.
    """
    arrays = _swath(arrays)
    texts = {name: texts_of(array) for name, array in arrays.items() if _is_text(array)}
    held = {name: array for name, array in arrays.items() if len(array.shape) > 0}
    known = _known_layouts(held, texts)
    naming = {} if known else _features(held, texts)
    features = known | {name: texts[key] for name, key in naming.items()} | dict(named or {}) | dict(columns.features if columns else {})
    able = {name: array for name, array in held.items() if _spread(name, array[0:0], features)}
    names = {*naming.values(), *_HLS4ML.values()}  # texts that name features are no rows
    lengths = Counter(int(array.shape[0]) for name, array in able.items() if name not in names)
    if not lengths:
        return None
    rows = max(lengths, key=lambda length: (lengths[length], length))
    return ArrayTable({name: array for name, array in able.items() if array.shape[0] == rows}, features, rows,
                      MappedParticles(columns) if columns else None)


def _spread(name: str, block: Any, features: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Columns of a block of rows [b, …]; none where the block is no column."""
    if block.dtype.names:
        columns: dict[str, Any] = {}
        for field in block.dtype.names:
            columns |= _spread(field, block[field], features)
        return columns
    named = features.get(name, ())
    if block.ndim == 1:
        return {name: _decoded(block)}
    if block.ndim == 2 and named:
        return {feature: block[:, number] for number, feature in enumerate(named)}
    if block.ndim == 2 and block.dtype.kind in "biuf":
        return {name: block}
    if block.ndim == 3 and named:
        return {feature: block[:, :, number] for number, feature in enumerate(named)}
    return {}


@dataclass(frozen=True)
class _Raveled:
    """A matrix as one vector, row after row."""

    matrix: Any

    @property
    def shape(self) -> tuple[int]:
        return (int(np.prod(self.matrix.shape)),)

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = self.matrix.dtype
        return kind

    def __getitem__(self, rows: slice) -> Any:
        empty = rows.start == rows.stop  # asked for its type alone
        return self.matrix[0:0].reshape(-1) if empty else self.matrix[:].reshape(-1)[rows]


def _swath(arrays: Arrays) -> Arrays:
    """Scan lines [lines, pixels] with a latitude and longitude for each pixel are a table of points."""
    lat = next((name for name in arrays if name.lower() in ("lat", "latitude")), "")
    lon = next((name for name in arrays if name.lower() in ("lon", "longitude")), "")
    if not lat or not lon or len(arrays[lat].shape) != 2 or arrays[lat].shape != arrays[lon].shape:
        return arrays
    return {name: _Raveled(array) for name, array in arrays.items() if array.shape == arrays[lat].shape}


def _decoded(column: Any) -> Any:
    """Bytes as text, numbers in native byte order, so that pandas takes them."""
    if column.dtype.kind == "S":
        return np.char.decode(column, "utf-8", "replace").astype(object)
    if column.dtype.kind == "O":
        return pd.Series([cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell for cell in column], dtype=object)
    return column.astype(column.dtype.newbyteorder("="))


def _is_text(array: Any) -> bool:
    """Whether an array is a short vector of texts: it may name features."""
    text = array.dtype.kind in "SU" or (array.dtype.metadata or {}).get("vlen") in (str, bytes)  # the latter: text in HDF5
    return text and len(array.shape) == 1 and 0 < array.shape[0] <= 10_000


def texts_of(array: Any) -> list[str]:
    """Cells of a vector of texts as strings; bytes are taken as UTF-8."""
    return [cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for cell in array[:]]


def _features(arrays: Arrays, texts: Mapping[str, list[str]]) -> dict[str, str]:
    """{matrix or block: the text array that names the entries of its last axis}."""
    found: dict[str, str] = {}
    for name, array in arrays.items():
        if len(array.shape) not in (2, 3) or array.dtype.kind not in "biuf":
            continue
        fitting = [key for key, names in texts.items() if len(names) == array.shape[-1] and len(set(names)) == len(names)]
        if fitting:
            found[name] = min(fitting, key=lambda key: (not _related(key, name), key))
    return found


def _related(names: str, array: str) -> bool:
    """Whether ``particleFeatureNames`` belongs to ``particles``: they start alike."""
    return names[:3].lower() == array[:3].lower()


def _known_layouts(arrays: Arrays, texts: Mapping[str, list[str]]) -> dict[str, Sequence[str]]:
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    found: dict[str, Sequence[str]] = {}
    particles, jets = shapes.get("particle_features", ()), shapes.get("jet_features", ())
    if len(particles) == 3 and particles[-1] in (3, 4) and len(jets) == 2 and 2 <= jets[-1] <= 4:
        found = {"particle_features": _JETNET[0][: particles[-1]], "jet_features": _JETNET[1][: jets[-1]]}
    if "jetConstituentList" in shapes and "particleFeatureNames" in texts:
        for name, names in _HLS4ML.items():
            width, known = shapes.get(name, (0,))[-1], texts.get(names, [])
            if width and len(known) in (width, width + 1):  # the last name of a particle, its PDG code, has no column there
                found[name] = known[:width]
    block = shapes.get("X", ())
    if len(block) == 3 and block[-1] == 4 and "y" in shapes and _holds_pdg_codes(arrays["X"][:64, :, 3]):
        found["X"] = _ENERGYFLOW
    return found


def _holds_pdg_codes(column: Any) -> bool:
    """Whether numbers are the codes of particles that reach a detector: then X is (pt, rapidity, phi, code), not a momentum."""
    return bool(column.size and (column != 0).any() and np.isin(np.abs(column), [0, 22, *MASSES]).all())
