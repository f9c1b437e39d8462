"""Latitudes and longitudes of grids that are given in a plane or on a turned sphere, by the grid mappings of CF conventions 1.11,
appendix F; formulas of Snyder (1987), Map Projections: A Working Manual, on the ellipsoid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_WGS84 = 6_378_137.0, 298.257223563
_METERS = MappingProxyType({"m": 1.0, "meter": 1.0, "meters": 1.0, "metre": 1.0, "metres": 1.0, "km": 1000.0, "kilometer": 1000.0,
                            "kilometers": 1000.0, "kilometre": 1000.0, "kilometres": 1000.0, "": 1.0})
_DEGREES = MappingProxyType({"": 1.0, "degree": 1.0, "degrees": 1.0, "rad": 180.0 / np.pi, "radian": 180.0 / np.pi,
                             "radians": 180.0 / np.pi})


@dataclass(frozen=True)
class GridMapping:
    """Numbers of a grid mapping, in degrees and meters, and the ellipsoid: half axis ``a`` [m] and eccentricity ``e``."""

    attrs: Mapping[str, Any]
    a: float
    e: float

    def number(self, *names: str, default: float | None = None) -> float:
        """The first attribute of these names; KeyError where there is none and no default."""
        for name in names:
            if name in self.attrs:
                return float(np.ravel(self.attrs[name])[0])
        if default is None:
            raise KeyError(names[0])
        return default

    def radians(self, *names: str, default: float | None = None) -> float:
        """The same, an angle."""
        return float(np.radians(self.number(*names, default=default)))

    def parallels(self) -> list[float]:
        """Standard parallels in radians."""
        return [float(angle) for angle in np.radians(np.ravel(self.attrs["standard_parallel"]).astype(np.float64))]

    def m(self, phi: float) -> float:
        """Equation 14-15."""
        return float(np.cos(phi) / np.sqrt(1.0 - (self.e * np.sin(phi)) ** 2))

    def t(self, phi: float) -> float:
        """Equation 15-9."""
        turned = self.e * np.sin(phi)
        return float(np.tan(np.pi / 4 - phi / 2) / ((1.0 - turned) / (1.0 + turned)) ** (self.e / 2))

    def latitude(self, t: Float) -> Float:
        """The latitude of t: equation 7-9, which gains two digits a step."""
        phi = np.pi / 2 - 2 * np.arctan(t)
        for _ in range(8 if self.e else 0):
            turned = self.e * np.sin(phi)
            phi = np.pi / 2 - 2 * np.arctan(t * ((1.0 - turned) / (1.0 + turned)) ** (self.e / 2))
        return phi


def _lambert_conformal(grid: GridMapping, x: Float, y: Float) -> tuple[Float, Float]:
    """Equations 15-1 to 15-11."""
    one, two = (grid.parallels() * 2)[:2]
    same = abs(one - two) < 1e-10
    n = np.sin(one) if same else np.log(grid.m(one) / grid.m(two)) / np.log(grid.t(one) / grid.t(two))
    scale = grid.a * grid.m(one) / (n * grid.t(one) ** n)
    origin = scale * grid.t(grid.radians("latitude_of_projection_origin")) ** n
    rho = np.sign(n) * np.hypot(x, origin - y)
    theta = np.arctan2(np.sign(n) * x, np.sign(n) * (origin - y))
    return grid.latitude((rho / scale) ** (1.0 / n)), theta / n + grid.radians("longitude_of_central_meridian")


def _polar_stereographic(grid: GridMapping, x: Float, y: Float) -> tuple[Float, Float]:
    """Equations 21-33 to 21-40; the south as the north, mirrored."""
    side = np.sign(grid.number("latitude_of_projection_origin", default=90.0))
    true = abs(grid.radians("standard_parallel", default=90.0))
    if np.pi / 2 - true > 1e-10:
        factor = grid.t(true) / (grid.a * grid.m(true))
    else:
        k = grid.number("scale_factor_at_projection_origin", default=1.0)
        factor = float(np.sqrt((1 + grid.e) ** (1 + grid.e) * (1 - grid.e) ** (1 - grid.e))) / (2 * grid.a * k)
    zero = grid.radians("straight_vertical_longitude_from_pole", "longitude_of_projection_origin")
    return side * grid.latitude(np.hypot(x, y) * factor), zero + np.arctan2(x, -side * y)


def _mercator(grid: GridMapping, x: Float, y: Float) -> tuple[Float, Float]:
    """Equations 7-10 and 7-12."""
    k = grid.m(grid.parallels()[0]) if "standard_parallel" in grid.attrs else grid.number("scale_factor_at_projection_origin", default=1.0)
    x, y = np.broadcast_arrays(x, y)
    return grid.latitude(np.exp(-y / (grid.a * k))), x / (grid.a * k) + grid.radians("longitude_of_projection_origin", default=0.0)


def _lambert_azimuthal(grid: GridMapping, x: Float, y: Float) -> tuple[Float, Float]:
    """Equations 24-17 to 24-33 by way of the authalic latitude."""
    e, first = grid.e, grid.radians("latitude_of_projection_origin")

    def q(sine: float) -> float:
        """Equation 3-12."""
        return float(2 * sine) if not e else float((1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e))

    pole = q(1.0)
    radius, beta1 = grid.a * np.sqrt(pole / 2), np.arcsin(np.clip(q(np.sin(first)) / pole, -1.0, 1.0))
    d = 1.0 if np.cos(first) < 1e-9 else grid.a * grid.m(first) / (radius * np.cos(beta1))
    u, v = x / d, y * d
    rho = np.hypot(u, v)
    angle = 2 * np.arcsin(np.clip(rho / (2 * radius), -1.0, 1.0))
    north = np.divide(v, rho, out=np.zeros_like(rho), where=rho > 0)
    beta = np.arcsin(np.clip(np.cos(angle) * np.sin(beta1) + north * np.sin(angle) * np.cos(beta1), -1.0, 1.0))
    lam = np.arctan2(u * np.sin(angle), rho * np.cos(beta1) * np.cos(angle) - v * np.sin(beta1) * np.sin(angle))
    series = (e**2 / 3 + 31 * e**4 / 180 + 517 * e**6 / 5040, 23 * e**4 / 360 + 251 * e**6 / 3780, 761 * e**6 / 45360)  # 3-18
    phi = beta + sum(factor * np.sin(2 * (k + 1) * beta) for k, factor in enumerate(series))
    return phi, lam + grid.radians("longitude_of_projection_origin")


def _rotated(grid: GridMapping, lon: Float, lat: Float) -> tuple[Float, Float]:
    """The turned sphere whose origin lies opposite the meridian of its pole."""
    pole = grid.radians("grid_north_pole_latitude")
    phi, lam = np.radians(lat), np.radians(lon) - grid.radians("north_pole_grid_longitude", default=0.0)
    sine = np.cos(pole) * np.cos(phi) * np.cos(lam) + np.sin(pole) * np.sin(phi)
    east = np.arctan2(np.cos(phi) * np.sin(lam), np.cos(phi) * np.cos(lam) * np.sin(pole) - np.sin(phi) * np.cos(pole))
    return np.arcsin(np.clip(sine, -1.0, 1.0)), grid.radians("grid_north_pole_longitude") + np.pi + east


_INVERSE: MappingProxyType[str, Callable[[GridMapping, Float, Float], tuple[Float, Float]]] = MappingProxyType({
    "lambert_conformal_conic": _lambert_conformal, "polar_stereographic": _polar_stereographic, "mercator": _mercator,
    "lambert_azimuthal_equal_area": _lambert_azimuthal, "rotated_latitude_longitude": _rotated,
})
MAPPINGS = tuple(sorted(_INVERSE))
"""Grid mappings that are placed here."""


def places(attrs: Mapping[str, Any], x: Float, y: Float, units: str) -> tuple[Float, Float, str] | None:
    """(lat, lon [H, W] in degrees, what was assumed) of axes x [W], y [H]; None for another mapping, unit, or missing numbers.

    >>> attrs = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162}
    >>> [axis.round(2).tolist() for axis in places(attrs, np.zeros(1), np.zeros(1), "degrees")[:2]]
    [[[50.75]], [[18.0]]]
    """
    name = str(attrs.get("grid_mapping_name", ""))
    factor = (_DEGREES if name.startswith("rotated") else _METERS).get(units.strip().lower())
    if name not in _INVERSE or factor is None:
        return None
    a, e, note = _ellipsoid(attrs)
    grid = GridMapping(attrs, a, e)
    try:
        east, north = (grid.number(f"false_{key}", default=0.0) for key in ("easting", "northing"))
        phi, lam = _INVERSE[name](grid, x[None, :] * factor - east, y[:, None] * factor - north)
    except (KeyError, ValueError):
        return None
    lat, lon = np.broadcast_arrays(np.degrees(phi), (np.degrees(lam) + 180.0) % 360.0 - 180.0)
    return np.array(lat), np.array(lon), "" if name.startswith("rotated") else note


def _ellipsoid(attrs: Mapping[str, Any]) -> tuple[float, float, str]:
    """(half axis in m, eccentricity, what was assumed)."""
    numbers = {key: float(np.ravel(attrs[key])[0]) for key in ("earth_radius", "semi_major_axis", "semi_minor_axis", "inverse_flattening")
               if key in attrs}
    a = numbers.get("semi_major_axis", numbers.get("earth_radius"))
    if a is None:
        flat = 1.0 / _WGS84[1]
        return _WGS84[0], float(np.sqrt(flat * (2.0 - flat))), "no figure of the Earth is given: WGS 84"
    flat = 1.0 / numbers["inverse_flattening"] if numbers.get("inverse_flattening") else 1.0 - numbers.get("semi_minor_axis", a) / a
    return a, float(np.sqrt(max(flat * (2.0 - flat), 0.0))), ""


def axes(dataset: Any) -> Iterator[tuple[str, str, str]]:
    """(mapping, y, x): names of each grid mapping variable and of the two axes of the fields that refer to it, once."""
    seen = set()
    for variable in dataset.variables.values():
        mapping = str(variable.attrs.get("grid_mapping", "")).partition(" ")[0].rstrip(":")
        if mapping not in dataset.variables:
            continue
        y, x = (next((str(dim) for dim in variable.dims if dim in dataset.variables and _is_axis(dataset[dim], str(dim), letter)), "")
                for letter in "yx")
        if x and y and (mapping, y, x) not in seen:
            seen.add((mapping, y, x))
            yield mapping, y, x


def _is_axis(variable: Any, name: str, letter: str) -> bool:
    standard = variable.attrs.get("standard_name")
    names = {"y": ("projection_y_coordinate", "grid_latitude"), "x": ("projection_x_coordinate", "grid_longitude")}[letter]
    if standard:
        return standard in names
    return variable.attrs.get("axis") == letter.upper() or name.lower() in {"y": ("y", "yc", "rlat"), "x": ("x", "xc", "rlon")}[letter]
