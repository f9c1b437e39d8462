"""Spectra as FITS images: one axis of wavelengths in the header, or in an image beside the fluxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geoembed.errors import GeoembedError, MissingFieldError
from geoembed.io.budget import check_budget
from geoembed.io.fits_headers import Hdu, quiet
from geoembed.io.forms.cells import Floats
from geoembed.io.forms.spectra import spectrum
from geoembed.io.record import BadRecord, Record

ANGSTROM = {
    "": 1.0, "a": 1.0, "angstrom": 1.0, "angstroms": 1.0, "0.1nm": 1.0, "nm": 10.0, "nanometer": 10.0, "um": 1e4, "micron": 1e4,
    "microns": 1e4, "m": 1e10,
}
"""Ångström of one unit of wavelength, by its lower-case name; a header without a unit means Å."""

_SPECTRAL = ("LINEAR", "LOGLIN", "LOG-LINEAR", "WAVE", "AWAV", "LAMBDA", "MULTISPE", "WAVE-LOG", "AWAV-LOG", "WAVELENGTH")
_ROWS = re.compile(r"(ARRAY|UP_ARR|BANDID|ROW)0*(\d+)$")
_FLUX = re.compile(r"^(.*?)_?FLUX$", re.IGNORECASE)
_ERRORS, _INVERSE = ("ERROR", "ERR", "SIG", "SIGMA", "UNCERT"), ("IVAR", "INVVAR")
_WAVES = ("WAVELENGTH", "WAVE", "LAMBDA", "LOGLAM")


def is_axis(hdu: Hdu) -> bool:
    """Whether an image is one spectrum: of one axis, or a few labeled rows over a spectral axis (flux, error …)."""
    if len(hdu.shape) == 1:
        return True
    if hdu.text("CTYPE1").upper() not in _SPECTRAL and "DC-FLAG" not in hdu.header and "COEFF0" not in hdu.header:
        return False
    rows = [length for length in hdu.shape[:-1] if length > 1]
    return not rows or (len(rows) == 1 and ("COEFF0" in hdu.header or bool(_labels(hdu))))


def has_wavelengths(hdu: Hdu) -> bool:
    """Whether the header describes an axis at all."""
    return "CRVAL1" in hdu.header or "COEFF0" in hdu.header


def families(hdus: list[Hdu]) -> list[dict[str, Hdu]]:
    """Images that make spectra together, as {flux, wave, error, ivar}: FLUX beside WAVELENGTH (B_FLUX beside B_WAVELENGTH …)."""
    named = {hdu.name.upper(): hdu for hdu in hdus}
    found = []
    for name, hdu in named.items():
        match = _FLUX.match(name)
        if match is None:
            continue
        prefix = f"{match.group(1)}_" if match.group(1) else ""
        family = {"flux": hdu}
        for role, names in (("wave", _WAVES), ("error", _ERRORS), ("ivar", _INVERSE)):
            sibling = next((named[prefix + other] for other in names if prefix + other in named), None)
            if sibling is not None and sibling.shape[-1:] == hdu.shape[-1:]:
                family[role] = sibling
        if "wave" in family and len(hdu.shape) <= 2:
            found.append(family)
    return found


def family_records(path: Path, opened: Any, family: dict[str, Hdu], redshift: float | None) -> Iterator[Record | BadRecord]:
    """One record a row of the flux image [N] or [S, N]."""
    check_budget(path, family["flux"].shape, 24)
    parts = {role: _pixels(path, opened, hdu) for role, hdu in family.items()}
    flux = np.atleast_2d(parts["flux"])
    wave = parts["wave"] if family["wave"].name.upper().rpartition("_")[2] != "LOGLAM" else 10 ** parts["wave"]
    waves = np.broadcast_to(wave, flux.shape)
    error, ivar = (np.broadcast_to(parts[role], flux.shape) if role in parts else None for role in ("error", "ivar"))
    name = family["flux"].name
    for row in range(len(flux)):
        key = name if len(flux) == 1 else f"{name}[{row}]"
        try:
            payload, notes = spectrum(
                f"{path} [{key}]", waves[row], flux[row], error=None if error is None else error[row],
                ivar=None if ivar is None else ivar[row], redshift=redshift,
            )
            yield Record(key, payload, notes)
        except GeoembedError as reason:
            yield BadRecord(key, reason)


def axis_records(path: Path, opened: Any, hdu: Hdu, redshift: float | None) -> Iterator[Record]:
    """The one spectrum of an image whose header describes the wavelengths of its columns."""
    wave = _axis(path, hdu)
    check_budget(path, hdu.shape, 24)
    pixels = _pixels(path, opened, hdu).reshape(-1, hdu.shape[-1])
    error, ivar = (None if row is None else pixels[row] for row in _error_rows(hdu, len(pixels)))
    payload, notes = spectrum(f"{path} [{hdu.name}]", wave, pixels[0], error=error, ivar=ivar, redshift=redshift)
    yield Record(hdu.name, payload, notes)


def _error_rows(hdu: Hdu, rows: int) -> tuple[int | None, int | None]:
    """Rows of the errors and of the inverse variances, None where there are none; the first row holds the fluxes."""
    labels = {row: label for row, label in _labels(hdu).items() if 0 < row < rows}
    inverse = next((row for row, label in labels.items() if re.search("ivar|inv.*var|^inverse$", label, re.IGNORECASE)), None)
    error = next((row for row, label in labels.items() if row != inverse and re.search("error|sigma", label, re.IGNORECASE)), None)
    if labels or rows < 2 or "COEFF0" not in hdu.header:
        return error, inverse
    if hdu.text("TELESCOP").upper() == "LAMOST":  # up to its seventh release: flux, inverse variance, wavelength, masks
        return None, 1
    return (2, None) if rows > 2 else (None, None)  # SDSS spSpec: flux, flux − continuum, error, mask


def _labels(hdu: Hdu) -> dict[int, str]:
    """{row: what it holds} from cards such as ARRAY2 = 'Normalized error'."""
    return {
        int(match.group(2)) - 1: hdu.text(key)
        for key in hdu.header if isinstance(key, str) and (match := _ROWS.match(key)) and hdu.text(key)
    }


def _axis(path: Path, hdu: Hdu) -> Floats:
    """Wavelengths [Å] of the columns (standard 4.0, section 8.4; IRAF's DC-FLAG 1: log10)."""
    number = np.arange(hdu.shape[-1], dtype=np.float64)
    zero, slope = hdu.number("COEFF0"), hdu.number("COEFF1")
    if zero is not None and slope is not None:
        return _power(zero + slope * number)
    value, step = hdu.number("CRVAL1"), hdu.number("CD1_1", "CDELT1")
    if value is None or step is None or step == 0:
        raise MissingFieldError(
            where=f"{path} [{hdu.name}]", found="a row of fluxes without wavelengths",
            expected="CRVAL1 with CDELT1 or CD1_1, or COEFF0 with COEFF1",
            remedy="Write the wavelengths into the header, or give a table with a wavelength column.",
        )
    unit = hdu.text("CUNIT1").lower()
    if unit not in ANGSTROM:
        raise MissingFieldError(
            where=f"{path} [{hdu.name}]", found=f"CUNIT1 = {unit!r}", expected="a unit of wavelength: Angstrom, nm, um or m",
            remedy="Convert the axis to wavelengths.",
        )
    offset = number + 1 - (hdu.number("CRPIX1") or 1.0)
    kind = hdu.text("CTYPE1").upper()
    if hdu.number("DC-FLAG") == 1 or kind in ("LOGLIN", "LOG-LINEAR"):
        return _power(value + step * offset)
    if kind.endswith("-LOG"):
        with np.errstate(over="ignore"):
            return value * np.exp(step * offset / value) * ANGSTROM[unit] if value else number * np.nan
    return (value + step * offset) * ANGSTROM[unit]


def _power(exponent: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(10.0**exponent)


def _pixels(path: Path, opened: Any, hdu: Hdu) -> Floats:
    with quiet(path):
        return np.array(opened[hdu.index].section[:], dtype=np.float64)
