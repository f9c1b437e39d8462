"""Columns of a block of rows, whatever holds them: one number a row, or one list a row kept flat.

A form of tables that can work on whole columns asks these questions; each container (DataFrame, Arrow batch, NumPy arrays)
answers from what it has, without an object a row where it can.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """A list of numbers a row: all values [sum of counts], and the length of each row's list [rows], −1 where it has none."""

    values: FloatArray
    counts: IntArray

    @classmethod
    def of_cells(cls, cells: Sequence[FloatArray]) -> Lists:
        """From one array a row; an array that is no vector is no list."""
        counts = np.array([len(cell) if cell.ndim == 1 else -1 for cell in cells], np.int64)
        return cls(np.concatenate([np.empty(0), *(cell for cell in cells if cell.ndim == 1)]), counts)

    def kept(self, rows: npt.NDArray[np.bool_]) -> Lists:
        """The lists of the rows that are kept."""
        if rows.all():
            return self
        return Lists(self.values[np.repeat(rows, np.maximum(self.counts, 0))], self.counts[rows])


class ColumnBlock(Protocol):
    """Some rows of a table, by column."""

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        ...

    def __len__(self) -> int:
        """Rows."""
        ...

    def is_number(self, name: str) -> bool:
        """Whether the column is of a numeric type: one number a row."""
        ...

    def is_absent(self, name: str) -> bool:
        """Whether every row of the column is missing."""
        ...

    def matrix(self, names: Sequence[str]) -> FloatArray:
        """Columns of one number a row as [rows, columns]; what is no number is NaN."""
        ...

    def lists(self, name: str) -> Lists:
        """A column of lists of numbers."""
        ...


class FrameColumns:
    """Columns of a pandas DataFrame; lists are its cells, or JSON lists as text."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    @property
    def names(self) -> list[str]:
        return [str(column) for column in self.frame.columns]

    def __len__(self) -> int:
        return len(self.frame)

    def is_number(self, name: str) -> bool:
        return bool(pd.api.types.is_numeric_dtype(self.frame[name]))

    def is_absent(self, name: str) -> bool:
        return not bool(self.frame[name].notna().any())

    def matrix(self, names: Sequence[str]) -> FloatArray:
        return numeric(self.frame.loc[:, list(names)])

    def lists(self, name: str) -> Lists:
        return Lists.of_cells([_numbers(cell) for cell in self.frame[name]])


def numeric(part: pd.DataFrame) -> FloatArray:
    """Columns as float64 [rows, columns]; a text that is no number becomes NaN, which the builder refuses in that record."""
    try:
        values: FloatArray = part.to_numpy(np.float64)
    except (ValueError, TypeError):  # text in a cell: it becomes NaN, and the builder refuses that row alone
        values = part.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return values


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


class ArrayColumns:
    """Columns of NumPy arrays of equal first length: vectors are numbers, matrices [rows, k] are lists of k."""

    def __init__(self, arrays: dict[str, Any], rows: int) -> None:
        self.arrays, self.rows = arrays, rows

    @property
    def names(self) -> list[str]:
        return list(self.arrays)

    def __len__(self) -> int:
        return self.rows

    def is_number(self, name: str) -> bool:
        column = self.arrays[name]
        return bool(column.ndim == 1 and column.dtype.kind in "biufc")

    def is_absent(self, name: str) -> bool:
        return not bool(pd.Series(self.arrays[name]).notna().any()) if self.arrays[name].ndim == 1 else self.rows == 0

    def matrix(self, names: Sequence[str]) -> FloatArray:
        if all(self.is_number(name) and self.arrays[name].dtype.kind != "c" for name in names):
            by_column = np.empty((len(names), self.rows))
            for row, name in zip(by_column, names, strict=True):
                row[:] = self.arrays[name]
            return np.ascontiguousarray(by_column.T)
        return self._frame(names).matrix(names)

    def lists(self, name: str) -> Lists:
        column = self.arrays[name]
        if column.ndim == 2 and column.dtype.kind in "biuf":
            values = np.ascontiguousarray(column).reshape(-1).astype(np.float64, copy=False)
            return Lists(values, np.full(self.rows, column.shape[1], np.int64))
        return self._frame([name]).lists(name)

    def _frame(self, names: Sequence[str]) -> FrameColumns:
        return FrameColumns(pd.DataFrame({name: self.column(name) for name in names}))

    def column(self, name: str) -> Any:
        """A column as a DataFrame takes it: a matrix becomes an object column of its rows."""
        column = self.arrays[name]
        return pd.Series(list(column), dtype=object) if getattr(column, "ndim", 1) == 2 else column
