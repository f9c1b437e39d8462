"""Light curves in long form: a row is one measurement of one object in one passband at one time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import EmptyGraphError, GeoembedError, ValueRangeError
from geoembed.graphs.chain import light_curve_graph
from geoembed.io.forms.cells import Floats, Numbers, numbers, texts
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import find
from geoembed.schema import Graph, Scalar

OBJECTS = (
    "object_id", "objectid", "objid", "obj_id", "snid", "oid", "diaobjectid", "source_id", "sourceid", "star_id", "starid",
    "lcid", "cid", "kic", "tic", "object", "star", "target", "sn", "name", "id",
)
"""Names of the column that says which object a row belongs to, lower case."""

_TIME = (
    "mjd", "jd", "hjd", "bjd", "time", "t", "obsmjd", "mjd_obs", "obs_mjd", "midpointmjdtai", "midpointtai", "bjd_tdb", "btjd",
    "bkjd", "bjd - 2454833", "bjd - 2457000", "time_bjd", "julian_date", "obs_time", "expmidptmjd", "date",
)
_MAGNITUDE = ("mag", "magnitude", "magpsf", "psfmag", "psf_mag", "mag_psf", "magpsf_corr", "vmag", "mags")
_FLUX = (
    "fluxcal", "flux", "flux_psf", "fluxpsf", "psf_flux", "psfflux", "pdcsap_flux", "sap_flux", "forcediffimflux",
    "corrected flux", "detrended flux", "fluxes", "psfdiffflux", "ujy",
)
_ERROR = ("{}_err", "{}err", "{}_error", "{}error", "e_{}", "{}_e", "sig{}", "sigma_{}", "d{}", "{}_sigma", "{}_unc", "{}unc")
_MAGNITUDE_ERROR = ("magerr", "mag_err", "sigmag", "e_mag", "mag_error", "emag", "sigmapsf", "dmag", "sigma_mag", "err", "error")
_FLUX_ERROR = ("fluxcalerr", "fluxerr", "flux_err", "flux_error", "e_flux", "psffluxerr", "err", "error", "sigma")
_PASSBAND = ("band", "filter", "flt", "passband", "fid", "filtercode", "filt", "photometric_band")
_ZERO_POINT = ("zp", "zero_point", "zeropoint", "magzp", "zpdiff")
_FLAGS = ("catflags", "catflag")
_ALIASES = {"time": _TIME, "magnitude": _MAGNITUDE, "flux": _FLUX, "passband": _PASSBAND, "object": OBJECTS, "flags": _FLAGS}
_FOREIGN = frozenset({"wavelength", "wave", "loglam", "lambda", "lat", "latitude", "lon", "longitude"})

_NO_TIME = (-777.0, -999.0, -9999.0)  # -777: the row that ends an object in SNANA tables
_NO_VALUE = (-9.0, -99.0, -99.9, -999.0, -9999.0, 99.0, 99.9, 99.99, 99.999, 128.0, 999.0, 9999.0)
_NO_FLUX = (-777.0, -999.0, -9999.0, -99999.0)  # the last: forced photometry of ZTF that failed
_NO_FLUX_WITHOUT_ERROR = (-9.0, -99.0)  # a flux of -9 is a flux unless its error is missing as well
_CODES = {
    "fid": {"1": "g", "2": "r", "3": "i"},  # Zwicky Transient Facility, alert schema 3.3
    "passband": dict(zip("012345", "ugrizy", strict=True)),  # PLAsTiCC data note (The PLAsTiCC team 2018), table 1
}
_ZERO_POINTS = {
    "fluxcal": 27.5,  # SNANA manual: FLUXCAL = 10^(11 − 0.4 mag)
    "psfflux": 31.4, "psfdiffflux": 31.4,  # nJy: the fluxes of Rubin catalogs
    "ujy": 23.9,  # µJy: forced photometry of ATLAS (Tonry et al. 2018)
    "pdcsap_flux": 25.1, "sap_flux": 25.1,  # e-/s: Kepler Instrument Handbook, 1.74e5 e-/s at Kp = 12
}
ZERO_POINT = 27.5
"""Of fluxes that do not say theirs (the FLUXCAL scale)."""


@dataclass(frozen=True)
class LightCurve:
    """One object, rows in file order: time [days], magnitude or flux and its error [N] (NaN: not measured), passband [N]."""

    time: Floats
    value: Floats
    error: Floats
    passband: list[str] | None
    zero_point: float | None = None

    def to_graph(self) -> Graph:
        """The chain; ``zero_point`` None: the values are magnitudes."""
        if self.zero_point is None:
            return light_curve_graph(self.time, self.value, self.error, passband=self.passband)
        return light_curve_graph(
            self.time, flux=self.value, flux_error=self.error, zero_point=self.zero_point, passband=self.passband
        )


class LightCurveTable:
    """One record an object (one a table without an object column); see the aliases above for the columns."""

    kind = "chain"
    rows = False
    columns = "time (mjd, jd, time …) with mag or flux, optionally its error, band and object_id"

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether there is a time and a magnitude or a flux, and neither wavelengths nor places on Earth."""
        found = _found(columns)
        foreign = _FOREIGN & {column.strip().lower() for column in columns}
        return "time" in found and bool({"magnitude", "flux"} & set(found)) and not foreign

    def records(self, table: pd.DataFrame, start: int, name: str) -> Iterator[Record | BadRecord]:
        """Light curves in the order in which their objects first appear.

        Sentinels (-999, -9, 99, 128 …) and NaN become absent samples; cells that are no numbers quarantine their object.
        """
        table = _unlisted(table)
        found = _found([str(column) for column in table.columns])
        curves = _Curves(table, found)
        codes, keys = _objects(table, found, name)
        order = np.argsort(codes, kind="stable").astype(np.int64)
        bounds = np.searchsorted(codes[order], np.arange(-1, len(keys) + 1))
        if bounds[1] > bounds[0]:
            yield BadRecord("", ValueRangeError(
                where=name, found=f"{bounds[1] - bounds[0]} rows without an object", expected=f"a name in {found['object']!r}",
                remedy="Give each row the name of its object.",
            ))
        for position, key in enumerate(keys):
            rows = order[bounds[position + 1] : bounds[position + 2]]
            try:
                yield curves.record(key, rows, name)
            except GeoembedError as error:
                yield BadRecord(key, error)

    def to_graph(self, record: Record) -> Graph:
        """The graph of one object; an unknown passband raises :class:`UnknownNameError` that lists the known ones."""
        curve: LightCurve = record.payload
        return curve.to_graph()


class _Curves:
    """The columns of a table as arrays, converted once for all objects."""

    def __init__(self, table: pd.DataFrame, found: dict[str, str]) -> None:
        self.time = _days(table[found["time"]])
        flux_error = _error_column(table, found, "flux", _FLUX_ERROR)
        # Fluxes first where they have errors: they keep the non-detections that magnitudes write as 99.
        self.is_flux = "flux" in found and (flux_error is not None or "magnitude" not in found)
        name = found["flux" if self.is_flux else "magnitude"]
        error = flux_error if self.is_flux else _error_column(table, found, "magnitude", _MAGNITUDE_ERROR)
        absent = pd.Series(np.nan, index=table.index, name="error")
        marks = _NO_FLUX if self.is_flux else _NO_VALUE
        self.limit = _is_limit(table[name])
        self.value = numbers(table[name].mask(self.limit), marks)
        self.error = numbers(absent if error is None else table[error], marks)
        self.columns = [self.time, self.value, self.error]
        self.has_error = error is not None
        if self.is_flux and self.has_error:
            both = np.isin(self.value.values, _NO_FLUX_WITHOUT_ERROR) & ~(self.error.values > 0)
            self.value.values[both] = np.nan
        # An error of 0 or less measures nothing; infinities stay for the check of the rows.
        self.error.values[~(self.error.values > 0) & ~np.isinf(self.error.values)] = np.nan
        self.zero_point = _ZERO_POINTS.get(name.strip().lower(), ZERO_POINT) if self.is_flux else None
        self.assumed = self.is_flux and name.strip().lower() not in _ZERO_POINTS and not self._calibrated(table)
        self.relative = self.assumed and _is_relative(self.value.values)
        self.band = _bands(table, found)
        self.flags = numbers(table[found["flags"]]).values if "flags" in found else np.zeros(len(table))

    def _calibrated(self, table: pd.DataFrame) -> bool:
        """Bring fluxes with a zero point in each row to the common one; False where the table gives none."""
        column = find(list(table.columns), {"zp": _ZERO_POINT}).get("zp")
        if column is None:
            return False
        points = numbers(table[column], _NO_VALUE)
        self.columns.append(points)
        scale = 10 ** (0.4 * (ZERO_POINT - points.values))  # a row without its zero point is not measured
        self.value.values[:] *= scale
        self.error.values[:] *= scale
        return True

    def record(self, key: str, rows: npt.NDArray[np.int64], name: str) -> Record:
        """The light curve of ``rows``."""
        for column in self.columns:
            column.check(rows, f"{name} [{key}]")
        timeless = int(np.isnan(self.time.values[rows]).sum())
        rows = rows[~np.isnan(self.time.values[rows])]
        value, error = self.value.values[rows], self.error.values[rows]
        if not np.isfinite(value).any():
            raise EmptyGraphError(
                where=f"{name} [{key}]", found=f"{len(rows) + timeless} rows without a measured {self.value.name}",
                expected="at least one with a time and a value", remedy="Leave the object out.",
            )
        notes: dict[str, Scalar] = {"without_time": timeless, "flagged_kept": int((self.flags[rows] > 0).sum())}
        notes["upper_limits_absent"] = int(self.limit[rows].sum())
        if self.has_error:
            notes["without_error"] = int((np.isfinite(value) & np.isnan(error)).sum())
        band = None if self.band is None else self.band[rows].tolist()
        if band is not None:
            notes["without_passband"] = band.count("")
        if self.relative:
            # Fluxes in units of their mean lie below the softening of asinh magnitudes, which would flatten them.
            value, error = value * 1e4, error * 1e4
            notes["relative_flux_times"] = 10_000
        if self.assumed:
            notes["zero_point_assumed"] = self.zero_point
        curve = LightCurve(self.time.values[rows], value, error, band, self.zero_point)
        return Record(key, curve, {note: count for note, count in notes.items() if count})


def _found(columns: Sequence[str]) -> dict[str, str]:
    """{quantity: column}; the passband of ATLAS is called F, which elsewhere means anything."""
    found = find(columns, _ALIASES)
    if "passband" not in found and found.get("flux", "").strip().lower() == "ujy":
        found |= find(columns, {"passband": ("f",)})
    return found


def _is_relative(flux: Floats) -> bool:
    """Whether fluxes are in units of their own mean: positive, and the median within 0.5…2."""
    known = flux[np.isfinite(flux)]
    return len(known) > 0 and bool(known.min() > 0) and 0.5 < float(np.median(known)) < 2


def _is_limit(column: pd.Series) -> npt.NDArray[np.bool_]:
    """Whether a cell is a limit such as ``>17.1`` (ASAS-SN), which is no measurement."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return np.zeros(len(column), dtype=np.bool_)
    return texts(column).str.match(r"[<>]\s*\d").to_numpy(dtype=np.bool_)


def _days(column: pd.Series) -> Numbers:
    """Times in days; calendar times become MJD."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        naive = column.dt.tz_convert(None) if getattr(column.dt, "tz", None) is not None else column
        column = (naive - pd.Timestamp("1858-11-17")) / pd.Timedelta(days=1)
    return numbers(column, _NO_TIME)


def _error_column(table: pd.DataFrame, found: dict[str, str], quantity: str, general: Sequence[str]) -> str | None:
    """The error that belongs to the column in use: ``sap_flux_err`` to ``sap_flux``, then any usual name."""
    if quantity not in found:
        return None
    own = [pattern.format(found[quantity].strip().lower()) for pattern in _ERROR]
    return find(list(table.columns), {"error": [*own, *general]}).get("error")


def _bands(table: pd.DataFrame, found: dict[str, str]) -> npt.NDArray[np.object_] | None:
    if "passband" not in found:
        return None
    band = texts(table[found["passband"]])
    codes = _CODES.get(found["passband"].strip().lower(), {})
    if set(band.unique()) <= {*codes, ""}:
        band = band.replace(codes)
    return band.to_numpy(dtype=object)


def _objects(table: pd.DataFrame, found: dict[str, str], name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Code of each row's object (-1: none) and the names of the objects, in order of appearance."""
    column = found.get("object")
    if column is not None and column.strip().lower() == "id" and len(table) > 1 and table[column].is_unique:
        column = None  # a number of the row, not of an object
    if column is None:
        return np.zeros(len(table), dtype=np.int64), [name] if len(table) else []
    names = texts(table[column])
    codes, keys = pd.factorize(names.where(names != "", other=None))
    return codes.astype(np.int64), [str(key) for key in keys]


def _unlisted(table: pd.DataFrame) -> pd.DataFrame:
    """A table with a row an object and lists in its cells, as one with a row a measurement; any other one as it is."""
    listed = [name for name in table.columns if isinstance(_first(table[name]), list | tuple | np.ndarray)]
    if not listed:
        return table
    if "object" not in find([str(name) for name in table.columns if name not in listed], _ALIASES):
        table = table.assign(object_id=np.arange(len(table)))
    try:
        return table.explode(listed, ignore_index=True)
    except ValueError as error:
        raise ValueRangeError(
            where=", ".join(map(str, listed)), found="lists of different lengths in one row", expected="one length a row",
            remedy="Give each object as many times as values.",
        ) from error


def _first(column: pd.Series) -> object:
    """The first cell that is not missing."""
    place = column.first_valid_index()
    return None if place is None else column.loc[place]
