"""Galaxies in five bands: spirals, ellipticals and disks seen edge-on, as FITS with one extension a band."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.random import Generator, default_rng

SIDE = 64
BANDS = ("u", "g", "r", "i", "z")
OLD = (0.12, 0.42, 1.00, 1.35, 1.50)
"""Fluxes of an old population in the five bands, relative to r."""

YOUNG = (0.85, 1.00, 0.85, 0.70, 0.60)
"""Fluxes of a population that forms stars."""

NOISE = 3.0
"""Counts: standard deviation of the sky in each band."""


def light(radius: np.ndarray, effective: float, index: float) -> np.ndarray:
    """Sérsic profile, 1 at the effective radius [pixel]; b(n) after Ciotti & Bertin (1999), eq. 18, first two terms."""
    b = 2 * index - 1 / 3 + 4 / (405 * index)
    return np.exp(-b * ((np.maximum(radius, 0.3) / effective) ** (1 / index) - 1))


def coordinates(angle: float, axis_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """(radius, azimuth) of each pixel in the plane of a disk turned by ``angle`` whose axes have this ratio."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), (-x * np.sin(angle) + y * np.cos(angle)) / axis_ratio
    return np.hypot(along, across), np.arctan2(across, along)


def spiral(rng: Generator) -> np.ndarray:
    """Old bulge, disk, and two young logarithmic arms: image [5, 64, 64]."""
    radius, azimuth = coordinates(rng.uniform(0, np.pi), rng.uniform(0.65, 0.95))
    pitch = np.tan(np.radians(rng.uniform(14, 22)))
    phase = 2 * (azimuth - np.log(np.maximum(radius, 1)) / pitch) * rng.choice([-1, 1]) + rng.uniform(0, 6)
    arms = np.exp(3.5 * (np.cos(phase) - 1)) * np.clip(radius / 6, 0, 1) * light(radius, 13, 0.8)
    clumps = 1 + 0.7 * rng.random((SIDE, SIDE))
    disk = light(radius, 12, 1)
    return _in_bands(22 * light(radius, 2.6, 2) + 14 * disk, 12 * disk + 95 * arms * clumps)


def elliptical(rng: Generator) -> np.ndarray:
    """One old, smooth population."""
    radius, _ = coordinates(rng.uniform(0, np.pi), rng.uniform(0.6, 0.95))
    return _in_bands(26 * light(radius, rng.uniform(6, 9), 4), np.zeros_like(radius))


def edge_on(rng: Generator) -> np.ndarray:
    """A thin disk with a bulge and a lane of dust."""
    angle = rng.uniform(0, np.pi)
    radius, _ = coordinates(angle, rng.uniform(0.12, 0.2))
    bulge, _ = coordinates(angle, 0.75)
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    height = -x * np.sin(angle) + y * np.cos(angle)
    dust = 1 - 0.75 * np.exp(-((height - 0.7) ** 2) / 0.9) * (radius < 26)
    return _in_bands((40 * light(bulge, 3.2, 2.5) + 30 * light(radius, 13, 1)) * dust, 34 * light(radius, 15, 0.9) * dust)


def _in_bands(old: np.ndarray, young: np.ndarray) -> np.ndarray:
    return np.stack([a * old + b * young for a, b in zip(OLD, YOUNG, strict=True)])


def write(folder: Path) -> None:
    """``galaxy-TYPE-NUMBER.fits.gz``, three of each type, and the first spiral turned by 90°."""
    rng = default_rng(64)
    for name, make in (("spiral", spiral), ("elliptical", elliptical), ("edge", edge_on)):
        for number in (1, 2, 3):
            image = _seen(rng, make(rng))
            _write(folder / f"galaxy-{name}-{number}.fits.gz", image)
            if (name, number) == ("spiral", 1):
                _write(folder / "galaxy-spiral-1-turned.fits.gz", np.rot90(image, axes=(1, 2)))


def _seen(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Through a seeing of 1.2 pixels and with noise; whole counts."""
    frequency = np.fft.fftfreq(SIDE)
    blur = np.exp(-2 * (np.pi * 1.2) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    sharp = np.fft.ifft2(np.fft.fft2(image) * blur).real
    return np.rint(sharp + rng.normal(0, NOISE, image.shape)).clip(-32768, 32767).astype(np.int16)


def _write(path: Path, image: np.ndarray) -> None:
    units: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU()]
    for band, plane in zip(BANDS, image, strict=True):
        unit = fits.ImageHDU(np.ascontiguousarray(plane), name=f"SCI_{band}")
        unit.header["FILTER"], unit.header["BUNIT"] = band, "count"
        units.append(unit)
    buffer = io.BytesIO()
    fits.HDUList(units).writeto(buffer)
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
