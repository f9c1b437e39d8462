"""Spectra as tables: a row is one pixel, with its wavelength, flux and error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoembed.errors import EmptyGraphError, GeoembedError, ValueRangeError
from geoembed.graphs.chain import spectrum_graph
from geoembed.io.forms.cells import Floats, numbers, texts
from geoembed.io.record import BadRecord, Record
from geoembed.io.tables import find
from geoembed.schema import Graph, Scalar

PLAIN = ("wavelength", "wave", "lambda", "lam", "wl")
"""Names of a column of wavelengths that say no unit, lower case: Å, if nothing else does."""

_ANGSTROM = (*PLAIN, "wavelength_a", "wavelength_angstrom", "lambda_a", "wavelength [a]")
_NANOMETER = ("wavelength_nm", "wave_nm", "lambda_nm", "wavelength [nm]", "wavelength (nm)")
_MICROMETER = ("wavelength_um", "wave_um", "wavelength_micron", "lambda_um", "wavelength [um]", "wavelength (um)")
_LOG = ("loglam", "log_lam", "loglambda", "log_lambda", "logwave", "log_wave", "log_wavelength", "log10lam")
_FLUX = ("flux", "f_lambda", "flam", "flux_density", "fluxdensity", "fluxden", "flux_reduced", "intensity")
_ERROR = (
    "flux_err", "fluxerr", "flux_error", "fluxerror", "e_flux", "sigma_flux", "err", "error", "sigma", "sig", "noise",
    "uncertainty", "std", "err_reduced", "flux_unc",
)
_INVERSE = ("ivar", "flux_ivar", "invvar", "inverse_variance")
_VARIANCE = ("var", "variance", "flux_var")
_BAD = ("mask", "bad", "bad_pixel")
_REDSHIFT = ("z", "redshift", "z_spec", "zspec", "z_best")
_OBJECT = ("spectrum_id", "spec_id", "object_id", "objid", "targetid", "id")
_ALIASES = {
    "angstrom": _ANGSTROM, "nanometer": _NANOMETER, "micrometer": _MICROMETER, "log": _LOG, "flux": _FLUX, "error": _ERROR,
    "ivar": _INVERSE, "variance": _VARIANCE, "bad": _BAD, "redshift": _REDSHIFT, "object": _OBJECT,
}
_SCALES = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4}

RANGE = (100.0, 1e6)
"""Wavelengths [Å] of spectra, extreme ultraviolet to far infrared; beyond, the unit is another one."""

HUGE = 1e30
"""Fluxes beyond ± this are default fills that no mask declares."""


@dataclass(frozen=True)
class Spectrum:
    """One spectrum: wavelength [Å], flux and error (any unit; NaN: unknown) [N]; good [N] True where the pixel is measured."""

    wavelength: Floats
    flux: Floats
    error: Floats
    good: npt.NDArray[np.bool_]
    redshift: float | None = None

    def at(self, redshift: float | None) -> Spectrum:
        """The same spectrum with a redshift; one outside -0.1…30 is a mark for "unknown"."""
        known = redshift is not None and np.isfinite(redshift) and -0.1 < redshift < 30
        return replace(self, redshift=redshift if known else None)

    def to_graph(self) -> Graph:
        """The chain over log10 of the rest-frame wavelength."""
        return spectrum_graph(self.wavelength, self.flux, self.error, mask=self.good, redshift=self.redshift)


def spectrum(
    where: str, wavelength: Floats, flux: Floats, *, error: Floats | None = None, ivar: Floats | None = None,
    bad: npt.NDArray[np.bool_] | None = None, redshift: float | None = None,
) -> tuple[Spectrum, dict[str, Scalar]]:
    """A spectrum from arrays [N], and notes of what is masked.

    A pixel is good where flux and wavelength are finite, ``bad`` is False, and the inverse variance (or the error) is
    positive; errors that are all 0 or missing say nothing and mask nothing. Raises :class:`EmptyGraphError` where no pixel
    is good, :class:`ValueRangeError` on infinite good fluxes and on wavelengths outside :data:`RANGE`.
    """
    good = ~np.isnan(flux) & ~np.isnan(wavelength)
    if bad is not None:
        good &= ~bad
    if ivar is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(ivar > 0, 1 / np.sqrt(ivar), np.nan)
    spread = np.full_like(flux, np.nan) if error is None else np.where(error > 0, error, np.nan)
    if np.isfinite(spread).any() or ivar is not None:
        good &= np.isfinite(spread)
    if not good.any():
        raise EmptyGraphError(
            where=where, found=f"{len(flux)} pixels, none of them good", expected="a pixel with flux and positive error or ivar",
            remedy="Leave the spectrum out.",
        )
    _check_range(where, wavelength[good], flux[good])
    masked = len(flux) - int(good.sum())
    found = Spectrum(wavelength, np.where(good, flux, 0.0), np.where(good, spread, np.nan), good).at(redshift)
    notes: dict[str, Scalar] = {"masked_pixels": masked} if masked else {}
    if redshift is not None and found.redshift is None:
        notes["redshift_ignored"] = str(redshift)
    return found, notes


def _check_range(where: str, wavelength: Floats, flux: Floats) -> None:
    low, high = float(wavelength.min()), float(wavelength.max())
    if low < RANGE[0] or high > RANGE[1]:
        raise ValueRangeError(
            where=f"{where}: wavelength", found=f"{low:g}…{high:g}", expected=f"{RANGE[0]:g}…{RANGE[1]:g} Å",
            remedy="Give wavelengths in Å, or name the column wavelength_nm, wavelength_um or loglam.",
        )
    if not (np.abs(flux) < HUGE).all():
        raise ValueRangeError(
            where=f"{where}: flux", found=f"{flux[~(np.abs(flux) < HUGE)][0]:g} in a pixel that is not masked",
            expected=f"absolute values below {HUGE:g}", remedy="Mask the pixel: ivar 0 or NaN.",
        )


class SpectrumTable:
    """One record a table, or one an object where a column names the object of each pixel."""

    kind = "chain"
    rows = False
    columns = "wavelength (wave, lambda, loglam …) and flux, optionally err or ivar, mask, redshift and object_id"

    def matches(self, columns: Sequence[str]) -> bool:
        """Whether there are fluxes, and wavelengths or their logarithms."""
        found = find(columns, _ALIASES)
        return "flux" in found and len({"angstrom", "nanometer", "micrometer", "log"} & set(found)) > 0

    def records(self, table: Any, start: int, name: str) -> Iterator[Record | BadRecord]:
        """Spectra in the order in which they first appear; the order of their pixels does not matter."""
        frame: pd.DataFrame = table
        if not len(frame):
            return
        found = find([str(column) for column in frame.columns], _ALIASES)
        if "object" not in found or frame[found["object"]].is_unique:
            groups: list[tuple[str, pd.DataFrame]] = [(name, frame)]
        else:
            keys = texts(frame[found["object"]])
            groups = [(str(key), part) for key, part in frame.groupby(keys, sort=False)]
        for key, part in groups:
            try:
                payload, notes = _spectrum(part, found, key if key == name else f"{name} [{key}]")
                yield Record(key, payload, notes)
            except GeoembedError as error:
                yield BadRecord(key, error)

    def to_graph(self, record: Record) -> Graph:
        """The graph of one spectrum."""
        payload: Spectrum = record.payload
        return payload.to_graph()


def _spectrum(part: pd.DataFrame, found: dict[str, str], where: str) -> tuple[Spectrum, dict[str, Scalar]]:
    """The spectrum of the rows of one object."""
    arrays: dict[str, Floats] = {}
    every = np.arange(len(part), dtype=np.int64)
    for quantity, column in found.items():
        if quantity in ("object", "bad"):
            continue
        cells = numbers(part[column])
        if quantity in ("angstrom", "nanometer", "micrometer", "log"):
            cells.check(every, where)  # a flux that is infinite is judged with its mask; a wavelength has none
        else:
            cells.check_texts(every, where)
        arrays[quantity] = cells.values
    axis = next(name for name in ("angstrom", "nanometer", "micrometer", "log") if name in arrays)
    with np.errstate(over="ignore"):
        wavelength = 10 ** arrays["log"] if axis == "log" else arrays[axis] * _SCALES[axis]
    error = np.sqrt(np.maximum(arrays["variance"], 0)) if "variance" in arrays else arrays.get("error")
    bad = numbers(part[found["bad"]]).values != 0 if "bad" in found else None
    z = np.unique(arrays["redshift"]) if "redshift" in arrays else np.array([])
    redshift = float(z[0]) if len(z) == 1 else None
    payload, notes = spectrum(where, wavelength, arrays["flux"], error=error, ivar=arrays.get("ivar"), bad=bad, redshift=redshift)
    if len(z) > 1:
        notes["redshift_ignored"] = f"{len(z)} different values"
    return payload, notes
