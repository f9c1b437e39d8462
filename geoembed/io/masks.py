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
    declared = [fill for key in ("_FillValue", "missing_value") for fill in np.ravel(attrs.get(key, ()))]
    for fill in declared:
        measured &= raw != _as(raw.dtype, fill)
    counts: dict[str, int] = {}
    default = DEFAULT_FILLS.get(raw.dtype.str[1:])
    if default is not None and not declared:
        _clear(measured, raw == default, "default_fills", counts)
    scale, offset = (attrs.get(key) for key in ("scale_factor", "add_offset"))
    values: Any = raw.astype(np.float32 if raw.dtype.itemsize <= 2 or raw.dtype == np.float32 else np.float64)
    if scale is not None:
        values = values * float(np.ravel(scale)[0])
    if offset is not None:
        values = values + float(np.ravel(offset)[0])
    low, high, packed = _valid_range(attrs, raw.dtype)
    bounded = raw if packed else values
    measured &= ~((bounded < low) | (bounded > high))
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


def _valid_range(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> tuple[float, float, bool]:
    """(low, high, whether they bound packed values): bounds of another type than packed data are in unpacked units (CF 2.5.1)."""
    both = np.ravel(attrs.get("valid_range", ()))
    bounds = list(both) if len(both) == 2 else [attrs.get("valid_min"), attrs.get("valid_max")]
    arrays = [np.ravel([] if bound is None else bound) for bound in bounds]
    numeric = [array[0] if len(array) and array.dtype.kind in "iuf" else None for array in arrays]
    packed = dtype.kind == "f" or all(array.dtype.kind in "iu" for array in arrays if len(array))
    low, high = (-np.inf if numeric[0] is None else float(numeric[0])), (np.inf if numeric[1] is None else float(numeric[1]))
    return (low, high, packed) if low <= high else (-np.inf, np.inf, packed)  # some models write 1e20 … -1e20: never set


def _as(dtype: np.dtype[Any], fill: Any) -> Any:
    """A declared fill in the type of the data; NaN, which equals nothing, where it does not fit (texts, 1e20 for integers)."""
    if np.asarray(fill).dtype.kind not in "iuf":
        return np.nan
    if dtype.kind in "iu" and not (np.isfinite(fill) and np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max):
        return np.nan
    with np.errstate(over="ignore"):
        return np.asarray(fill).astype(dtype)
