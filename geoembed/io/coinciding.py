"""Which points of a periodic cell coincide, in the time of a sort."""

from __future__ import annotations

import numpy as np

from geoembed.io.sites import Array, Ints

_MOST = 2_000_000  # the product of three labels has to fit in 64 bits
_FEW = 128  # points of which all pairs are looked at
_LANES = np.array([1 << 40, 1 << 20, 1])  # three numbers of 16 bits in one of 64
_BIAS = int(_LANES.sum()) * ((1 << 16) + 15)  # keeps each lane of a difference positive, and ±15 units in its lowest 5 bits
_BEYOND = int(_LANES.sum()) * 0xFFE0


def all_apart(points: Array) -> bool:
    """Whether of a few fractional points [N, 3] in [0, 1) no two are within 2e-4 along every axis; False leaves it open.

    In fixed-point numbers of 16 bits steps wrap around as the cell does, and one subtraction takes the steps along all axes.
    """
    if len(points) > _FEW:
        return False
    packed = (points * 65536.0).astype(np.int64).dot(_LANES)
    steps = packed[:, None] - (packed - _BIAS)  # [N, N]
    steps &= _BEYOND
    return int(np.count_nonzero(steps)) == len(points) * (len(points) - 1)  # a point is near itself


def coinciding(points: Array, tolerance: float, apart: float) -> tuple[Ints, Ints] | None:
    """Fractional points [N, 3] in [0, 1) -> (first [S], group [N]): the first point of each group, and the group of each point.

    Groups are numbered in the order of their first points. Points of a group lie within ``tolerance`` of its first, along
    every axis and across the border of the cell; those of two groups are at least ``apart`` along one axis. None where the
    points do not part like that: chains of near points, which only all pairs can settle.

    >>> coinciding(np.array([[0.5, 0, 0], [0.2, 0, 0], [0.5, 0, 0.99999999]]), 5e-5, 1e-4)
    (array([0, 1]), array([0, 1, 0]))
    """
    count = len(points)
    if count > _MOST:
        return None
    axes = np.ascontiguousarray(points.T)
    order = axes.argsort(axis=1)
    order += np.arange(0, 3 * count, count)[:, None]
    ordered = axes.take(order)  # [3, N]
    level = np.zeros((3, count), dtype=np.int64)
    np.cumsum(ordered[:, 1:] - ordered[:, :-1] >= apart, axis=1, out=level[:, 1:])
    if (joined := ordered[:, 0] + 1 - ordered[:, -1] < apart).any():
        level = np.where(joined[:, None] & (level == level[:, -1:]), 0, level)
    label = np.empty(3 * count, dtype=np.int64)
    label[order] = level
    key = (label[:count] * count + label[count : 2 * count]) * count + label[2 * count :]
    in_order = np.sort(key)
    if (in_order[1:] != in_order[:-1]).all():
        every = np.arange(count)
        return every, every
    first, group = in_file_order(key)
    step = points - points[first][group]
    step -= np.rint(step)
    return (first, group) if np.abs(step).max() < tolerance else None


def in_file_order(label: Ints) -> tuple[Ints, Ints]:
    """Labels [N] -> (place [S] of the first point of each label, group [N]), numbered in the order of those places."""
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    order = first.argsort()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group]
