"""Edges between grid points and the corners of the mesh triangles that hold them, both ways, with their geometry.

Both ways are the same pairs: the second is the first in another order, found by counting, with one sign and one component
of the displacement changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geoembed.graphs.geodesy import displacements, nearest, products
from geoembed.graphs.multimesh import chunks

Float = NDArray[np.float64]
Single = NDArray[np.float32]
Int = NDArray[np.int64]

NEIGHBORS = 8
"""Most points that a mesh vertex without a point in its triangles listens to: those at equal distance are all taken."""


@dataclass(frozen=True, eq=False)
class Joined:
    """The edges of a grid and a mesh: P points, then V vertices.

    Attributes:
        edge_index: [2, E] int64; points to vertices, then among vertices, then back, each sorted by (target, source).
        sizes: numbers of edges of the three kinds.
        order: which pair (corner k of point p is 3p + k) each of the first edges is, those of ``extra`` left out.
        extra: places [X] of the first edges that go to vertices without a point in their triangles.
    """

    edge_index: Int
    sizes: tuple[int, int, int]
    order: NDArray[np.int32]
    extra: Int


def join(points: Float, vertices: Float, corners: Int, mesh_edges: Int) -> Joined:
    """Edges from ``points`` [P, 3] to the ``corners`` [P, 3], ascending, of their triangles, and back; and the mesh's own [2, M].

    A vertex that is no point's corner takes its nearest points instead: no node is isolated.
    """
    total = len(points)
    number, bounds = np.arange(3 * total, dtype=np.int32), np.arange(0, 3 * total + 1, 3)
    pairs = sparse.csr_matrix((number, corners.ravel().astype(np.int32), bounds), shape=(total, len(vertices)))
    by_vertex = pairs.tocsc()  # a counting sort: the pairs in order of vertex, then point
    heard = np.diff(by_vertex.indptr)
    extra_point, extra_vertex = _lonely(points, vertices, np.flatnonzero(heard == 0))
    sizes = (3 * total + len(extra_point), mesh_edges.shape[1], 3 * total)
    first, second = sizes[0], sizes[0] + sizes[1]
    edges = np.empty((2, sum(sizes)), np.int64)
    place = by_vertex.indptr[extra_vertex].astype(np.int64)  # a vertex that hears no pair: all of its edges come here
    point, vertex = by_vertex.indices, np.repeat(np.arange(total, total + len(vertices), dtype=np.int32), heard)
    if len(place):
        point, vertex = np.insert(point, place, extra_point), np.insert(vertex, place, extra_vertex + total)
    edges[0, :first], edges[1, :first] = point, vertex
    np.add(mesh_edges, total, out=edges[:, first:second])
    np.add(corners, total, out=edges[0, second:].reshape(total, 3))
    edges[1, second:].reshape(total, 3)[:] = np.arange(total)[:, None]
    return Joined(edges, sizes, by_vertex.data, place + np.arange(len(place)))


def geometry(points: Float, vertices: Float, corners: Int, joined: Joined) -> Single:
    """(great circle in rad, east, north) [E, 3] of the source of each edge seen from its target, computed in float64."""
    total, (first, among, _) = len(points), joined.sizes
    attributes = np.empty((sum(joined.sizes), 3), np.float32)
    backward = _write_geometry(points, vertices, corners, attributes[first + among:].reshape(total, 3, 3)).reshape(-1, 3)
    if len(joined.extra):
        own = np.ones(first, bool)
        own[joined.extra] = False
        attributes[:first][own] = backward.take(joined.order, axis=0)
        source, target = joined.edge_index[:, joined.extra]
        attributes[joined.extra] = displacements(points[source], vertices[target - total])
    else:
        backward.take(joined.order, axis=0, out=attributes[:first], mode="clip")  # clip: writes into out without a copy
    for part in chunks(among):
        source, target = joined.edge_index[:, first:][:, part] - total
        attributes[first:][part] = displacements(vertices.take(source, axis=0), vertices.take(target, axis=0))
    return attributes


def ascending(corners: Int) -> Int:
    """Rows of three [P, 3], each in ascending order."""
    out = np.empty_like(corners)
    for part in chunks(len(corners)):
        a, b, c = np.ascontiguousarray(corners[part].T)
        low, high = np.minimum(a, b), np.maximum(a, b)
        out[part, 0], out[part, 2] = np.minimum(low, c), np.maximum(high, c)
        out[part, 1] = np.maximum(low, np.minimum(high, c))
    return out


def _lonely(points: Float, vertices: Float, lonely: Int) -> tuple[Int, Int]:
    """(point, vertex) of the edges to vertices without a point in their triangles, sorted by vertex, then point."""
    if not len(lonely):
        return lonely, lonely
    distance, index = nearest(points, vertices[lonely], min(NEIGHBORS, len(points)))
    tied = distance <= distance[:, :1] + 1e-9  # a choice among equals would break symmetry
    point, vertex = index[tied], np.repeat(lonely, tied.sum(axis=1))
    order = np.lexsort((point, vertex))
    return point[order], vertex[order]


def _write_geometry(points: Float, vertices: Float, corners: Int, forward: Single) -> Single:
    """Displacements of the corners seen from the points, put into ``forward`` [P, 3, 3]; returned: of the points seen from them.

    The distance is the same, east has the other sign, and north is z of the source less z of the target times their cosine.
    """
    backward = np.empty_like(forward)
    for part in chunks(len(points)):
        point = points[part]
        for k in range(3):
            vertex = vertices.take(corners[part, k], axis=0)
            cosine, x, y, east = products(point, vertex)
            distance = np.arctan2(np.sqrt(x * x + y * y + east * east), cosine)
            for out, east_of, source, target in ((forward, east, vertex, point), (backward, -east, point, vertex)):
                out[part, k, 0] = distance
                out[part, k, 1] = east_of + 0.0  # no −0
                out[part, k, 2] = source[:, 2] - target[:, 2] * cosine  # as east, exactly 0 at a pole: its x and y are 0
    return backward
