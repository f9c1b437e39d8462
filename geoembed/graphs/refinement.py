"""Meshes that are finer inside a region: triangles of several levels, none beside one that is two levels finer.

The triangles keep the numbers of the uniform meshes (the children of face f are 4f … 4f + 3), so that neighbors and shared
edges are known by arithmetic, on any level, without ever building the fine mesh of the whole sphere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geoembed.errors import SchemaError, ValueRangeError
from geoembed.graphs.adjacency import across, around
from geoembed.graphs.geodesy import SPHERE, solid_angles
from geoembed.graphs.icosahedron import MAX_LEVEL, IcosahedralMesh, child_of, child_planes, first_face, icosahedron
from geoembed.graphs.multimesh import CHILDREN, chunks, edge_count, first_level
from geoembed.graphs.region import Region, region_of, touched

Float = NDArray[np.float64]
Int = NDArray[np.int64]

FINEST = 11
"""Finest level inside a region: edges of 3.5 km on the Earth."""

MOST_FACES = 20 * 4**MAX_LEVEL
"""Triangles of the finest uniform mesh: no refined one may have more."""


@dataclass(frozen=True, eq=False)
class RefinedMesh:
    """A mesh of ``level`` that is refined to ``fine_level`` where a region is, and graded in between.

    Every triangle that touches the region has the fine level. Two triangles that meet, in a side or in a corner, differ by
    one level at most. Where they do, the finer ones have a corner in the middle of the coarser one's side (a hanging
    vertex). It lies on that side exactly, so the triangles tile the sphere; the coarser triangle keeps its three corners,
    and the hanging vertex has the edges of the levels on which it is a corner: nothing is added to close the mesh.

    Attributes:
        level, fine_level: number of refinements outside and inside.
        region: corners (lat, lon) of the polygon.
        vertices: unit vectors [V, 3] float64 in order of the level of their birth, as in the uniform mesh of the fine level.
        faces: vertices [F, 3] int64 of the triangles that are not refined, coarse ones first, counterclockwise from outside.
        face_level: [F] int8.
        edge_index: directed edges [2, E] int64, sorted by (target, source), of all triangles of all levels: those that are
            refined included, so that the region hears from afar in few steps.
        links: for each triangle of each level, its number among the refined ones of its level, or −1 − face.
        middles: the midpoints [R, 3] of the sides of the refined triangles of each level.
    """

    level: int
    fine_level: int
    region: tuple[tuple[float, float], ...]
    vertices: Float
    faces: Int
    face_level: NDArray[np.int8]
    edge_index: Int
    links: tuple[Int, ...]
    middles: tuple[Int, ...]

    @property
    def name(self) -> str:
        """Levels and a hash of the region: equal for equal meshes."""
        digest = hashlib.sha256(np.asarray(self.region, np.float64).tobytes()).hexdigest()[:16]
        return f"{self.level}-{self.fine_level}-{digest}"

    def locate(self, points: Float) -> Int:
        """The face [P] that contains each of the unit vectors ``points`` [P, 3]: exactly one."""
        face = np.empty(len(points), np.int64)
        for part in chunks(len(points)):
            here, left, own = first_face(self.vertices[self._first], points[part]), np.arange(part.start, part.stop), points[part]
            for level, links in enumerate(self.links):
                link = links[here]
                ends = link < 0
                face[left[ends]] = -1 - link[ends]
                link, left, own = link[~ends], left[~ends], own[~ends]
                if not len(left):
                    break
                here = 4 * link + child_of(self._cuts[level].take(link, axis=0), *np.ascontiguousarray(own.T))
        return face

    @cached_property
    def _first(self) -> Int:
        return icosahedron()[1]

    @cached_property
    def _cuts(self) -> tuple[Float, ...]:
        return tuple(child_planes(self.vertices, middle) for middle in self.middles)


Mesh = IcosahedralMesh | RefinedMesh
"""What a field can be joined to: vertices, faces, edges, and the face of any point."""


def refined_mesh(level: int, *, region: ArrayLike | Sequence[tuple[float, float]], fine_level: int) -> RefinedMesh:
    """The mesh of ``level`` refined to ``fine_level`` where ``region`` is, a polygon of corners (lat, lon) [K, 2] in degrees.

    Its sides are straight in latitude and longitude (RFC 7946), so a box is its four corners; across the date line the
    longitudes run on (170, 190). Both directions of turning mean the inside. Built once for equal arguments; give it to
    ``sphere_graph(…, mesh=…)``.

    Raises:
        ValueRangeError: levels out of 0 ≤ level ≤ 8, level ≤ fine_level ≤ 11; a region that is no polygon in degrees; one that
            would take more triangles than the finest uniform mesh.

    >>> mesh = refined_mesh(2, region=[(40, 0), (40, 20), (55, 20), (55, 0)], fine_level=5)
    >>> np.bincount(mesh.face_level).tolist()
    [0, 0, 301, 48, 77, 140]
    """
    if not (0 <= level <= MAX_LEVEL and level <= fine_level <= FINEST):
        raise ValueRangeError(where="refined_mesh", found=f"level {level}, fine_level {fine_level}",
                              expected=f"0 ≤ level ≤ {MAX_LEVEL}, level ≤ fine_level ≤ {FINEST}",
                              remedy="Take level 5 (2°) outside and 7 (0.5°) inside.")
    return _refined_mesh(level, region_of(region), fine_level)


@lru_cache(maxsize=8)
def _refined_mesh(level: int, region: Region, fine_level: int) -> RefinedMesh:
    refined = [np.arange(20 * 4**each) for each in range(level)]
    refined += touched(region, level, fine_level, MOST_FACES // 4)
    _balance(refined, level)
    mesh = _assemble(level, region, fine_level, refined)
    _check(mesh)
    for array in (mesh.faces, mesh.edge_index, *mesh.links, *mesh.middles):
        array.flags.writeable = False
    mesh.vertices.flags.writeable = mesh.face_level.flags.writeable = False
    return mesh


def _balance(refined: list[Int], level: int) -> None:
    """Add to the ``refined`` triangles of each level those that meet a triangle refined twice more, from fine to coarse."""
    for coarse in range(len(refined) - 2, level - 1, -1):
        parent, child = refined[coarse + 1] >> 2, refined[coarse + 1] & 3
        # A child at a corner meets all triangles round that corner; the middle one meets those beyond the three sides.
        ring = around(4 * parent[child < 3] + child[child < 3], coarse)
        sides = 4 * np.repeat(parent[child == 3], 3) + np.tile(np.arange(3), int((child == 3).sum()))
        refined[coarse] = np.unique(np.concatenate([refined[coarse], parent, ring, across(sides, coarse) >> 2]))


@dataclass
class _Growth:
    """What grows level by level: triangles with their corners and sides, and the edges of all levels."""

    faces: Int
    sides: Int
    vertices: list[Float]
    count: int
    edges: list[Int]

    def join(self) -> None:
        """Add the edges of the triangles of this level."""
        _, first = np.unique(self.sides >> 1, return_index=True)
        row, k = first // 3, first % 3
        self.edges.append(np.stack([self.faces[row, k], self.faces[row, (k + 1) % 3]], axis=1))

    def refine(self, chosen: Int, number: Int, level: int) -> Int:
        """Go on to the children of the ``chosen`` rows, whose numbers in the uniform mesh are ``number``; their midpoints [R, 3]."""
        faces, sides = self.faces[chosen], self.sides[chosen]
        _, first, place = np.unique(sides >> 1, return_index=True, return_inverse=True)
        row, k = first // 3, first % 3
        known = np.concatenate(self.vertices)
        middle = known[faces[row, k]] + known[faces[row, (k + 1) % 3]]
        square = middle * middle
        middle /= np.sqrt(square[:, 0] + square[:, 1] + square[:, 2])[:, None]
        corners: Int = self.count + place.reshape(-1, 3)
        self.vertices, self.count = [known, middle], self.count + len(middle)
        self.faces = np.concatenate([faces, corners], axis=1)[:, CHILDREN].reshape(-1, 3)
        inner = 2 * (2 * edge_count(level) + 3 * number[:, None] + np.arange(3))
        first_half, second_half = 2 * sides + (sides & 1), 2 * (sides ^ 1) + (sides & 1)
        corner_children = np.stack([first_half, inner + 1, np.roll(second_half, 1, axis=1)], axis=2)  # [R, 3, 3]
        self.sides = np.concatenate([corner_children.reshape(-1, 9), np.roll(inner, -1, axis=1)], axis=1).reshape(-1, 3)
        return corners


def _assemble(level: int, region: Region, fine_level: int, refined: list[Int]) -> RefinedMesh:
    vertices, faces = icosahedron()
    growth = _Growth(faces, first_level(faces).sides[:, :3].astype(np.int64), [vertices], 12, [])
    leaves: list[Int] = []
    links: list[Int] = []
    middles: list[Int] = []
    number, found = np.arange(20), 0
    for each in range(fine_level + 1):
        chosen = np.searchsorted(number, refined[each]) if each < fine_level else np.zeros(0, np.int64)
        link = np.full(len(number), -1)
        link[chosen] = np.arange(len(chosen))
        ends = np.flatnonzero(link < 0)
        link[ends] = -1 - (found + np.arange(len(ends)))
        leaves.append(growth.faces[ends])
        links.append(link)
        found += len(ends)
        growth.join()
        if not len(chosen):
            break
        middles.append(growth.refine(chosen, number[chosen], each))
        number = (4 * number[chosen, None] + np.arange(4)).ravel()
    face_level = np.repeat(np.arange(len(leaves), dtype=np.int8), [len(part) for part in leaves])
    edges = sorted_edges(np.concatenate(growth.edges), growth.count)
    return RefinedMesh(level, fine_level, region, np.concatenate(growth.vertices), np.concatenate(leaves), face_level, edges,
                       tuple(links), tuple(middles))


def sorted_edges(edges: Int, count: int) -> Int:
    """Both directions of edges [E, 2] as [2, 2E], sorted by (target, source): a counting sort, linear in E."""
    target, source = np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]])
    ones = np.ones(len(target), np.int8)
    pairs = sparse.coo_matrix((ones, (source.astype(np.int32), target.astype(np.int32))), shape=(count, count))
    by_target = pairs.tocsr().tocsc()  # by source, then by target: each a counting sort that keeps the order before
    out: Int = np.empty((2, len(target)), np.int64)
    out[0], out[1] = by_target.indices, np.repeat(np.arange(count), np.diff(by_target.indptr))
    return out


def _check(mesh: RefinedMesh) -> None:
    """Raise :class:`SchemaError` unless the triangles tile the sphere."""
    area = solid_angles(*(mesh.vertices[mesh.faces[:, k]] for k in range(3)))
    if area.min() <= 0 or abs(area.sum() / SPHERE - 1.0) > 1e-12:
        raise SchemaError(where=f"refined mesh {mesh.name}", found=f"triangles of {area.sum():.15g} sr", expected="4π, all positive",
                          remedy="Report this: the mesh is built wrongly on this machine.")
