"""Columns of an Arrow batch as a :class:`ColumnBlock`: lists are the flat values that Arrow already holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from geoembed.io.columns import ColumnBlock, FloatArray, FrameColumns, Lists


class ArrowColumns:
    """A batch of rows; what Arrow holds in another way than as numbers and lists of numbers is asked of its DataFrame."""

    def __init__(self, batch: pa.RecordBatch, frame: Callable[[pa.RecordBatch], pd.DataFrame]) -> None:
        self.batch, self._frame = batch, frame

    @property
    def names(self) -> list[str]:
        return list(self.batch.schema.names)

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def is_number(self, name: str) -> bool:
        kind = self.batch.column(name).type
        return _is_plain(kind) or (not _is_list(kind) and self._framed([name]).is_number(name))

    def is_absent(self, name: str) -> bool:
        column = self.batch.column(name)
        return self._framed([name]).is_absent(name) if column.null_count or not len(column) or _may_be_nan(column.type) else False

    def matrix(self, names: Sequence[str]) -> FloatArray:
        columns = [self.batch.column(name) for name in names]
        if not all(_is_plain(column.type) for column in columns):
            return self._framed(names).matrix(names)
        by_column = np.empty((len(columns), len(self)))
        for row, column in zip(by_column, columns, strict=True):
            row[:] = column.to_numpy(zero_copy_only=False)  # a null is NaN
        return np.ascontiguousarray(by_column.T)

    def lists(self, name: str) -> Lists:
        column = self.batch.column(name)
        kind = column.type
        if column.null_count or not (_is_list(kind) and _is_plain(kind.value_type)):
            return self._framed([name]).lists(name)
        values = column.flatten()  # of the rows of this slice
        if pa.types.is_fixed_size_list(kind):
            counts = np.full(len(column), kind.list_size, np.int64)
        else:
            counts = np.diff(column.offsets.to_numpy()).astype(np.int64)
        return Lists(values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False), counts)

    def _framed(self, names: Sequence[str]) -> ColumnBlock:
        return FrameColumns(self._frame(self.batch.select(list(names))))


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _may_be_nan(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_dictionary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
