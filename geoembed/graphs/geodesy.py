"""Geometry on the unit sphere: positions, great-circle distances, solid angles, and the HEALPix pixel centers.

Angles come in as degrees and go on as unit vectors in float64, so that no later step knows a seam or a pole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoembed.graphs.multimesh import chunks

Float = NDArray[np.float64]

SPHERE = 4.0 * np.pi
"""Solid angle of the sphere, sr."""

MILLIDEGREE = 1e-3
"""Degrees; the precision of coordinates in GRIB edition 1, and the tolerance of every comparison of grids."""


def unit_vectors(lat: Float, lon: Float) -> Float:
    """Positions on the unit sphere [..., 3] of latitudes and longitudes [...] in degrees; the poles are exact.

    >>> unit_vectors(np.array([90.0]), np.array([123.0])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    out = np.empty((*np.broadcast_shapes(np.shape(lat), np.shape(lon)), 3))
    lat, lon = (np.broadcast_to(axis, out.shape[:-1]).reshape(-1) for axis in (lat, lon))
    rows = out.reshape(-1, 3)
    for part in chunks(len(rows)):
        phi, lam = np.radians(lat[part]), np.radians(lon[part])
        radius = np.where(np.abs(lat[part]) == 90.0, 0.0, np.cos(phi))  # cos(pi/2) is 6e-17 in floating point
        rows[part, 0], rows[part, 1], rows[part, 2] = radius * np.cos(lam) + 0.0, radius * np.sin(lam) + 0.0, np.sin(phi)
    return out


def lat_lon(points: Float) -> tuple[Float, Float]:
    """Latitude and longitude in degrees, the latter in [0, 360), of unit vectors [..., 3]."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x)) % 360.0


def great_circle(a: Float, b: Float) -> Float:
    """Angle [rad] between unit vectors a and b [..., 3]; exact for close and for opposite points alike.

    >>> float(great_circle(np.array([1.0, 0, 0]), np.array([0, 1.0, 0])).round(4))
    1.5708
    """
    dot, x, y, z = products(a, b)
    angle: Float = np.arctan2(np.sqrt(x * x + y * y + z * z), dot)
    return angle


def products(a: Float, b: Float) -> tuple[Float, Float, Float, Float]:
    """The dot product and the components of the cross product of vectors [..., 3]."""
    (ax, ay, az), (bx, by, bz) = (tuple(vectors[..., axis] for axis in range(3)) for vectors in (a, b))
    return ax * bx + ay * by + az * bz, ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


def displacements(source: Float, target: Float) -> Float:
    """(distance, east, north) [..., 3] of unit vectors ``source`` seen from ``target``.

    The distance is the great circle in rad. East and north are the components of source − target in the tangent plane of
    the target, multiplied by the cosine of its latitude: for a target p and a source q they are ``p_x q_y − p_y q_x`` and
    ``q_z − p_z (p·q)``. They turn with neither pole nor seam, and are 0 at a pole, where east has no meaning.
    """
    cosine, x, y, east = products(target, source)
    north = source[..., 2] - target[..., 2] * cosine
    # At a pole both are 0 in exact arithmetic; rounding would leave a direction of length 1e-17.
    polar = (target[..., 0] == 0) & (target[..., 1] == 0)
    distance = np.arctan2(np.sqrt(x * x + y * y + east * east), cosine)
    return np.stack([distance, np.where(polar, 0.0, east), np.where(polar, 0.0, north)], axis=-1)


def nearest(points: Float, queries: Float, count: int) -> tuple[Float, NDArray[np.int64]]:
    """(chord lengths, indices) [Q, count] of the ``count`` ≤ P of ``points`` [P, 3] nearest to each of ``queries`` [Q, 3]."""
    distance, index = cKDTree(points).query(queries, k=np.arange(1, count + 1))
    return np.asarray(distance, np.float64), np.asarray(index, np.int64)


def solid_angles(a: Float, b: Float, c: Float) -> Float:
    """Signed solid angle [sr] of the spherical triangles a, b, c [..., 3]; positive where they turn counterclockwise.

    Van Oosterom & Strackee (1983), equation 8, with the triple product taken of differences: the cancellation in small
    triangles would otherwise cost half of the digits.

    >>> float(solid_angles(*np.eye(3)).round(6))  # an octant
    1.570796
    """
    triple = (a * np.cross(b - a, c - a)).sum(axis=-1)
    total = 1.0 + (a * b).sum(axis=-1) + (b * c).sum(axis=-1) + (c * a).sum(axis=-1)
    angle: Float = 2.0 * np.arctan2(triple, total)
    return angle


def healpix_centers(nside: int) -> tuple[Float, Float]:
    """Latitudes and longitudes [12·nside²] in degrees of the HEALPix pixel centers in ring order, north to south.

    Górski et al. (2005), equations 4 to 9. All pixels have the area 4π / (12·nside²).

    >>> healpix_centers(1)[0].round(2).tolist()
    [41.81, 41.81, 41.81, 41.81, 0.0, 0.0, 0.0, 0.0, -41.81, -41.81, -41.81, -41.81]
    """
    ring = np.arange(1, 4 * nside)  # [R]
    cap = np.minimum(ring, 4 * nside - ring)  # distance in rings from the nearer pole
    polar = cap < nside
    count = np.where(polar, 4 * cap, 4 * nside)
    z = np.where(polar, 1.0 - cap**2 / (3.0 * nside**2), (2.0 * nside - cap) * 2.0 / (3.0 * nside))
    z = np.where(ring > 2 * nside, -z, z)
    # Equatorial rings are shifted by half a pixel in turn; polar rings always.
    shift = np.where(polar, 0.5, 0.5 * ((ring - nside + 1) % 2))
    row = np.repeat(np.arange(len(ring)), count)  # [12 nside²]
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return np.degrees(np.arcsin(z))[row], (step + shift[row]) * 360.0 / count[row]


def healpix_nside(count: int) -> int:
    """nside of a HEALPix map of ``count`` pixels, a power of two; 0 where the number is no such map.

    >>> healpix_nside(12288), healpix_nside(5400)
    (32, 0)
    """
    nside = round((count / 12) ** 0.5)
    return nside if nside > 0 and 12 * nside**2 == count and nside & (nside - 1) == 0 else 0
