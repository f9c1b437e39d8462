"""Neighbors among thousands of points on a CPU by a k-d tree, with the sets and the order of the dense search.

The tree only proposes: distances of what it proposes are computed again by the formula of :mod:`geoembed.ops.distance`, and
a row is taken only where the farthest proposal lies beyond its k-th neighbor, so that a tie or a rounding of the tree's own
cannot change a set. Rows that fail this (many coincident points) ask for more, in the end for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from geoembed.errors import ValueRangeError
from geoembed.ops.distance import GEOMETRY

LARGE = 512
"""Rows from which a segment is searched by a tree: below, the dense search is as fast (measured, one core)."""

_MARGIN = 8
_SLACK = 1e-9  # relative, of squared distances: far above the rounding of either side, far below what distinguishes places
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def has_tree(points: Tensor, ptr: Tensor, members: Tensor) -> bool:
    """Whether a group of segments is searched by trees: large ones, on a CPU, of few columns, with finite coordinates."""
    if points.device.type != "cpu" or not 0 < points.shape[1] <= GEOMETRY:
        return False
    if int((ptr[members + 1] - ptr[members]).min()) < LARGE:
        return False
    return bool(torch.isfinite(points).all())


def nearest(points: Tensor, ptr: Tensor, members: Tensor, k: int, period: tuple[float | None, ...] | None, table: Tensor) -> None:
    """Write the k nearest of every row of some segments into ``table`` [N, k]: nearest first, ties by the smaller index."""
    for low, high in torch.stack([ptr[members], ptr[members + 1]], 1).tolist():
        place = points[low:high].numpy()
        tree, shifted = _tree(place, period)
        found = _rows(tree, shifted, place, np.arange(high - low), min(k, high - low - 1), period)
        table[low:high, : found.shape[1]] = torch.from_numpy(found + low)


def _tree(place: Floats, period: tuple[float | None, ...] | None) -> tuple[Any, Floats]:
    """The tree of some points, and the points in its coordinates: [0, period) where a column is periodic."""
    widths = [float(width or 0.0) for width in period or (None,) * place.shape[1]]
    shifted = place.copy()
    for column, width in enumerate(widths):
        if width:
            shifted[:, column] = np.mod(place[:, column], width)
            shifted[shifted[:, column] >= width, column] = 0.0  # mod of −1e-20 rounds to the period itself
    return cKDTree(shifted, boxsize=widths), shifted


def _rows(tree: Any, shifted: Floats, place: Floats, rows: Ints, k: int, period: tuple[float | None, ...] | None) -> Ints:
    """Neighbors [rows, k] by index within the segment."""
    n, ask = len(place), k + 1 + _MARGIN
    result: Ints = np.empty((len(rows), k), np.int64)
    open_rows = np.arange(len(rows))
    while len(open_rows) and k:
        ask = min(ask, n)
        here = rows[open_rows]
        far, slot = tree.query(shifted[here], k=ask)
        slot = np.sort(slot, axis=1)  # by index first, so that the stable sort below leaves ties to the smaller one
        distance = _distance(place[here][:, None, :], place[slot], period)
        distance[slot == here[:, None]] = np.inf  # self by index, never by distance
        order = np.argsort(distance, axis=1, kind="stable")[:, :k]
        last = np.take_along_axis(distance, order[:, -1:], axis=1)[:, 0]
        certain = last < far[:, -1] ** 2 * (1 - _SLACK)
        if ask == n:
            certain[:] = True
        result[open_rows[certain]] = np.take_along_axis(slot, order, axis=1)[certain]
        open_rows, ask = open_rows[~certain], 4 * ask
    return result


def _distance(a: Floats, b: Floats, period: tuple[float | None, ...] | None) -> Floats:
    """As :func:`geoembed.ops.distance.pair_distance`, of paired rows: the same operations, so the same bits."""
    total: Floats | None = None
    for column in range(a.shape[-1]):
        difference = a[..., column] - b[..., column]
        width = None if period is None else period[column]
        if width is not None:
            difference = np.abs(difference)
            difference = np.minimum(difference, width - difference)
        square: Floats = difference * difference
        total = square if total is None else total + square
    if total is None:
        raise ValueRangeError(where="neighbors", found="points of no column", expected="at least one", remedy="Give coordinates.")
    return total


def pairs_within(points: Tensor, ptr: Tensor, members: Tensor, radius: float, period: tuple[float | None, ...] | None) -> Tensor:
    """Pairs of rows no farther apart than ``radius`` in some segments: [2, E] (source, target), each in both directions."""
    parts = [np.zeros((2, 0), np.int64)]
    for low, high in torch.stack([ptr[members], ptr[members + 1]], 1).tolist():
        place = points[low:high].numpy()
        tree, _ = _tree(place, period)
        near = tree.query_pairs(radius * (1 + _SLACK) + 1e-300, output_type="ndarray").astype(np.int64)  # [pairs, 2], i < j
        kept = near[_distance(place[near[:, 0]], place[near[:, 1]], period) <= radius * radius].T
        parts.append(np.concatenate([kept, kept[::-1]], axis=1) + low)
    return torch.from_numpy(np.concatenate(parts, axis=1))
