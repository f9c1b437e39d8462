"""Cells of a table as numbers: what is a number, what is a mark for "missing", and what is neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import ValueRangeError

Floats = npt.NDArray[np.float64]

MISSING = frozenset({"", "-", "--", "---", "...", "nan", "none", "null", "na", "n/a", "nd", "masked", "<na>"})
"""Texts (lower case) that mean "no value"."""


@dataclass(frozen=True)
class Numbers:
    """A column of a table as float64.

    Attributes:
        name: name of the column.
        values: [N]; NaN where a cell is a missing mark.
        unread: [N] bool; True where a cell is neither a number nor a missing mark.
        cells: [N] the cells as they were, for the message.
    """

    name: str
    values: Floats
    unread: npt.NDArray[np.bool_]
    cells: pd.Series

    def check(self, rows: npt.NDArray[np.int64], where: str) -> None:
        """Raise :class:`ValueRangeError` where one of ``rows`` is unread, infinite or beyond float64."""
        self._refuse(rows[self.unread[rows] | np.isinf(self.values[rows])], where)

    def check_texts(self, rows: npt.NDArray[np.int64], where: str) -> None:
        """Raise :class:`ValueRangeError` where one of ``rows`` is unread; infinities pass, a mask may cover them."""
        self._refuse(rows[self.unread[rows]], where)

    def _refuse(self, broken: npt.NDArray[np.int64], where: str) -> None:
        if len(broken):
            raise ValueRangeError(
                where=f"{where}: {self.name}", found=f"{str(self.cells.iloc[broken[0]])!r} in row {broken[0]}",
                expected="finite numbers, or an empty cell where nothing was measured",
                remedy="Correct the cell or leave the row out.",
            )


def numbers(column: pd.Series, missing: Iterable[float] = ()) -> Numbers:
    """A column as numbers; the values in ``missing`` (sentinels such as -999) and missing marks become NaN."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    values = np.array(values, dtype=np.float64)  # a native, writable copy
    unread = np.isnan(values) & column.notna().to_numpy(dtype=bool)
    if unread.any():
        text = texts(column[unread]).str.lower()
        unread[np.flatnonzero(unread)] = ~text.isin(list(MISSING)).to_numpy(dtype=bool)
    for mark in missing:
        # 99.99 stored as float32 is 99.98999786: compared to float32 precision
        values[np.isclose(values, mark, rtol=1e-6, atol=0)] = np.nan
    return Numbers(str(column.name), values, unread, column)


def texts(column: pd.Series) -> pd.Series:
    """A column as stripped text; bytes are decoded, whole floats lose their ``.0`` (1.0 is object "1"), missing is ""."""
    if pd.api.types.is_float_dtype(column.dtype):
        whole = column.dropna()
        if bool((whole == np.floor(whole)).all()) and bool((whole.abs() < 2**53).all()):
            column = column.astype("Int64")
    try:
        codes, kinds = pd.factorize(column)  # few different texts, many rows
    except TypeError:  # a list among the cells
        codes, kinds = pd.factorize(column.map(str))
    plain = [kind.decode("utf-8", "replace") if isinstance(kind, bytes) else str(kind) for kind in kinds.tolist()]
    names = np.array([*(text.strip() for text in plain), ""], dtype=object)  # code -1, missing, takes the last
    return pd.Series(names[codes], index=column.index, name=column.name, dtype=object)
