"""Alert packets of time-domain surveys as Avro files: the Zwicky Transient Facility and Rubin Observatory (LSST).

ZTF: Masci et al. 2019, PASP 131, 018003, and the alert schema 3.3; LSST: the schemas of lsst.alert.packet, whose fields changed
their names on the way (``midPointTai`` and ``midpointMjdTai``, ``filterName`` and ``band``, ``psFlux`` and ``psfFlux``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import EmptyGraphError, GeoembedError, UnreadableFileError
from geoembed.io.avro_container import MAGIC, Container
from geoembed.io.forms.light_curves import LightCurveTable
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph, Scalar

Fields = Mapping[str, Any]

_JD_TO_MJD = 2_400_000.5
_NANOJANSKY, _ELASTICC = 31.4, 27.5  # zero points: AB magnitudes of fluxes in nJy; SNANA's FLUXCAL
_MJD = (0.0, 150_000.0)  # 1858 to 2269
_STAMPS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")


class Avro:
    """One record an alert: the light curve of its source and of the earlier ones that it carries; the key is the object's id.

    ZTF's difference magnitudes keep their sign: where some are negative (``isdiffpos`` f or 0) all become fluxes, since a
    source that faded below its template has no magnitude. Upper limits are absent samples, counted in the notes, as are
    forced photometry and image stamps, which are left out. What a file holds is told by the names of its fields.
    """

    kind, suffixes = "chain", (".avro",)

    def can_open(self, head: bytes, name: str) -> bool:
        """By the signature of a container file."""
        return head.startswith(MAGIC)

    def records(self, path: Path) -> Iterator[Record | BadRecord]:
        """Alerts in file order; a break in the file raises after the whole alerts before it."""
        with open(path, "rb") as file:
            container = Container(file, path)
            names = _field_names(container.schema)
            light_curve = _dialect(names)
            if light_curve is None:
                raise UnreadableFileError(
                    where=path, found=f"records of {', '.join(sorted(names)[:12]) or 'no fields'}",
                    expected="alerts with candidate and prv_candidates (ZTF) or diaSource and prvDiaSources (LSST)",
                    remedy="Write the table as Parquet or CSV with the columns of its kind.",
                )
            survey = str(container.schema.get("namespace") or container.schema.get("name", ""))
            empty = True
            for number, alert in enumerate(container):
                empty = False
                try:
                    yield light_curve(alert, survey, f"{path} [alert {number}]")
                except GeoembedError as error:
                    yield BadRecord(str(number), error)
            if empty:
                raise EmptyGraphError(where=path, found="no alerts", expected="at least one", remedy="Leave the file out.")

    def to_graph(self, record: Record) -> Graph:
        """The light curve as a chain."""
        graph: Graph = record.payload.to_graph()
        return graph


def _field_names(schema: object) -> frozenset[str]:
    fields = schema.get("fields", []) if isinstance(schema, dict) else []
    return frozenset(str(field["name"]) for field in fields if isinstance(field, dict) and "name" in field)


def _dialect(names: frozenset[str]) -> Callable[[Fields, str, str], Record] | None:
    if "candidate" in names:
        return _ztf
    return _lsst if "diaSource" in names else None


def _rows(alert: Fields, newest: str, *earlier: str) -> list[Fields]:
    """The source that caused the alert, and those before it, as far as the alert carries them."""
    found = [alert.get(newest)]
    for name in earlier:
        found.extend(alert.get(name) or ())
    return [row for row in found if isinstance(row, Mapping)]


def _column(rows: list[Fields], *names: str) -> list[Any]:
    """A value a row: that of the first of ``names`` which it has and which is not null."""
    return [next((row[name] for name in names if row.get(name) is not None), None) for row in rows]


def _left_out(alert: Fields, *forced: str) -> dict[str, Scalar]:
    counts = {
        "forced_photometry_left_out": sum(len(alert.get(name) or ()) for name in forced),
        "stamps_left_out": sum(bool(alert.get(name)) for name in _STAMPS),
    }
    return {name: count for name, count in counts.items() if count}


def _ztf(alert: Fields, survey: str, where: str) -> Record:
    every = _rows(alert, "candidate", "prv_candidates")
    rows = [row for row in every if row.get("magpsf") is not None] or every
    table = pd.DataFrame({"jd": _column(rows, "jd"), "fid": _column(rows, "fid"), "magpsf": _column(rows, "magpsf"),
                          "sigmapsf": _column(rows, "sigmapsf")})
    table["jd"] = pd.to_numeric(table["jd"], errors="coerce") - _JD_TO_MJD
    table = table.rename(columns={"jd": "mjd"})
    notes = _left_out(alert, "fp_hists")
    if limits := sum(row.get("magpsf") is None and row.get("diffmaglim") is not None for row in every):
        notes["upper_limits_absent"] = limits
    negative = np.array([str(row.get("isdiffpos")).lower() in ("f", "0", "false") for row in rows]) & table["magpsf"].notna().to_numpy()
    if negative.any():
        notes["negative_differences"] = int(negative.sum())
        table = _signed_flux(table, negative)
    return _record(str(alert.get("objectId") or ""), table.reset_index(drop=True), notes, where)


def _signed_flux(table: pd.DataFrame, negative: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Magnitudes of |difference| as fluxes with their sign, at the zero point of FLUXCAL."""
    flux = 10 ** (-0.4 * (pd.to_numeric(table["magpsf"], errors="coerce") - _ELASTICC))
    error = flux * (0.4 * np.log(10)) * pd.to_numeric(table["sigmapsf"], errors="coerce")
    signed = flux.where(~negative, -flux)
    return table.assign(fluxcal=signed, fluxcalerr=error).drop(columns=["magpsf", "sigmapsf"])


def _lsst(alert: Fields, survey: str, where: str) -> Record:
    rows = _rows(alert, "diaSource", "prvDiaSources")
    table = pd.DataFrame({
        "mjd": _column(rows, "midpointMjdTai", "midPointTai"), "band": _column(rows, "band", "filterName"),
        "flux": _column(rows, "psfFlux", "psFlux"), "flux_err": _column(rows, "psfFluxErr", "psFluxErr"),
    })
    notes = _left_out(alert, "prvDiaForcedSources")
    if limits := len(alert.get("prvDiaNondetectionLimits") or ()):
        notes["upper_limits_absent"] = limits
    # The simulated alerts of ELAsTiCC have the fields of LSST and the fluxes of SNANA (FLUXCAL).
    table["zp"] = _ELASTICC if "elasticc" in survey.lower() else _NANOJANSKY
    times = pd.to_numeric(table["mjd"], errors="coerce").to_numpy(dtype=np.float64)
    odd = np.isfinite(times) & ((times < _MJD[0]) | (times > _MJD[1]))
    if odd.any():
        notes["not_a_modified_julian_date"] = f"{times[odd][0]:g} in {int(odd.sum())} rows; taken as days, as the schema states"
    source = rows[0] if rows else {}
    owner = [alert.get("diaObject"), source, alert.get("ssObject")]
    ids = _column([row for row in owner if isinstance(row, Mapping)], "diaObjectId", "ssObjectId")
    key = next((value for value in [*ids, source.get("diaSourceId"), alert.get("alertId")] if value), "")
    return _record(str(key), table, notes, where)


def _record(key: str, table: pd.DataFrame, notes: dict[str, Scalar], where: str) -> Record:
    """The light curve of one alert's rows."""
    for found in LightCurveTable().records(table, 0, key or where):
        if isinstance(found, BadRecord):
            raise found.error
        return Record(key or found.key, found.payload, {**notes, **found.notes})
    raise EmptyGraphError(where=where, found="no source", expected="a candidate or diaSource", remedy="Leave the alert out.")
