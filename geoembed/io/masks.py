"""What is missing in packed arrays: declared fills, the default fills of netCDF, valid ranges, and values beyond 1e30."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BEYOND = 1e30
"""No physical field has such values; they are fills that nobody declared."""

DEFAULT_FILLS = {"i2": -32767, "i4": -2147483647, "i8": -9223372036854775806, "u2": 65535, "u4": 4294967295,
                 "u8": 18446744073709551614}
"""What the netCDF library writes where nothing was written; floats get 9.96921e36, which lies beyond 1e30."""


def unpack(raw: NDArray[Any], attrs: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[np.bool_], dict[str, int]]:
    """(values, measured, counts of what was undeclared) of packed ``raw`` with the attributes of its variable.

    Values are float32 for short packed types and float32, else float64, scaled and shifted; ``measured`` is False at
    ``_FillValue``, ``missing_value``, NaN, outside ``valid_min`` … ``valid_max`` / ``valid_range``, at the default fill of
    the type where no fill is declared, and beyond 1e30. Unmeasured values are whatever they are: do not read them.
    """
    raw = _signed(raw, attrs)
    measured = np.ones(raw.shape, bool) if raw.dtype.kind != "f" else ~np.isnan(raw)
    declared = [fill for key in ("_FillValue", "missing_value") for fill in np.atleast_1d(attrs.get(key, ())).ravel()]
    for fill in declared:
        if not _is_text(fill) and not np.isnan(fill):
            measured &= raw != np.asarray(fill).astype(raw.dtype)
    low, high = _valid_range(attrs)
    measured &= ~((raw < low) | (raw > high))
    counts: dict[str, int] = {}
    default = DEFAULT_FILLS.get(raw.dtype.str[1:])
    if default is not None and not declared:
        _clear(measured, raw == default, "default_fills", counts)
    scale, offset = (attrs.get(key) for key in ("scale_factor", "add_offset"))
    values = raw.astype(np.float32 if raw.dtype.itemsize <= 2 or raw.dtype == np.float32 else np.float64)
    if scale is not None:
        values = values * float(np.ravel(scale)[0])
    if offset is not None:
        values = values + float(np.ravel(offset)[0])
    _clear(measured, np.abs(values) > BEYOND, "undeclared_fills", counts)
    return values, measured, counts


def decoded(raw: NDArray[Any], attrs: Mapping[str, Any]) -> NDArray[np.float64]:
    """Values as float64 with NaN where missing."""
    values, measured, _ = unpack(raw, attrs)
    return np.where(measured, values.astype(np.float64), np.nan)


def _clear(measured: NDArray[np.bool_], missing: NDArray[np.bool_], name: str, counts: dict[str, int]) -> None:
    found = int((measured & missing).sum())
    if found:
        counts[name] = found
        measured &= ~missing


def _signed(raw: NDArray[Any], attrs: Mapping[str, Any]) -> NDArray[Any]:
    """Classic netCDF has no unsigned types: the attribute ``_Unsigned`` says which signed ones mean them."""
    if raw.dtype.kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        return raw.view(raw.dtype.str.replace("i", "u"))
    return raw


def _valid_range(attrs: Mapping[str, Any]) -> tuple[float, float]:
    bounds = np.ravel(attrs.get("valid_range", ()))
    low, high = (bounds[0], bounds[1]) if len(bounds) == 2 else (attrs.get("valid_min"), attrs.get("valid_max"))
    low, high = (None if bound is None or _is_text(bound) else float(np.ravel(bound)[0]) for bound in (low, high))
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _is_text(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "SUO"
