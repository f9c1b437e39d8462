"""From whatever a field hands over (lists, numpy, pandas, tensors, masked arrays) to tensors, without sharing memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoembed.errors import ValueRangeError


def as_tensor(values: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """A CPU tensor of ``dtype``; masked entries of a masked array become NaN, foreign byte order becomes native."""
    if isinstance(values, Tensor):
        return values.detach().cpu().to(dtype)
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    array = np.array(values, copy=True)
    if array.dtype == object:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))).to(dtype)


def require_finite(where: str, **columns: Tensor) -> None:
    """Raise :class:`ValueRangeError` naming the first column with NaN or infinity, and the row."""
    for name, column in columns.items():
        bad = ~torch.isfinite(column)
        if bool(bad.any()):
            row = int(torch.nonzero(bad)[0, 0])
            raise ValueRangeError(
                where=f"{where}: {name}", found=f"{float(column[bad][0])} in row {row}", expected="finite numbers",
                remedy="Leave the row out, or mark it as not measured.",
            )


def require_length(where: str, length: int, **columns: Tensor | None) -> None:
    """Raise :class:`ValueRangeError` where a column does not have ``length`` rows."""
    for name, column in columns.items():
        if column is not None and column.shape[0] != length:
            raise ValueRangeError(
                where=f"{where}: {name}", found=f"{column.shape[0]} values", expected=f"{length}, one a row",
                remedy="Give columns of equal length.",
            )
