"""Names of records and levels: times as ISO 8601 in any calendar, members and levels by their coordinate."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoembed.io.extras import require
from geoembed.io.masks import decoded


def record_labels(dataset: Any, dim: str) -> list[str]:
    """One label a step of a record dimension: its time where one is given, else ``dim value`` or ``dim index``."""
    for name in (dim, *(name for name, v in dataset.variables.items() if v.dims == (dim,))):
        if name in dataset.variables and " since " in str(dataset[name].attrs.get("units", "")):
            return _times(dataset[name])
    texts = next((v for v in dataset.variables.values() if v.dims[:1] == (dim,) and v.dtype.kind == "S" and v.ndim <= 2), None)
    if texts is not None:  # WRF writes its times as characters
        return [b"".join(np.ravel(row).tolist()).decode("ascii", "replace").strip("\0 ") for row in texts.values]
    if dim in dataset.variables and dataset[dim].dtype.kind in "iuf":
        # In full: six digits would give the days 20200101 and 20200102 one name.
        return [f"{dim} {str(value).removesuffix('.0')}" for value in np.ravel(dataset[dim].values)]
    return [f"{dim} {number}" for number in range(dataset.sizes[dim])]


def single_label(dataset: Any) -> str:
    """Label of the only record of a grid: the time of the data set where it has one."""
    for name in ("valid_time", "time"):
        if name in dataset.variables and dataset[name].size == 1 and " since " in str(dataset[name].attrs.get("units", "")):
            return _times(dataset[name])[0]
    return "field"


def level_values(dataset: Any, dim: str) -> list[float | str]:
    """Values of a level dimension, pressures in hPa; texts or indices where it has no numbers."""
    size = dataset.sizes[dim]
    if dim not in dataset.variables or dataset[dim].shape != (size,):
        return [float(number) for number in range(size)]
    variable = dataset[dim]
    if variable.dtype.kind in "SUO":
        return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in variable.values]
    values = decoded(variable.values, variable.attrs)
    if str(variable.attrs.get("units", "")) == "Pa":
        values = values / 100.0
    return [float(value) for value in values.round(6)]


def _times(variable: Any) -> list[str]:
    cftime = require("cftime", "climate")
    units, calendar = str(variable.attrs["units"]), str(variable.attrs.get("calendar", "standard"))
    values = np.ravel(decoded(variable.values, variable.attrs))
    try:
        dates = cftime.num2date(values, units, calendar=calendar, only_use_cftime_datetimes=True)
    except (ValueError, OverflowError):  # months since, or a broken unit: the number itself is the name
        return [f"{value:g} {units}" for value in values]
    return [date.isoformat() if hasattr(date, "isoformat") else f"{value:g} {units}" for date, value in zip(dates, values, strict=True)]
