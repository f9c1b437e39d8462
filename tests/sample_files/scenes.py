"""Satellite scenes of 13 bands: forest, desert and coast with textbook reflectances, clouds as nodata."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.random import Generator, default_rng
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

SIDE = 64
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Sentinel-2's order of wavelength."""

REFLECTANCE = {  # percent in the 13 bands: green leaves, dry leaves, sand, water, wet sand
    "leaf": (2, 3, 6, 3, 9, 25, 32, 34, 36, 12, 0.5, 16, 7),
    "field": (5, 6, 9, 9, 14, 20, 23, 25, 27, 10, 0.5, 26, 18),
    "sand": (12, 14, 20, 29, 33, 35, 37, 38, 40, 14, 0.8, 48, 42),
    "rock": (9, 10, 13, 17, 19, 20, 21, 22, 23, 9, 0.6, 29, 26),
    "water": (6, 5.5, 4.5, 2.5, 2, 1.5, 1.4, 1.2, 1, 0.6, 0.3, 0.5, 0.3),
    "shore": (9, 10, 13, 14, 15, 16, 17, 17, 17, 7, 0.5, 14, 10),
}


def write(folder: Path) -> None:
    """``scene-LAND-NUMBER.tif``: 64 × 64 pixels of 10 m, reflectance × 10,000 as unsigned 16 bits, 0 = no data."""
    rng = default_rng(13)
    for name, make in (("forest", _forest), ("desert", _desert), ("coast", _coast)):
        for number in (1, 2):
            _write(folder / f"scene-{name}-{number}.tif", _clouded(rng, make(rng)))


def _noise(rng: Generator, power: float) -> np.ndarray:
    """A random field [64, 64] in 0…1 whose spectrum falls as a power of the frequency: hills, dunes, clouds."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    frequency[0, 0] = 1.0
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * frequency**-power).real
    return (field - field.min()) / (field.max() - field.min())


def _mix(shares: dict[str, np.ndarray]) -> np.ndarray:
    """Reflectances [13, 64, 64] of pixels with these shares of land cover."""
    total = sum(shares.values())
    return sum(np.multiply.outer(np.array(REFLECTANCE[name]), share / total) for name, share in shares.items())


def _forest(rng: Generator) -> np.ndarray:
    fields = np.kron(rng.random((8, 8)) < 0.25, np.ones((8, 8)))  # plots cut straight into the wood
    crowns = 0.75 + 0.5 * _noise(rng, 0.6)
    return _mix({"leaf": 1 - 0.9 * fields, "field": 0.02 + 0.9 * fields}) * crowns


def _desert(rng: Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    turn = rng.uniform(0, np.pi)
    dunes = np.sin((x * np.cos(turn) + y * np.sin(turn)) / 2.2 + 6 * _noise(rng, 1.8))
    hard = np.clip(4 * (_noise(rng, 1.6) - 0.62), 0, 1)
    return _mix({"sand": 1.02 - hard, "rock": hard}) * (1 + 0.13 * dunes)


def _coast(rng: Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    height = x * np.cos(turn) + y * np.sin(turn) + 0.5 * (_noise(rng, 1.7) - 0.5)
    sea, land = 1 / (1 + np.exp(60 * height)), 1 / (1 + np.exp(-60 * (height - 0.07)))
    return _mix({"water": sea, "shore": np.clip(1 - sea - land, 0, 1) + 0.01, "leaf": land * 0.6, "field": land * 0.4})


def _clouded(rng: Generator, percent: np.ndarray) -> np.ndarray:
    """Digital numbers [13, 64, 64] uint16, in steps of 8; the whitest of the clouds are 0, no data."""
    clouds = _noise(rng, 1.9)
    cover = np.clip(6 * (clouds - 0.72), 0, 1)
    seen = percent * (1 - cover) + 55 * cover + rng.normal(0, 0.08, percent.shape)
    numbers = np.rint(seen.clip(0.1) * 100 / 8).astype(np.uint16) * 8
    return np.where(cover >= 1, 0, np.maximum(numbers, 8)).astype(np.uint16)


def _write(path: Path, numbers: np.ndarray) -> None:
    place = Affine(10, 0, 500_000, 0, -10, 5_400_000)  # pixels of 10 m, north up
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", width=SIDE, height=SIDE, count=len(BANDS), dtype="uint16", crs="EPSG:32632",
                           transform=place, nodata=0, compress="deflate", predictor=2, zlevel=9, interleave="band") as scene:
            scene.write(numbers)
            scene.descriptions = BANDS
