"""The multi-mesh: an icosahedron refined L times, with the edges of all levels (Lam et al. 2023, GraphCast, supplement 3.5).

Edges carry numbers through the refinement, so that no level sorts or hashes: edge e of a level gets its midpoint as
vertex V + e and its halves as edges 2e and 2e + 1; face f gets three inner edges and the faces 4f … 4f + 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geoembed.errors import SchemaError, ValueRangeError

Int = NDArray[np.int64]
Float = NDArray[np.float64]

MAX_LEVEL = 8
"""Finest level: 655,362 vertices about 28 km apart on the Earth; its edge list takes 84 MB."""

EDGE = float(np.arctan(2.0))
"""Length [rad] of the icosahedron's edge, 63.43°; each level halves it (and stretches some edges by up to 18 %)."""


@dataclass(frozen=True, eq=False)
class IcosahedralMesh:
    """A refined icosahedron whose vertices 0 and 11 are the poles; turned by 72° about the axis it is itself.

    Attributes:
        level: number of refinements L.
        vertices: unit vectors [10·4^L + 2, 3] float64; the first 10·4^l + 2 are the mesh of level l.
        faces: vertices [20·4^L, 3] int64 of the finest triangles, counterclockwise seen from outside.
        edge_index: directed edges [2, 20·(4^(L+1) − 1)] int64 of all levels, source and target, sorted by (target, source).
        hierarchy: the faces of every level 0 … L; the children of face f are the faces 4f … 4f + 3 of the next.
    """

    level: int
    vertices: Float
    faces: Int
    edge_index: Int
    hierarchy: tuple[Int, ...]

    def locate(self, points: Float) -> Int:
        """The face [P] of the finest level that contains each of the unit vectors ``points`` [P, 3].

        Each point gets exactly one face. Descends the hierarchy, since the four children of a triangle tile it exactly.
        """
        a, b, c = np.moveaxis(self.vertices[self.hierarchy[0]], 1, 0)  # [20, 3] each
        normals = np.stack([np.cross(a, b), np.cross(b, c), np.cross(c, a)], axis=1)  # [20, 3, 3]
        inside = (points @ normals.reshape(-1, 3).T).reshape(len(points), 20, 3).min(axis=2)
        face: Int = inside.argmax(axis=1)
        for level in range(1, self.level + 1):
            faces = self.hierarchy[level]
            center = faces.reshape(-1, 4, 3)[:, 3]  # [F, 3] midpoints of ab, bc, ca
            m = self.vertices[center]
            # Beyond the arc from ca to ab lies the child at a, and so on round; else it is the middle one.
            cuts = np.stack([np.cross(m[:, 0], m[:, 2]), np.cross(m[:, 1], m[:, 0]), np.cross(m[:, 2], m[:, 1])], axis=1)
            beyond = np.einsum("pkx,px->pk", cuts[face], points)  # [P, 3]
            child = np.where(beyond.max(axis=1) > 0, beyond.argmax(axis=1), 3)
            face = 4 * face + child
        return face


@cache
def icosahedral_mesh(level: int) -> IcosahedralMesh:
    """The multi-mesh of ``level`` 0 … 8; built once a process, checked when built, its arrays read-only.

    Raises:
        ValueRangeError: a level out of bounds.

    >>> mesh = icosahedral_mesh(2)
    >>> mesh.vertices.shape, mesh.faces.shape, mesh.edge_index.shape
    ((162, 3), (320, 3), (2, 1260))
    """
    if not 0 <= level <= MAX_LEVEL:
        raise ValueRangeError(where="icosahedral_mesh", found=f"level {level}", expected=f"0…{MAX_LEVEL}",
                              remedy="Take level 5 (2°) for a 1° grid, 6 for 0.25°.")
    vertices, faces, edges, sides = _icosahedron()
    hierarchy, all_edges = [faces], [edges]
    for _ in range(level):
        vertices, faces, edges, sides = _refine(vertices, faces, edges, sides)
        hierarchy.append(faces)
        all_edges.append(edges)
    _check(level, vertices, faces, edges, sides)
    mesh = IcosahedralMesh(level, vertices, faces, _directed(np.concatenate(all_edges), len(vertices)), tuple(hierarchy))
    for array in (vertices, mesh.edge_index, *hierarchy):
        array.flags.writeable = False
    return mesh


def _icosahedron() -> tuple[Float, Int, Int, Int]:
    """Vertices [12, 3], faces [20, 3], edges [30, 2] and the edges [20, 3] of the faces: (ab, bc, ca)."""
    ring = np.arange(5)
    lat, turn = np.arctan(0.5), np.radians(72.0)
    rings = [np.stack([np.cos(lat) * np.cos(angle), np.cos(lat) * np.sin(angle), np.full(5, sign * np.sin(lat))], axis=1)
             for angle, sign in ((ring * turn, 1.0), ((ring + 0.5) * turn, -1.0))]
    vertices = np.concatenate([[[0.0, 0.0, 1.0]], *rings, [[0.0, 0.0, -1.0]]])
    north, south, upper, lower = 0, 11, 1 + ring, 6 + ring
    after, below = 1 + (ring + 1) % 5, 6 + (ring + 1) % 5
    faces = np.concatenate([
        np.stack([np.full(5, north), upper, after], axis=1), np.stack([upper, lower, after], axis=1),
        np.stack([after, lower, below], axis=1), np.stack([lower, np.full(5, south), below], axis=1),
    ])
    pairs = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)  # [60, 2]
    key, side = np.unique(pairs[:, 0] * 12 + pairs[:, 1], return_inverse=True)
    return vertices, faces, np.stack([key // 12, key % 12], axis=1), side.reshape(20, 3)


def _refine(vertices: Float, faces: Int, edges: Int, sides: Int) -> tuple[Float, Int, Int, Int]:
    """The next level: four faces for one, with their edges known by number."""
    count, total = len(vertices), len(edges)
    middle = vertices[edges[:, 0]] + vertices[edges[:, 1]]
    middle /= np.sqrt((middle * middle).sum(axis=1))[:, None]
    mid = count + np.arange(total)
    halves = np.stack([edges[:, 0], mid, mid, edges[:, 1]], axis=1).reshape(-1, 2)  # [2E, 2]; half 2e + h has end h
    corner = count + sides  # [F, 3] midpoints of ab, bc, ca
    inner = np.stack([corner[:, 2], corner[:, 0], corner[:, 0], corner[:, 1], corner[:, 1], corner[:, 2]], axis=1)
    # Which half of side k touches the corner where the side starts: 0 where the edge starts there, else 1.
    starts = (edges[sides, 0] != faces).astype(np.int64)  # [F, 3]
    first, second = 2 * sides + starts, 2 * sides + 1 - starts
    own = 2 * total + 3 * np.arange(len(faces))[:, None] + np.arange(3)  # [F, 3] inner edges opposite a, b, c
    refined, refined_sides = np.empty((len(faces), 4, 3), np.int64), np.empty((len(faces), 4, 3), np.int64)
    for k in range(3):  # the child at corner k: (corner, midpoint of its side, midpoint of the side before)
        refined[:, k, 0], refined[:, k, 1], refined[:, k, 2] = faces[:, k], corner[:, k], corner[:, k - 1]
        refined_sides[:, k, 0], refined_sides[:, k, 1], refined_sides[:, k, 2] = first[:, k], own[:, k], second[:, k - 1]
    refined[:, 3] = corner
    refined_sides[:, 3, 0], refined_sides[:, 3, 1], refined_sides[:, 3, 2] = own[:, 1], own[:, 2], own[:, 0]
    return (np.concatenate([vertices, middle]), refined.reshape(-1, 3),
            np.concatenate([halves, inner.reshape(-1, 2)]), refined_sides.reshape(-1, 3))


def _directed(edges: Int, count: int) -> Int:
    """Both directions of edges [E, 2] as [2, 2E], sorted by (target, source): a counting sort, linear in E."""
    target, source = np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]])
    ones = np.ones(len(target), np.int8)
    pairs = sparse.coo_matrix((ones, (source.astype(np.int32), target.astype(np.int32))), shape=(count, count))
    by_target = pairs.tocsr().tocsc()  # by source, then by target: each a counting sort that keeps the order before
    targets = np.repeat(np.arange(count, dtype=np.int64), np.diff(by_target.indptr))
    return np.stack([by_target.indices.astype(np.int64), targets])


def _check(level: int, vertices: Float, faces: Int, edges: Int, sides: Int) -> None:
    """Raise :class:`SchemaError` unless the mesh is a closed triangulation of the sphere with degrees 5 and 6."""
    degree = np.bincount(edges.ravel(), minlength=len(vertices))
    facts = {
        "vertices": (len(vertices), 10 * 4**level + 2),
        "edges": (len(edges), 30 * 4**level),
        "Euler characteristic": (len(vertices) - len(edges) + len(faces), 2),
        "vertices of degree 5": (int((degree == 5).sum()), 12),
        "vertices of degree 6": (int((degree == 6).sum()), len(vertices) - 12),
        "edges between two faces": (int((np.bincount(sides.ravel(), minlength=len(edges)) == 2).sum()), len(edges)),
        "unit vertices": (int((np.abs((vertices * vertices).sum(axis=1) - 1.0) < 1e-14).sum()), len(vertices)),
    }
    for fact, (found, expected) in facts.items():
        if found != expected:
            raise SchemaError(where=f"icosahedral mesh of level {level}", found=f"{found} {fact}", expected=expected,
                              remedy="Report this: the mesh is built wrongly on this machine.")
