"""Tables of points on the Earth: stations, swath pixels, cells of a mesh; a latitude, a longitude and numbers a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from geoembed.errors import EmptyGraphError, GeoembedError
from geoembed.io.fields import Channel, field_graph, field_record
from geoembed.io.masks import BEYOND
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import find
from geoembed.io.units import conversion
from geoembed.schema import Graph

ALIASES = MappingProxyType({
    "lat": ("lat", "latitude", "lats", "nav_lat", "lat_deg", "latitude_deg", "clat", "decimallatitude"),
    "lon": ("lon", "longitude", "lng", "long", "lons", "nav_lon", "lon_deg", "longitude_deg", "clon", "decimallongitude"),
    "time": ("time", "datetime", "valid_time", "timestamp", "date_time", "obstime", "date"),
})

_NUMBERS = frozenset({"integer", "floating", "mixed-integer-float", "decimal", "boolean"})
_ABLE = _NUMBERS | {"string", "mixed-integer", "mixed"}
_UNIT_SEPARATORS = (("(", ")"), ("[", "]"))


class PointTable:
    """All rows of one time are one graph; without a column of times, the whole table is.

    Columns that are no numbers (names, identifiers) are left out and noted. A unit in brackets, ``t2m (degC)``, is used;
    rows without valid coordinates, and cells that are empty, infinite or beyond 1e30, are not measured.
    """

    kind = "sphere"
    rows = False
    columns = "lat (or latitude), lon (or longitude) in degrees, columns of numbers, optionally time"

    def matches(self, columns: Sequence[str]) -> bool:
        """A latitude, a longitude, and at least one other column beside a time."""
        found = find(columns, ALIASES)
        return {"lat", "lon"} <= found.keys() and len(columns) > len(found)

    def records(self, table: Any, start: int, name: str) -> Iterator[Record | BadRecord]:
        """One record a time in order of first appearance, its key the time as the table writes it; else one called ``name``."""
        found = find(list(table.columns), ALIASES)
        values, left_out = _numbers(table, list(found.values()))
        if not values:
            raise EmptyGraphError(where=name, found=f"no column of numbers among {', '.join(left_out) or 'none'}",
                                  expected="at least one beside latitude and longitude", remedy="Add a column of values.")
        if not len(table):
            return
        lat, lon = (np.asarray(pd.to_numeric(table[found[axis]], errors="coerce"), np.float64) for axis in ("lat", "lon"))
        times = table[found["time"]] if "time" in found else pd.Series([name] * len(table))
        codes, labels = pd.factorize(times.astype(str))
        for code, label in enumerate(labels):
            rows = codes == code
            try:
                yield _record(str(label), {column: array[rows] for column, array in values.items()}, lat[rows], lon[rows],
                              name, left_out, alone=len(labels) == 1)
            except GeoembedError as error:
                yield BadRecord(str(label), error)

    def to_graph(self, record: Record) -> Graph:
        """The sphere graph of the points of one time."""
        return field_graph(record)


def _numbers(table: Any, used: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(float64 arrays of columns of numbers, names of the columns that are left out)."""
    values: dict[str, Any] = {}
    left_out: list[str] = []
    for column in table.columns:
        if column in used:
            continue
        held = pd.api.types.infer_dtype(table[column], skipna=True)
        numbers = pd.to_numeric(table[column], errors="coerce") if held in _ABLE else pd.Series([], dtype=float)
        # A column of texts that are mostly numbers holds "M", "-" or "NA" where one is missing.
        if held in _NUMBERS or numbers.notna().sum() > 0.5 * table[column].notna().sum():
            values[str(column)] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            left_out.append(str(column))
    return values, left_out


def _record(
    key: str, values: dict[str, Any], lat: Any, lon: Any, where: str, left_out: list[str], *, alone: bool
) -> Record:
    channels = []
    for column, array in values.items():
        base, unit = _split_unit(column)
        measured = np.isfinite(array) & (np.abs(array) < BEYOND)
        channels.append(Channel(base, (), base, array, measured, conversion(base, unit)))
    notes = {"columns_left_out": ", ".join(left_out[:12])} if left_out else {}
    return field_record(key, channels, lat, lon, where=where, alone=alone, notes=notes)


def _split_unit(column: str) -> tuple[str, str]:
    """(name, unit) of a column's title.

    >>> _split_unit("t2m (degC)"), _split_unit("wind")
    (('t2m', 'degC'), ('wind', ''))
    """
    for begin, end in _UNIT_SEPARATORS:
        name, separator, unit = column.strip().partition(begin)
        if separator and unit.endswith(end) and name.strip():
            return name.strip(), unit[:-1].strip()
    return column.strip(), ""
