"""The multi-mesh: an icosahedron refined L times, with the edges of all levels (Lam et al. 2023, GraphCast, supplement 3.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import SchemaError, ValueRangeError
from geoembed.graphs import multimesh
from geoembed.graphs.multimesh import chunks, edge_count, vertex_count

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

    def __repr__(self) -> str:
        return f"IcosahedralMesh(level {self.level}: {len(self.vertices)} vertices, {self.edge_index.shape[1]} edges)"

    @property
    def name(self) -> str:
        """The level: equal for equal meshes."""
        return str(self.level)

    def locate(self, points: Float) -> Int:
        """The face [P] of the finest level that contains each of the unit vectors ``points`` [P, 3].

        Each point gets exactly one face. Descends the hierarchy, since the four children of a triangle tile it exactly.
        """
        face = np.empty(len(points), np.int64)
        for part in chunks(len(points)):
            x, y, z = np.ascontiguousarray(points[part].T)
            here = first_face(self.vertices[self.hierarchy[0]], points[part])
            for cuts in self._cuts:
                here = 4 * here + child_of(cuts.take(here, axis=0), x, y, z)
            face[part] = here
        return face

    @cached_property
    def _cuts(self) -> tuple[Float, ...]:
        """The planes between the children of the faces of each level but the last."""
        return tuple(child_planes(self.vertices, faces[3::4]) for faces in self.hierarchy[1:])


def first_face(corners: Float, points: Float) -> Int:
    """The face [P] of the icosahedron, whose corners are [20, 3, 3], around unit vectors [P, 3].

    The faces are the Voronoi cells of their centers.
    """
    nearest: Int = (points @ corners.sum(axis=1).T).argmax(axis=1)
    return nearest


def child_planes(vertices: Float, middle: Int) -> Float:
    """Normals [F, 9] of the three planes that cut off the children at the corners a, b, c of faces.

    ``middle`` [F, 3] are the midpoints of ab, bc, ca: beyond the arc from ca to ab lies the child at a, and so on round.
    """
    ab, bc, ca = (vertices.take(middle[:, k], axis=0) for k in range(3))
    return np.concatenate([np.cross(ab, ca), np.cross(bc, ab), np.cross(ca, bc)], axis=1)


def child_of(planes: Float, x: Float, y: Float, z: Float) -> Int:
    """The child 0 … 3 [P] that holds each point, of faces with ``planes`` [P, 9]; the middle one, 3, unless a plane is passed."""
    a, b, c = (planes[:, 3 * k] * x + planes[:, 3 * k + 1] * y + planes[:, 3 * k + 2] * z for k in range(3))
    most = np.maximum(np.maximum(a, b), 0.0)
    child: Int = np.where(c > most, 2, np.where(b > np.maximum(a, 0.0), 1, np.where(a > 0, 0, 3)))
    return child


@cache
def icosahedral_mesh(level: int) -> IcosahedralMesh:
    """The multi-mesh of ``level`` 0 … 8; built once a process, checked when built, its arrays read-only.

    Raises:
        ValueRangeError: a level out of bounds.

    >>> mesh = icosahedral_mesh(2)
    >>> mesh.vertices.shape, mesh.faces.shape, mesh.edge_index.shape
    ((162, 3), (320, 3), (2, 1260))
    """
    if not isinstance(level, int | np.integer) or not 0 <= level <= MAX_LEVEL:
        raise ValueRangeError(where="icosahedral_mesh", found=f"level {level!r}", expected=f"a whole number, 0…{MAX_LEVEL}",
                              remedy="Take level 5 (2°) for a 1° grid, 6 for 0.25°.")
    vertices = np.empty((vertex_count(level), 3))
    vertices[:12], faces = icosahedron()
    hierarchy, edges = [faces], np.empty((2, 20 * (4 ** (level + 1) - 1)), np.int64)
    known, written = multimesh.first_level(faces), 60 * (level + 1)
    multimesh.write_first_edges(known, level, *edges[:, :written])
    for coarse in range(level):
        count, block = vertex_count(coarse), 6 * edge_count(coarse) * (level - coarse)
        hierarchy.append(np.empty((20 * 4 ** (coarse + 1), 3), np.int64))
        multimesh.write_midpoints(known, vertices, count)
        multimesh.write_children(known, hierarchy[-2], count, hierarchy[-1])
        multimesh.write_edges(known, coarse + 1, level, *edges[:, written : written + block])
        written += block
        if coarse + 1 < level:
            known = multimesh.next_level(known, count)
    mesh = IcosahedralMesh(level, vertices, hierarchy[-1], edges, tuple(hierarchy))
    _check(mesh, written)
    for array in (vertices, edges, *hierarchy):
        array.flags.writeable = False
    return mesh


def icosahedron() -> tuple[Float, Int]:
    """Vertices [12, 3] and faces [20, 3] of the icosahedron with vertices at the poles."""
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
    return vertices, faces


def _check(mesh: IcosahedralMesh, written: int) -> None:
    """Raise :class:`SchemaError` unless the mesh is a closed triangulation with degrees 5 and 6, its edges sorted and mutual."""
    total, (source, target) = vertex_count(mesh.level), mesh.edge_index
    degree = np.bincount(mesh.faces.ravel(), minlength=total)
    length = np.einsum("vx,vx->v", mesh.vertices, mesh.vertices)
    facts = {
        "vertices": (len(degree), total),
        "vertices of degree 5": (int(np.count_nonzero(degree == 5)), 12),
        "vertices of degree 6": (int(np.count_nonzero(degree == 6)), total - 12),
        "unit vertices": (int(np.count_nonzero(np.abs(length - 1.0) < 1e-14)), total),
        "sides without a face beyond": (_one_way(_sides(mesh.faces)), 0),
        "edges": (written, len(source)),
        "edges out of order": (_disorder(source, target, total), 0),
        "edges without their reverse": (_one_way((source[part], target[part]) for part in chunks(written)), 0),
    }
    for fact, (found, expected) in facts.items():
        if found != expected:
            raise SchemaError(where=f"icosahedral mesh of level {mesh.level}", found=f"{found} {fact}", expected=expected,
                              remedy="Report this: the mesh is built wrongly on this machine.")


def _one_way(pairs: Iterable[tuple[Int, Int]]) -> int:
    """0 where the pairs (a, b) are the pairs (b, a): a·b·(a − b), summed modulo 2^64, else almost surely another number."""
    return sum(int(np.dot(a * b, a - b)) for a, b in pairs) % 2**64


def _sides(faces: Int) -> Iterator[tuple[Int, Int]]:
    """(start, end) of the sides of faces [F, 3], some at a time."""
    for part in chunks(len(faces)):
        a, b, c = np.ascontiguousarray(faces[part].T)
        yield from ((a, b), (b, c), (c, a))


def _disorder(source: Int, target: Int, count: int) -> int:
    """Number of edges that do not come strictly after the one before in order of (target, source)."""
    wrong, last = 0, -1
    for part in chunks(len(source)):
        key = target[part] * count + source[part]
        wrong += int(np.count_nonzero(key[1:] <= key[:-1])) + int(key[0] <= last)
        last = int(key[-1])
    return wrong
