"""Solid angles of the cells of a grid: by rows (regular, Gaussian, reduced), HEALPix, quadrilaterals or Voronoi cells.

A cosine of latitude is no area: it is 0 at a pole row, whose cells have 1.9e-5 of the sphere at 1°, and wrong on reduced
grids, whose rows differ in number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_legendre

from geoembed.graphs.geodesy import MILLIDEGREE, SPHERE, healpix_centers, healpix_nside, nearest, solid_angles, unit_vectors
from geoembed.graphs.voronoi import region_areas

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Areas:
    """Solid angles of the cells around grid points.

    Attributes:
        area: [P] sr, all > 0; sums to 4π where ``covers_sphere``, else to the area of the region.
        covers_sphere: False where the points cover a region only.
        layout: ``healpix``, ``gaussian``, ``rows``, ``curvilinear`` or ``points``: the rule that gave the areas.
    """

    area: Float
    covers_sphere: bool
    layout: str

    @cached_property
    def content(self) -> bytes:
        """The areas as bytes: a key, whose hash is taken once."""
        return self.area.tobytes()


def cell_areas(lat: Float, lon: Float, lattice: Int | None = None) -> Areas:
    """Areas of the cells around points lat, lon [P] in degrees, sorted by latitude, then by longitude in [0, 360).

    ``lattice`` [H, W] are the numbers of the points where they form a curvilinear grid. Rows of equal latitude whose points
    are evenly spaced, or which all have the same longitudes, get the area of their band (Gauss-Legendre weights where the
    latitudes are Gaussian, else borders half-way between rows, and the pole) times
    their width; a border of a region lies half a cell beyond its last points. A curvilinear region is cut into
    quadrilaterals half-way between its points; other points get Voronoi cells.
    """
    nside = healpix_nside(len(lat))
    if nside and _same_points(lat, lon, *healpix_centers(nside)):
        return Areas(np.full(len(lat), SPHERE / len(lat)), True, "healpix")
    rows = _rows(lat, lon)
    if rows is not None:
        height, gaussian, whole = _heights(lat[rows.start], rows.closed)
        area, layout = np.repeat(height, rows.size) * np.radians(rows.width), "gaussian" if gaussian else "rows"
        return Areas(area * (SPHERE / area.sum()) if whole else area, whole, layout)
    points = unit_vectors(lat, lon)
    if lattice is not None and (quads := quad_areas(points[lattice])) is not None:
        area = np.empty(len(points))
        area[lattice] = quads
        return Areas(area, False, "curvilinear")
    area, whole = region_areas(points)
    return Areas(area * (SPHERE / area.sum()) if whole else area, whole, "points")


def quad_areas(points: Float) -> Float | None:
    """Areas [H, W] of the cells of a curvilinear grid of unit vectors [H, W, 3] that covers a region.

    Corners are the normalized means of four points; beyond the border the grid goes on as it ends. None where that makes no
    tiling: a grid that folds, winds round the sphere, or whose rows are no neighbors.
    """
    if min(points.shape[:2]) < 2:
        return None
    wide = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    wide = np.concatenate([2 * wide[:, :1] - wide[:, 1:2], wide, 2 * wide[:, -1:] - wide[:, -2:-1]], axis=1)
    corner = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
    corner /= np.linalg.norm(corner, axis=-1, keepdims=True)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    area = solid_angles(a, b, c) + solid_angles(a, c, d)
    area = area if area[0, 0] > 0 else -area
    meets = min(_closest(points[0], points[-1]), _closest(points[:, 0], points[:, -1]))
    cell = float(np.sqrt(np.median(np.abs(area))))
    tiles = bool((area > 0).all()) and area.sum() < 0.5 * SPHERE and meets > 0.5 * cell
    return area if tiles else None


def _closest(one: Float, other: Float) -> float:
    return float(nearest(one, other, 1)[0].min())


def _same_points(lat: Float, lon: Float, other_lat: Float, other_lon: Float) -> bool:
    distance, index = nearest(unit_vectors(lat, lon), unit_vectors(other_lat, other_lon), 1)
    return bool(distance.max() < np.radians(2 * MILLIDEGREE)) and len(np.unique(index)) == len(lat)


@dataclass(frozen=True, eq=False)
class _Rows:
    start: Int  # first point of each row
    size: Int
    width: Float  # [P] degrees of longitude
    closed: NDArray[np.bool_]  # whether the row goes round the sphere


def _rows(lat: Float, lon: Float) -> _Rows | None:
    """Points as rows of equal latitude, or None where they are not arranged so."""
    start = np.flatnonzero(np.diff(lat, prepend=-1e9))
    size = np.diff(np.append(start, len(lat)))
    if len(start) < 2 or len(lat) < 2 * len(start):
        return None
    row = np.repeat(np.arange(len(start)), size)
    last = start + size - 1
    gap = np.diff(lon, append=0.0)
    gap[last] = lon[start] + 360.0 - lon[last]  # the last point of a row looks across the seam; the gaps of a row sum to 360
    if (gap <= 0).any():
        return None  # two points at one place
    widest = np.maximum.reduceat(gap, start)
    border = np.flatnonzero(gap == widest[row])
    border = border[np.diff(row[border], prepend=-1) > 0]  # one a row: where a region has its outside
    inner = gap.copy()
    inner[border] = 0.0
    spacing = (360.0 - widest) / np.maximum(size - 1, 1)
    even = (inner == 0) | (np.abs(inner - spacing[row]) <= 0.01 * spacing[row] + 2 * MILLIDEGREE)
    if not (even.all() or _equal_rows(lon, size)):
        return None
    closed = np.where(size > 1, widest <= 1.5 * np.maximum.reduceat(inner, start) + MILLIDEGREE, np.abs(lat[start]) == 90.0)
    lone = (size == 1) & ~closed
    if lone.any():  # one point in a row of a reduced grid's subarea: as wide as the cells of the other rows
        arc = np.median((spacing * np.cos(np.radians(lat[start])))[size > 1])
        spacing[lone] = np.minimum(arc / np.cos(np.radians(lat[start[lone]])), 360.0)
    gap[border] = np.where(closed, gap[border], spacing)
    before = np.roll(gap, 1)
    before[start] = gap[last]
    return _Rows(start, size, 0.5 * (before + gap), closed)


def _equal_rows(lon: Float, size: Int) -> bool:
    same_size = bool((size == size[0]).all())
    return same_size and bool((np.abs(lon.reshape(-1, size[0]) - lon[: size[0]]) < MILLIDEGREE).all())


def _heights(lat: Float, closed: NDArray[np.bool_]) -> tuple[Float, bool, bool]:
    """(height of each row [R] in sin of latitude, whether the rows are Gaussian, whether they cover the sphere)."""
    if closed.all() and (weights := _gauss_weights(lat)) is not None:
        return weights, True, True
    middle = 0.5 * (lat[1:] + lat[:-1])
    south, north = lat[0] - (middle[0] - lat[0]), lat[-1] + (lat[-1] - middle[-1])
    # A pole within one row spacing belongs to the last row: grids without a pole row, or one that was cut off.
    if closed[0] and 90.0 + lat[0] <= lat[1] - lat[0] + MILLIDEGREE:
        south = -90.0
    if closed[-1] and 90.0 - lat[-1] <= lat[-1] - lat[-2] + MILLIDEGREE:
        north = 90.0
    edge = np.radians(np.concatenate([[max(south, -90.0)], middle, [min(north, 90.0)]]))
    # sin b − sin a without cancellation
    height = 2.0 * np.cos(0.5 * (edge[1:] + edge[:-1])) * np.sin(0.5 * np.diff(edge))
    return height, False, bool(closed.all()) and south <= -90.0 and north >= 90.0


def _gauss_weights(lat: Float) -> Float | None:
    """Gauss-Legendre weights [R], ascending, where ``lat`` are the Gaussian latitudes of R rows; else None."""
    count = len(lat)
    first = -90.0 + 135.0 / (count + 0.5)  # asymptotic; good to a tenth of a row, which tells equal rows from Gaussian ones
    if count % 2 or abs(lat[0] - first) > 18.0 / count:
        return None
    roots, weights = roots_legendre(count)
    matches = bool((np.abs(np.degrees(np.arcsin(roots)) - lat) < 2 * MILLIDEGREE).all())
    return np.asarray(weights, np.float64) if matches else None
