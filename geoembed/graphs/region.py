"""Polygons in latitude and longitude, and the triangles of the refined icosahedron that touch them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoembed.errors import BudgetError, ValueRangeError
from geoembed.graphs.geodesy import lat_lon, unit_vectors
from geoembed.graphs.icosahedron import EDGE, child_of, child_planes, first_face, icosahedron
from geoembed.graphs.multimesh import CHILDREN

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Region = tuple[tuple[float, float], ...]

SAMPLES = 8
"""Points on the border for each edge of the finest mesh."""


def region_of(corners: ArrayLike | Sequence[tuple[float, float]]) -> Region:
    """The corners (lat, lon) of a polygon, checked; a repeated last corner is left out.

    Raises:
        ValueRangeError: not [K ≥ 3, 2], no finite degrees, or without an area.
    """
    array = np.asarray(corners, np.float64)
    shaped = array.ndim == 2 and array.shape[1:] == (2,)
    if shaped and len(array) > 1 and (array[0] == array[-1]).all():
        array = array[:-1]
    if not shaped or len(array) < 3:
        raise _refusal(f"shape {list(array.shape)}", "at least three corners (lat, lon) [K, 2]")
    lat, lon = array.T
    if not ((np.abs(lat) <= 90).all() and (np.abs(lon) <= 720).all() and np.ptp(lon) <= 360):
        raise _refusal(f"latitudes {lat.min():g}…{lat.max():g}, longitudes {lon.min():g}…{lon.max():g}",
                       "latitudes in ±90, longitudes that span 360° at most")
    if (lat * np.roll(lon, -1) - np.roll(lat, -1) * lon).sum() == 0:
        raise _refusal("a polygon without an area", "corners in order round the region")
    return tuple((float(one), float(two)) for one, two in array)


def _refusal(found: str, expected: str) -> ValueRangeError:
    return ValueRangeError(where="refined_mesh: region", found=found, expected=expected,
                           remedy="Give degrees as (lat, lon), in order; across the date line let the longitudes run on: 170, 190.")


def inside(region: Region, points: Float) -> NDArray[np.bool_]:
    """Which unit vectors [P, 3] lie in the region (even-odd rule in the plane of latitude and longitude)."""
    lat, lon = lat_lon(points)
    corners = np.asarray(region)
    west = corners[:, 1].min()
    lon = west + np.mod(lon - west, 360.0)  # the one longitude that can lie in a region no wider than the circle
    odd = np.zeros(len(points), bool)
    for (lat1, lon1), (lat2, lon2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if lat1 != lat2:
            crosses = (lat1 <= lat) != (lat2 <= lat)
            odd ^= crosses & (lon < lon1 + (lat - lat1) * ((lon2 - lon1) / (lat2 - lat1)))
    return odd


def border(region: Region, step: float) -> Float:
    """Points [B, 3] on the border, ``step`` rad apart at most, the corners among them."""
    corners = np.radians(np.asarray(region))
    parts = []
    for one, two in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        widest = np.cos(np.clip(0.0, min(one[0], two[0]), max(one[0], two[0])))  # cosine of the latitude nearest the equator
        length = np.hypot(two[0] - one[0], (two[1] - one[1]) * widest)
        share = np.arange(max(1, int(np.ceil(length / step))))[:, None]
        parts.append(one + (two - one) * (share / len(share)))
    lat, lon = np.degrees(np.concatenate(parts)).T
    return unit_vectors(np.clip(lat, -90.0, 90.0), lon)


def touched(region: Region, level: int, fine_level: int, most: int) -> list[Int]:
    """The faces of each level from ``level`` to ``fine_level`` − 1, ascending, that touch the region.

    A triangle touches it that has its center or a corner in it, or a point of the border.

    Raises:
        BudgetError: more than ``most`` faces on one level.
    """
    vertices, faces = icosahedron()
    number, corners = np.arange(20), vertices[faces]  # [T], [T, 3, 3]
    samples = border(region, EDGE / 2**fine_level / SAMPLES)
    x, y, z = np.ascontiguousarray(samples.T)
    holds = first_face(corners, samples)  # row of the triangle of each sample
    found = []
    for each in range(fine_level):
        known = np.concatenate([corners.reshape(-1, 3), corners.sum(axis=1)])
        within = inside(region, known)
        touches = within[: 3 * len(corners)].reshape(-1, 3).any(axis=1) | within[3 * len(corners):]
        touches[holds] = True
        if each >= level:
            found.append(number[touches])
        if touches.sum() > most:
            raise BudgetError(where="refined_mesh", found=f"{int(touches.sum())} triangles of level {each} in the region",
                              expected=f"at most {most}", remedy="Take a smaller region or a lower fine_level.")
        row = np.cumsum(touches) - 1
        corners = corners[touches]
        middle = corners + np.roll(corners, -1, axis=1)
        square = middle * middle
        middle /= np.sqrt(square[..., :1] + square[..., 1:2] + square[..., 2:])
        planes = child_planes(middle.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))
        holds = row[holds]
        holds = 4 * holds + child_of(planes.take(holds, axis=0), x, y, z)
        number = (4 * number[touches, None] + np.arange(4)).ravel()
        corners = np.concatenate([corners, middle], axis=1)[:, CHILDREN].reshape(-1, 3, 3)
    return found
