"""Voronoi cells of points on the sphere, of the whole sphere or bounded where the points end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from geoembed.graphs.geodesy import nearest, solid_angles
from geoembed.graphs.multimesh import chunks

Float = NDArray[np.float64]
Int = NDArray[np.int64]

GAP = 4.0
"""A Delaunay triangle whose circle is wider than this many point spacings lies outside what the points cover."""


def voronoi_areas(points: Float, triangles: Int) -> Float:
    """Solid angles [P] of the Voronoi cells of unit vectors ``points`` [P, 3] from their Delaunay ``triangles`` [T, 3].

    The cells together cover what the triangles cover.
    """
    shares = corner_shares(points, triangles)
    return np.bincount(triangles.ravel(), weights=shares.ravel(), minlength=len(points)).astype(np.float64)


def corner_shares(points: Float, triangles: Int) -> Float:
    """Solid angles [T, 3] that the cells of their corners have in ``triangles`` [T, 3], counterclockwise seen from outside.

    In a triangle with circumcenter o, the corners of a side a–b share the signed triangle (a, b, o) in halves: the signs make
    obtuse triangles come out right.
    """
    shares = np.empty(triangles.shape)
    for part in chunks(len(triangles)):
        a, b, c = np.moveaxis(points[triangles[part]], 1, 0)
        center = np.cross(b - a, c - a)
        center /= np.linalg.norm(center, axis=1, keepdims=True)
        ab, bc, ca = (0.5 * solid_angles(p, q, center) for p, q in ((a, b), (b, c), (c, a)))
        shares[part] = np.stack([ab + ca, ab + bc, bc + ca], axis=1)
    return shares


def region_areas(points: Float) -> tuple[Float, bool]:
    """(areas [P] sr of the cells of unit vectors ``points`` [P, 3], whether the points cover the sphere).

    Where the points end, the cells are bounded as if the pattern went on by one point: the neighbors of a border point are
    mirrored at it. Points at one place share a cell. A single point has no spacing; it gets a square degree.
    """
    first, owner = _merged(points)
    sites, shared = points[first], np.bincount(owner)
    if len(sites) == 1:
        return np.full(len(points), np.radians(1.0) ** 2 / len(points)), False
    triangles = _delaunay(sites)
    outside = _outside(sites, triangles)
    whole = bool(len(triangles)) and not bool(outside.any())
    area = voronoi_areas(sites, triangles) if whole else _bounded(sites, triangles, outside)
    area = _without_zeros(sites, area)
    return (area / shared)[owner], whole


def _without_zeros(sites: Float, area: Float) -> Float:
    """The hull drops points within rounding of a face: such a point shares the cell of the nearest one that has a cell."""
    lost = area <= 0
    if not lost.any():
        return area
    kept = np.flatnonzero(~lost)
    host = kept[nearest(sites[kept], sites[lost], 1)[1][:, 0]]
    area = area / (1 + np.bincount(host, minlength=len(area)))
    area[lost] = area[host]
    return area


def _merged(points: Float) -> tuple[Int, Int]:
    """(first point [S] of each place, place [P] of each point); a place is 1e-6 rad wide, the rounding of float32 degrees."""
    place = np.round((points + 1.0) * 1e6).astype(np.int64) @ np.array([1 << 42, 1 << 21, 1])  # 2e6 steps an axis: 21 bits each
    _, first, owner = np.unique(place, return_index=True, return_inverse=True)
    return first, owner


def _delaunay(sites: Float) -> Int:
    """Delaunay triangles [T, 3] of unit vectors: the faces of their convex hull, counterclockwise; none for points in a plane."""
    try:
        hull = ConvexHull(sites)
    except (QhullError, ValueError):  # fewer than 4 points, or all on one circle
        return np.zeros((0, 3), np.int64)
    triangles: Int = hull.simplices.astype(np.int64)
    a, b, c = np.moveaxis(sites[triangles], 1, 0)
    turn = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(axis=1) < 0
    triangles[turn] = triangles[turn][:, ::-1]
    return triangles


def _outside(sites: Float, triangles: Int) -> NDArray[np.bool_]:
    """Which triangles [T] span a gap: their circle is wider than GAP spacings, of the corners and of the whole set."""
    # The eighth neighbor: in cells up to five times longer than wide it is still across, not along.
    near = nearest(sites, sites, min(9, len(sites)))[0][:, -1]
    a, b, c = np.moveaxis(sites[triangles], 1, 0)
    center = np.cross(b - a, c - a)
    cosine = (center * a).sum(axis=1) / np.linalg.norm(center, axis=1)
    radius = np.arccos(np.clip(cosine, -1.0, 1.0))
    spacing = np.maximum(near[triangles].max(axis=1, initial=0.0), np.median(near))
    wide: NDArray[np.bool_] = (radius > GAP * spacing) | (radius >= 0.5 * np.pi)
    return wide


def _bounded(sites: Float, triangles: Int, outside: NDArray[np.bool_]) -> Float:
    """Areas [S] of the cells of ``sites`` with mirror points beyond the border."""
    border = np.unique(triangles[outside]) if len(triangles) else np.arange(len(sites))
    inside = triangles[~outside]
    mirrors, reach = _mirrors(sites, border, inside)
    disc = np.pi * reach**2  # nothing stands for more than the circle through its farthest neighbor
    strip = np.zeros(len(sites), bool)
    strip[border] = True
    for _ in range(3):  # a cell at the border depends on the points around it alone: no second hull of all
        strip[inside[strip[inside].any(axis=1)]] = True
    near = np.flatnonzero(strip)
    both = np.concatenate([sites[near], mirrors])
    cells = _delaunay(both)
    if not len(cells):
        return disc
    area = voronoi_areas(sites, inside)
    area[border] = voronoi_areas(both, cells)[: len(near)][np.searchsorted(near, border)]
    return np.minimum(area, disc)


def _mirrors(sites: Float, border: Int, triangles: Int) -> tuple[Float, Float]:
    """(neighbors of border points mirrored at them [M, 3], distance [S] to the farthest neighbor; infinite inside).

    Neighbors are those of the triangulation and the three nearest. Where a line of points leaves no free mirror image, the
    neighbors are turned by ±90° instead.
    """
    index = nearest(sites, sites[border], min(4, len(sites)))[1]
    close = np.stack([np.repeat(border, index.shape[1] - 1), index[:, 1:].ravel()], axis=1)
    sides = triangles[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2)
    reach = np.full(len(sites), np.inf)
    reach[border] = 0.0
    pairs = np.unique(np.concatenate([close, sides[reach[sides[:, 0]] == 0.0]]), axis=0)
    center, step = sites[pairs[:, 0]], sites[pairs[:, 1]] - sites[pairs[:, 0]]
    length = np.linalg.norm(step, axis=1)
    np.maximum.at(reach, pairs[:, 0], length)
    across = np.cross(center, step)
    mirrors = np.concatenate([center - step, center + across, center - across])
    mirrors /= np.linalg.norm(mirrors, axis=1, keepdims=True)
    # A mirror image inside the pattern falls on, or close to, a point that exists.
    free = nearest(sites, mirrors, 1)[0][:, 0] > 0.75 * np.tile(length, 3)
    straight = np.isin(pairs[:, 0], pairs[free[: len(pairs)], 0])
    free[len(pairs):] &= np.tile(~straight, 2)
    mirrors = mirrors[free]
    return mirrors[_merged(mirrors)[0]], reach
