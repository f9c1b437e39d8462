"""Weather states: Rossby-Haurwitz waves over a mountain, with what an analysis would miss (Williamson et al. 1992, test 6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.random import Generator, default_rng

RADIUS, TURN, GRAVITY, GAS = 6.37122e6, 7.292e-5, 9.80616, 287.05
"""m, rad/s, m/s², J/(kg K): the Earth of the test cases, and the gas constant of dry air."""

STRENGTH = 7.848e-6
"""1/s: ω and K of the test case."""

LEVELS = {850: (1457.0, 281.0, 0.6), 500: (5574.0, 253.0, 1.0), 250: (10363.0, 221.0, 1.5)}
"""hPa -> height [m] and temperature [K] of the standard atmosphere, and how strong the wave is there."""

NAMES = {
    "t": {"standard_name": "air_temperature", "units": "K"}, "u": {"standard_name": "eastward_wind", "units": "m s-1"},
    "v": {"standard_name": "northward_wind", "units": "m s-1"}, "z": {"standard_name": "geopotential", "units": "m2 s-2"},
}


def wave(lat: np.ndarray, lon: np.ndarray, number: int, days: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(u, v [m/s], height [m] above its mean) of the wave of zonal ``number`` after ``days``; lat [H, 1], lon [1, W] in rad.

    The pattern turns as one piece: it solves the barotropic vorticity equation exactly.
    """
    w = k = STRENGTH
    r = number
    drift = (r * (3 + r) * w - 2 * TURN) / ((1 + r) * (2 + r))  # rad/s
    angle = r * (lon - drift * days * 86400)
    c, s = np.cos(lat), np.sin(lat)
    u = RADIUS * w * c + RADIUS * k * c ** (r - 1) * (r * s**2 - c**2) * np.cos(angle)
    v = -RADIUS * k * r * c ** (r - 1) * s * np.sin(angle)
    a = w / 2 * (2 * TURN + w) * c**2 + k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 + 2 * r**2 - r - 2) - k**2 / 2 * r**2 * c ** (2 * r - 2)
    b = 2 * (TURN + w) * k / ((r + 1) * (r + 2)) * c**r * ((r**2 + 2 * r + 2) - (r + 1) ** 2 * c**2)
    d = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    height = RADIUS**2 / GRAVITY * (a + b * np.cos(angle) + d * np.cos(2 * angle))
    return u, v, height


def write(folder: Path) -> None:
    """``weather-wave4.nc`` (6 days) and ``weather-wave6.nc`` (4 days): t, u, v, z on three levels and msl, every 10°."""
    rng = default_rng(50)
    for number, days in ((4, 6), (6, 4)):
        states = xr.concat([_state(rng, number, day) for day in range(days)], "time")
        states.attrs = {"Conventions": "CF-1.8", "title": f"Rossby-Haurwitz wave {number}, computed"}
        packing = {name: _packing(states[name].values) for name in states.data_vars}
        states.to_netcdf(folder / f"weather-wave{number}.nc", engine="netcdf4", encoding=packing)


def _state(rng: Generator, number: int, day: int) -> xr.Dataset:
    lat, lon = np.arange(90.0, -91.0, -10.0), np.arange(0.0, 360.0, 10.0)
    phi, lam = np.radians(lat)[:, None], np.radians(lon)[None, :]
    u, v, height = wave(phi, lam, number, float(day))
    warm = 14 - 42 * np.sin(phi) ** 2 + 4 * np.cos(2 * lam - 1) * np.cos(phi) ** 2  # K: pole to equator, land and sea
    layers: dict[str, list[np.ndarray]] = {"t": [], "u": [], "v": [], "z": []}
    for mean, temperature, factor in LEVELS.values():
        layers["u"].append(u * factor)
        layers["v"].append(v * factor)
        layers["z"].append((mean + height * factor * 0.25) * GRAVITY)
        layers["t"].append(temperature + warm + 0.004 * height * factor + rng.normal(0, 0.3, u.shape))
    below = (np.abs(phi - np.radians(35)) < 0.2) & (np.abs(lam - np.radians(85)) < 0.4)  # high land: 850 hPa is under ground
    for parts in layers.values():
        parts[0] = np.where(below, np.nan, parts[0])
    if day % 2:  # a gap between two swaths
        gap = np.broadcast_to(np.abs(lam - np.radians(200 + 25 * day)) < 0.2, u.shape)
        layers["u"], layers["v"] = ([np.where(gap, np.nan, part) for part in layers[name]] for name in ("u", "v"))
    msl = 101325 + 1.1 * GRAVITY * height * 0.1 + np.zeros_like(u)
    time = pd.date_range("2001-01-01", periods=1) + pd.Timedelta(days=day)
    axes4 = ("time", "level", "latitude", "longitude")
    fields = {name: (axes4, np.stack(parts)[None], NAMES[name]) for name, parts in layers.items()}
    surface = (("time", "latitude", "longitude"), msl[None], {"standard_name": "air_pressure_at_mean_sea_level", "units": "Pa"})
    axes = {"time": ("time", time, {"standard_name": "time"}), "level": ("level", list(LEVELS), {"units": "hPa", "positive": "down"}),
            "latitude": ("latitude", lat, {"units": "degrees_north"}), "longitude": ("longitude", lon, {"units": "degrees_east"})}
    return xr.Dataset({**fields, "msl": surface}, coords=axes)


def _packing(values: np.ndarray) -> dict[str, object]:
    """16-bit integers with scale and offset, as reanalyses are handed out."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scale = (high - low) / 65000 or 1.0
    packed = {"dtype": "int16", "scale_factor": scale, "add_offset": (low + high) / 2, "_FillValue": np.int16(-32767)}
    return {**packed, "zlib": True, "shuffle": True}
