"""Light curves (supernovae Ia, RR Lyrae stars, quiet stars) and spectra (stars, star-forming galaxies), from simple formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.random import Generator, default_rng

BANDS = "griz"
_PEAK = {"g": 0.1, "r": 0.0, "i": 0.35, "z": 0.45}  # mag: colors of a supernova Ia at its peak, relative to r
_FADE = {"g": 0.115, "r": 0.075, "i": 0.06, "z": 0.05}  # mag a day after the peak
BALMER = {"Hα": 6562.8, "Hβ": 4861.3, "Hγ": 4340.5, "Hδ": 4101.7}
"""Å, rest wavelength in air."""

EMISSION = {"[O II]": (3727.4, 25.0), "Hβ": (4861.3, 14.0), "[O III] 4959": (4958.9, 12.0), "[O III] 5007": (5006.8, 36.0),
            "Hα": (6562.8, 48.0), "[N II]": (6583.5, 15.0), "[S II] 6716": (6716.4, 9.0), "[S II] 6731": (6730.8, 7.0)}
"""Å and strength of the lines of a star-forming galaxy."""


def write(folder: Path) -> None:
    """Nine objects in one table, one of them again by Julian dates, one supernova as SNANA text; four spectra."""
    rng = default_rng(9)
    makers = (("Ia", supernova), ("RRLyrae", rr_lyrae), ("quiet", quiet))
    curves = [make(rng).assign(object_id=f"{name}_{i}") for name, make in makers for i in (1, 2, 3)]
    columns = ["object_id", "mjd", "band", "mag", "mag_err"]
    pd.concat(curves)[columns].to_csv(folder / "lightcurve-nine.csv", index=False, lineterminator="\n")
    again = curves[3].assign(jd=[f"{mjd + 2400000.5:.5f}" for mjd in curves[3]["mjd"]], object_id="RRLyrae_1_by_JD")
    again[["object_id", "jd", "band", "mag", "mag_err"]].to_csv(folder / "lightcurve-by-JD.csv", index=False, lineterminator="\n")
    (folder / "lightcurve-Ia.dat").write_text(_snana(supernova(rng)))
    for number in (1, 2):
        _write_fits(folder / f"spectrum-galaxy-{number}.fits", *galaxy(rng, 0.02 * number + 0.03))
        wave, flux, error = star(rng, 6200.0 + 3000 * number)
        table = pd.DataFrame({"wavelength": wave, "flux": flux, "flux_err": error}).round({"wavelength": 2, "flux": 4, "flux_err": 4})
        table.to_csv(folder / f"spectrum-star-{number}.csv", index=False, lineterminator="\n")


def _nights(rng: Generator, days: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(mjd, band) of ``count`` visits in ``days``: irregular, at night."""
    night = np.sort(rng.integers(0, int(days), count))
    return np.round(59000.0 + night + rng.uniform(0.1, 0.4, count), 5), np.array(list(BANDS))[rng.integers(0, 4, count)]


def _table(rng: Generator, mjd: np.ndarray, band: np.ndarray, mag: np.ndarray) -> pd.DataFrame:
    error = 0.012 * 10 ** (0.25 * (mag - 17.5))
    seen = np.round(mag + rng.normal(0, 1, len(mag)) * error, 3)
    frame = pd.DataFrame({"mjd": mjd, "band": band, "mag": seen, "mag_err": np.round(error, 3)})
    return frame[mag < 22.5].sort_values(["mjd", "band"], kind="stable")


def supernova(rng: Generator) -> pd.DataFrame:
    """Rise as (time since explosion)², a peak, then a fall of a few hundredths of a magnitude a day, slower in the red."""
    mjd, band = _nights(rng, 110, 90)
    age = mjd - 59022.0 - rng.uniform(0, 8)
    fade = np.array([_FADE[b] for b in band])
    fall = np.where(age < 25, fade * age.clip(0) ** 1.1 * 0.75, fade * 25**1.1 * 0.75 + 0.028 * (age - 25))
    rise = -5 * np.log10(np.clip(1 + age.clip(-17, 0) / 17.5, 1e-3, None)) * 0.9
    mag = rng.uniform(17, 18) + np.array([_PEAK[b] for b in band]) + np.where(age < 0, rise, fall)
    return _table(rng, mjd, band, np.where(age < -17, 30.0, mag))


def rr_lyrae(rng: Generator) -> pd.DataFrame:
    """A saw tooth of half a day: a steep rise and a slow fall, of larger amplitude in the blue."""
    mjd, band = _nights(rng, 60, 80)
    phase = np.mod((mjd - 59000) / rng.uniform(0.48, 0.62) + rng.random(), 1)
    tooth = np.where(phase < 0.15, 1 - phase / 0.15, (phase - 0.15) / 0.85) - 0.5
    amplitude = np.array([{"g": 1.2, "r": 0.85, "i": 0.7, "z": 0.65}[b] for b in band])
    return _table(rng, mjd, band, rng.uniform(16, 17.5) + amplitude * tooth)


def quiet(rng: Generator) -> pd.DataFrame:
    """A star of constant color and brightness."""
    mjd, band = _nights(rng, 90, 70)
    color = np.array([{"g": 0.6, "r": 0.0, "i": -0.2, "z": -0.3}[b] for b in band])
    return _table(rng, mjd, band, rng.uniform(17, 19.5) + color)


def _snana(curve: pd.DataFrame) -> str:
    """As SNANA text: fluxes with zero point 27.5."""
    flux = 10 ** (0.4 * (27.5 - curve["mag"].to_numpy()))
    error = flux * curve["mag_err"].to_numpy() * np.log(10) / 2.5
    rows = [f"OBS: {mjd:.5f} {band} {f:.3f} {e:.3f}" for mjd, band, f, e in zip(curve["mjd"], curve["band"], flux, error, strict=True)]
    head = ["SURVEY: GENERATED", "SNID: Ia_4", f"FILTERS: {BANDS}", f"NOBS: {len(rows)}", "NVAR: 4", "VARLIST: MJD FLT FLUXCAL FLUXCALERR"]
    return "\n".join([*head, *rows, "END:", ""])


def star(rng: Generator, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(wavelength [Å], flux, error) of a black body with Balmer absorption, on an even grid."""
    wave = np.arange(3800.0, 7200.0, 4.0)
    flux = _planck(wave, temperature)
    flux = flux / np.median(flux)
    depth = 0.15 + 0.5 * np.exp(-(((temperature - 9500) / 2500) ** 2))  # hydrogen lines are deepest in A stars
    for line in BALMER.values():
        flux *= 1 - depth / (1 + ((wave - line) / 9) ** 2)
    error = np.full_like(wave, 0.02)
    return wave, flux + rng.normal(0, 1, len(wave)) * error, error


def galaxy(rng: Generator, redshift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(log10 wavelength, flux, inverse variance, redshift): blue continuum with emission lines on the pixels of SDSS, binned by 3."""
    loglam = np.arange(3.58, 3.96, 3e-4)
    rest = 10**loglam / (1 + redshift)
    flux = 4 + 3 * (rest / 5000) ** -1.6
    for line, strength in EMISSION.values():
        flux += strength * rng.uniform(0.7, 1.3) * np.exp(-0.5 * ((rest - line) / 3.0) ** 2)
    error = 0.35 + 0.3 * (rest / 5000 - 1) ** 2
    ivar = np.where(rng.random(len(rest)) < 0.01, 0.0, 1 / error**2)  # 1 % of the pixels are bad
    return loglam, flux + rng.normal(0, 1, len(rest)) * error, ivar, redshift


def _planck(wave: np.ndarray, temperature: float) -> np.ndarray:
    return wave**-5.0 / np.expm1(1.438777e8 / (wave * temperature))  # second radiation constant in Å K


def _write_fits(path: Path, loglam: np.ndarray, flux: np.ndarray, ivar: np.ndarray, redshift: float) -> None:
    arrays = {"flux": flux, "loglam": loglam, "ivar": ivar}
    columns = [fits.Column(name, "E", array=values.astype(np.float32)) for name, values in arrays.items()]
    table = fits.BinTableHDU.from_columns(columns, name="COADD")
    measured = fits.Column("Z", "E", array=np.array([redshift], np.float32))
    facts = fits.BinTableHDU.from_columns([measured], name="SPECOBJ")
    fits.HDUList([fits.PrimaryHDU(), table, facts]).writeto(path, overwrite=True)
