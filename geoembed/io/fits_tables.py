"""Tables in FITS files as DataFrames, and what their headers add: units, telescopes, redshifts, flags of quality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoembed.errors import UnknownNameError
from geoembed.graphs.passbands import passband_index
from geoembed.io.budget import check_budget
from geoembed.io.fits_headers import Hdu, quiet
from geoembed.io.fits_spectra import ANGSTROM
from geoembed.io.forms.light_curves import LightCurve, LightCurveTable
from geoembed.io.forms.spectra import PLAIN, Spectrum, SpectrumTable
from geoembed.io.record import BadRecord, Record, TableForm
from geoembed.io.tables import find
from geoembed.io.tables import table_records as form_records
from geoembed.schema import Scalar

_ZERO_POINTS = {"TESS": 20.44, "KEPLER": 25.1, "K2": 25.1}
"""Magnitude of 1 e-/s: TESS Instrument Handbook v0.1, section 2; Kepler Instrument Handbook, 1.74e5 e-/s at Kp = 12."""

_MISSIONS = {"TESS": "TESS", "KEPLER": "Kepler", "K2": "Kepler"}
_ELECTRONS = ("e-/s", "electron/s", "electron / s", "counts", "")
_SECONDS = ("s", "sec", "second", "seconds")
_TIMES = {"time": ("time", "mjd", "jd", "bjd", "t")}
_QUALITY = {"quality": ("sap_quality", "quality")}


def column_names(hdu: Hdu) -> list[str]:
    """Names of the columns that a table may use: one value a row, or, in a table of one row, one list."""
    fields = int(hdu.number("TFIELDS") or 0)
    return [name for index in range(1, fields + 1) if (name := hdu.text(f"TTYPE{index}")) and _usable(hdu, index)]


def _usable(hdu: Hdu, index: int) -> bool:
    form = hdu.text(f"TFORM{index}").upper()
    if hdu.text("XTENSION").upper() == "TABLE":
        return True
    count, letter = _repeat(form)
    if letter in "PQCMX" or count == 0:
        return False
    if letter == "A" or count == 1:
        return True
    return hdu.number("NAXIS2") == 1 and "," not in hdu.text(f"TDIM{index}")


def _repeat(form: str) -> tuple[int, str]:
    """Count and letter of a TFORM: "110E" is (110, "E")."""
    digits = form[: len(form) - len(form.lstrip("0123456789"))]
    return int(digits) if digits else 1, form[len(digits) : len(digits) + 1] or "X"


def frame(path: Path, opened: Any, hdu: Hdu) -> pd.DataFrame:
    """The usable columns as native copies; TNULL becomes NaN, lists of a table of one row become rows."""
    check_budget(f"{path} [{hdu.name}]", (int(hdu.number("NAXIS1") or 0), int(hdu.number("NAXIS2") or 0)), 4)
    wanted = column_names(hdu)
    columns: dict[str, Any] = {}
    with quiet(path):
        unit = opened[hdu.index]
        for column in unit.columns:
            name = column.name
            if name not in wanted or name in columns:
                continue
            cells = np.asarray(unit.data.field(name))
            if cells.dtype.kind in "SU":
                columns[name] = np.char.strip(cells).astype(object)
                continue
            native = np.array(cells, dtype=cells.dtype.newbyteorder("="))
            if column.null is not None and native.dtype.kind in "iu":
                native = np.where(native == int(column.null), np.nan, native.astype(np.float64))
            columns[name] = native
        lengths = {cells.shape[1] for cells in columns.values() if cells.ndim == 2 and cells.shape[1] > 1}
        if len(lengths) == 1:
            columns = {name: cells[0] if cells.ndim == 2 else cells for name, cells in columns.items()}
            length = lengths.pop()
            columns = {name: np.repeat(cells, length) if len(cells) == 1 else cells for name, cells in columns.items()}
        flat = {name: cells.reshape(-1) for name, cells in columns.items()}
    return pd.DataFrame(flat)


def table_records(path: Path, opened: Any, hdu: Hdu, hdus: list[Hdu], form: TableForm) -> Iterator[Record | BadRecord]:
    """Records of a table of a known form, with what the headers and the other tables add."""
    table = frame(path, opened, hdu)
    if isinstance(form, LightCurveTable):
        yield from light_curves(table, hdu, hdus[0])
    elif isinstance(form, SpectrumTable):
        redshift = redshift_of(path, opened, hdus)
        for record in form.records(_in_angstrom(table, hdu), 0, hdu.name):
            if isinstance(record, Record):
                spectrum: Spectrum = record.payload
                record = replace(record, payload=spectrum.at(redshift) if spectrum.redshift is None else spectrum)
            yield record
    else:
        yield from form_records([table], form, hdu.name)


def _in_angstrom(table: pd.DataFrame, hdu: Hdu) -> pd.DataFrame:
    """The table with its wavelengths in Å where TUNIT gives another unit (nm: ESO; µm: JWST); a name with a unit has it already."""
    column = find([str(name) for name in table.columns], {"wavelength": PLAIN}).get("wavelength")
    scale = 1.0 if column is None else ANGSTROM.get(_unit(hdu, column).lower(), 1.0)
    return table if scale == 1.0 or table[column].dtype.kind not in "iuf" else table.assign(**{str(column): table[column] * scale})


def light_curves(table: pd.DataFrame, hdu: Hdu, primary: Hdu) -> Iterator[Record | BadRecord]:
    """Light curves, without the samples that the mission flags, in days and in the mission's passband."""
    notes: dict[str, Scalar] = {}
    names = [str(name) for name in table.columns]
    quality = find(names, _QUALITY).get("quality")
    if quality is not None and table[quality].dtype.kind in "iu":
        flagged = table[quality].to_numpy() != 0
        table = table[~flagged].reset_index(drop=True)
        notes["flagged_dropped"] = int(flagged.sum())
    time = find(names, _TIMES).get("time")
    if time is not None and _unit(hdu, time).lower() in _SECONDS:
        table = table.assign(**{time: table[time] / 86400})
        notes["seconds_to_days"] = True
    mission = next((_MISSIONS[text] for unit in (hdu, primary) for key in ("MISSION", "TELESCOP")
                    if (text := unit.text(key).upper()) in _MISSIONS), "")
    if "passband" not in names and "band" not in [name.lower() for name in names]:
        table = table.assign(passband=mission or _known_band(hdu, primary))
    for record in LightCurveTable().records(table, 0, hdu.name):
        if isinstance(record, BadRecord):
            yield record
            continue
        curve: LightCurve = record.payload
        kept = {**notes, **record.notes}
        if mission and curve.zero_point is not None and "relative_flux_times" not in kept:
            curve = replace(curve, zero_point=_ZERO_POINTS[mission.upper()])
            kept.pop("zero_point_assumed", None)
        yield Record(record.key, curve, {name: count for name, count in kept.items() if count})


def _unit(hdu: Hdu, column: str) -> str:
    fields = int(hdu.number("TFIELDS") or 0)
    return next((hdu.text(f"TUNIT{index}") for index in range(1, fields + 1) if hdu.text(f"TTYPE{index}") == column), "")


def _known_band(hdu: Hdu, primary: Hdu) -> str:
    """FILTER or BAND of the header where it is a usual passband, else "" (unspecified)."""
    name = (hdu.text("BAND", "FILTER") or primary.text("BAND", "FILTER")).split(" ")[0]
    try:
        passband_index(name)
    except UnknownNameError:
        return ""
    return name


def redshift_of(path: Path, opened: Any, hdus: list[Hdu]) -> float | None:
    """Redshift of a file of one spectrum: Z of a header, or of a table of one row (SDSS: SPECOBJ, SPALL)."""
    for hdu in hdus:
        value = hdu.number("Z", "REDSHIFT")
        if value is not None:
            return value
    for hdu in hdus:
        if hdu.kind == "table" and hdu.number("NAXIS2") == 1 and "Z" in column_names(hdu):
            with quiet(path):
                return float(opened[hdu.index].data.field("Z")[0])
    return None
