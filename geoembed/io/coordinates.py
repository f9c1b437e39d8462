"""Where the cells of a data set lie: latitudes and longitudes by CF attributes, by name, from a mesh, a projection, or HEALPix.

CF conventions 1.11, section 4; UGRID 1.0. Data sets are xarray's, undecoded (``decode_cf=False``), so attributes are all here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoembed.graphs.geodesy import healpix_centers, healpix_nside, lat_lon, unit_vectors
from geoembed.io.masks import decoded
from geoembed.io.projections import axes, places

Float = NDArray[np.float64]

_PLACE = r"_?(rho|psi|vert|[uvtfe]|cells?|edges?|nodes?|vertex|vertices|faces?|center|pts?|\d+)?"
_LATITUDE = re.compile(rf"(nav_|x|[tucefv]|g\d+_|face_|mesh\w*_)?lat(itudes?)?{_PLACE}|gphi[tuvf]|decimallatitude", re.IGNORECASE)
_LONGITUDE = re.compile(rf"(nav_|x|[tucefv]|g\d+_|face_|mesh\w*_)?lon(g|gitudes?)?{_PLACE}|glam[tuvf]|decimallongitude", re.IGNORECASE)
_NORTH, _EAST = re.compile(r"degrees?_?n(orth)?", re.IGNORECASE), re.compile(r"degrees?_?e(ast)?", re.IGNORECASE)
_TIME_NAME = re.compile(r"(\w*_)?time(_counter|_\w+)?\d*|valid_time|step|lead|date|t|xtime|day|month|year", re.IGNORECASE)
_MEMBER_NAME = re.compile(r"member(_id)?|number|realization|ens(emble)?\d*(_member)?|record", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Horizontal:
    """The horizontal grid of some variables.

    Attributes:
        dims: the dimensions that a field of it has, latitude first on a rectilinear grid; empty for a single point.
        lat, lon: degrees; axes of the two ``dims`` where ``rectilinear``, else of the shape of ``dims`` (with a leading
            record dimension where points move).
        rectilinear: whether lat and lon are axes.
        names: of the two coordinate variables.
        moving: the record dimension along which the points move, or empty.
        note: what had to be assumed.
    """

    dims: tuple[str, ...]
    lat: Float
    lon: Float
    rectilinear: bool
    names: tuple[str, ...] = ()
    moving: str = ""
    note: str = ""


def is_record_dimension(dataset: Any, dim: str) -> bool:
    """Whether steps along ``dim`` are records: times, forecast steps, ensemble members."""
    attrs = dataset[dim].attrs if dim in dataset.variables else {}
    return (
        " since " in str(attrs.get("units", "")) or attrs.get("axis") == "T"
        or attrs.get("standard_name") in ("time", "forecast_period", "forecast_reference_time", "realization")
        or bool(_TIME_NAME.fullmatch(dim) or _MEMBER_NAME.fullmatch(dim))
    )


def is_coordinate(name: str, variable: Any) -> bool:
    """Whether a variable holds latitudes or longitudes."""
    return _is(name, variable, "latitude", _NORTH, _LATITUDE) or _is(name, variable, "longitude", _EAST, _LONGITUDE)


def _is(name: str, variable: Any, standard: str, unit: re.Pattern[str], pattern: re.Pattern[str]) -> bool:
    if variable.dtype.kind not in "iuf":
        return False
    standard_name = str(variable.attrs.get("standard_name", ""))
    if standard_name:  # grid_latitude, projection_y_coordinate: of a rotated or projected system, not of the Earth
        return standard_name == standard
    return bool(unit.fullmatch(str(variable.attrs.get("units", ""))) or pattern.fullmatch(name))


def horizontals(dataset: Any) -> list[Horizontal]:
    """Every horizontal grid that a data set gives coordinates for, the most specific (most dimensions) first."""
    variables = {str(name): variable for name, variable in dataset.variables.items()}
    bounds = {text for v in variables.values() for key in ("bounds", "climatology") if (text := v.attrs.get(key))}
    lats = [name for name, v in variables.items() if _is(name, v, "latitude", _NORTH, _LATITUDE) and name not in bounds]
    lons = [name for name, v in variables.items() if _is(name, v, "longitude", _EAST, _LONGITUDE) and name not in bounds]
    found = [*_pairs(dataset, lats, lons), *_face_centers(dataset)]
    found += _projected(dataset, [set(grid.dims) for grid in found])
    return sorted(found, key=lambda grid: (-len(grid.dims), grid.rectilinear))


def _pairs(dataset: Any, lats: list[str], lons: list[str]) -> Iterator[Horizontal]:
    for lat in lats:
        alike = [lon for lon in lons if dataset[lon].dims == dataset[lat].dims]
        if alike:  # of several on one set of dimensions (TLONG and ULONG for TLAT), the one that is spelled most alike
            lon = max(alike, key=lambda name: SequenceMatcher(None, name.lower(), lat.lower()).ratio())
            yield _points(dataset, lat, lon)
            continue
        for lon in lons:
            if dataset[lat].ndim == dataset[lon].ndim == 1:
                yield Horizontal((*dataset[lat].dims, *dataset[lon].dims), *_degrees(dataset, lat, lon, False), True, (lat, lon))


def _projected(dataset: Any, known: list[set[str]]) -> Iterator[Horizontal]:
    """Grids in a plane or on a turned sphere that the data set places by a grid mapping alone: dimensions not ``known``."""
    for mapping, y, x in axes(dataset):
        if {y, x} in known:
            continue
        down, across = (decoded(dataset[name].values, dataset[name].attrs) for name in (y, x))
        placed = places(dataset[mapping].attrs, across, down, str(dataset[x].attrs.get("units", "")))
        if placed is not None:
            lat, lon, note = placed
            yield Horizontal((y, x), lat, lon, False, (y, x), "", note)


def _points(dataset: Any, lat: str, lon: str) -> Horizontal:
    dims = tuple(str(dim) for dim in dataset[lat].dims)
    phi, lam = _degrees(dataset, lat, lon, True)
    units = str(dataset[lat].attrs.get("units", ""))
    odd = units and not _NORTH.fullmatch(units) and not units.lower().startswith(("rad", "degree"))
    note = f"unit {units!r} of {lat} read as degrees" if odd else ""
    # A leading time (WRF repeats its grid at every output) is dropped where nothing moves along it.
    if len(dims) > 1 and is_record_dimension(dataset, dims[0]):
        if len(phi) and (phi == phi[0]).all() and (lam == lam[0]).all():
            return Horizontal(dims[1:], phi[0], lam[0], False, (lat, lon), "", note)
        return Horizontal(dims[1:], phi, lam, False, (lat, lon), dims[0], note)
    return Horizontal(dims, phi, lam, False, (lat, lon), "", note)


def _degrees(dataset: Any, lat: str, lon: str, points: bool) -> tuple[Float, Float]:
    """Values of two coordinate variables in degrees; NaN where missing."""
    phi, lam = (decoded(dataset[name].values, dataset[name].attrs) for name in (lat, lon))
    units = str(dataset[lat].attrs.get("units", "")).lower()
    # MPAS writes radians without saying so: latCell, lonCell.
    silent = points and not units and re.search(r"[a-z](Cell|Edge|Vertex)$", lat) is not None
    fits = phi.size > 0 and bool(np.nanmax(np.abs(phi)) <= np.pi / 2 + 1e-6 and np.nanmax(np.abs(lam)) <= 2 * np.pi + 1e-6)
    if units.startswith("rad") or (silent and fits):
        phi, lam = np.degrees(phi), np.degrees(lam)
        phi = np.where(np.abs(np.abs(phi) - 90.0) < 1e-5, np.copysign(90.0, phi), phi)  # a float32 pole lies 2e-6 beyond
    return phi, lam


def _face_centers(dataset: Any) -> Iterator[Horizontal]:
    """Centers of the faces of a UGRID mesh: normalized means of their corners."""
    for name, mesh in dataset.variables.items():
        table, nodes = mesh.attrs.get("face_node_connectivity"), str(mesh.attrs.get("node_coordinates", "")).split()
        if mesh.attrs.get("cf_role") != "mesh_topology":
            continue
        table = table or next((n for n, v in dataset.variables.items() if v.attrs.get("cf_role") == "face_node_connectivity"), None)
        nodes = nodes or [n for n, v in dataset.variables.items() if str(n).startswith(f"{name}_node_") and is_coordinate(str(n), v)]
        if table not in dataset.variables or len(nodes) != 2 or any(node not in dataset.variables for node in nodes):
            continue
        lon, lat = sorted(nodes, key=lambda node: _is(str(node), dataset[node], "latitude", _NORTH, _LATITUDE))
        phi, lam = _degrees(dataset, str(lat), str(lon), True)
        corner = dataset[table].values.astype(np.int64) - int(dataset[table].attrs.get("start_index", 0))
        corner = corner if corner.min() >= 0 and corner.max() < len(phi) else _one_based(corner, len(phi))
        there = (corner >= 0) & (corner < len(phi))  # fill values pad faces with fewer corners
        points = np.where(there[..., None], unit_vectors(phi, lam)[np.where(there, corner, 0)], 0.0).sum(axis=1)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        yield Horizontal((str(dataset[table].dims[0]),), *lat_lon(points), False, (str(lat), str(lon)), "",
                         "face centers are the means of their corners")


def _one_based(corner: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """Connectivity that counts from 1 without a start_index."""
    return corner - 1 if corner.max() == nodes else corner


def healpix_grid(dataset: Any, dim: str) -> Horizontal | None:
    """HEALPix cells of a dimension without coordinates, by its length; None where it is no HEALPix map or is in nested order."""
    nside = healpix_nside(int(dataset.sizes[dim]))
    if not nside:
        return None
    texts = [str(value).lower() for v in (dataset, *dataset.variables.values()) for value in v.attrs.values()]
    if any(text.startswith("nest") for text in texts):
        return None
    return Horizontal((dim,), *healpix_centers(nside), False, (), "", f"{dim}: HEALPix nside {nside} in ring order, by its length")
