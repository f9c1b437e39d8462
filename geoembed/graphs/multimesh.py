"""The multi-mesh in closed form: vertices, faces and sorted edges of every level written where they belong, without a sort.

Edge e of a level has its midpoint as vertex V + e of the next level and its halves as edges 2e and 2e + 1; face f has the
children 4f … 4f + 3, inside whose middle one lie the edges 2E + 3f + k between the midpoints of the sides k − 1 and k. Three
things follow. The neighbors of a vertex on the level l + 1 are V + e for the edges e that meet at it on the level l. Those
edges are 2e + h on the next level, where h says at which end of e the vertex lies, so their order never changes. And all
vertices born on one level have equally many neighbors: their part of the edge list is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Index = NDArray[np.int32]
Float = NDArray[np.float64]

CHUNK = 8192
"""Rows worked on at a time: their temporaries stay in the cache, and memory is touched once, by the result."""

CHILDREN = np.array([0, 3, 5, 1, 4, 3, 2, 5, 4, 3, 4, 5])
"""Corners of the four children of a face among its own corners (0 … 2) and the midpoints of its sides ab, bc, ca (3 … 5)."""


@dataclass(frozen=True, eq=False)
class Level:
    """How the E edges of a level lie in its F faces; side k of a face goes from its corner k to the next.

    Attributes:
        sides: 2e + h [F, 4] of the three sides, where the side starts at end h of the edge e; the last column is empty.
        left, right: 4f + k [E] of the side that goes along the edge, and of the one that goes against it.
        start, end: vertices [E] of the edge.
    """

    sides: Index
    left: Index
    right: Index
    start: Index
    end: Index


def vertex_count(level: int) -> int:
    """10·4^level + 2."""
    return 10 * (1 << 2 * level) + 2


def edge_count(level: int) -> int:
    """30·4^level, undirected."""
    return 30 * (1 << 2 * level)


def chunks(total: int) -> list[slice]:
    """Slices of at most CHUNK rows."""
    return [slice(low, min(low + CHUNK, total)) for low in range(0, total, CHUNK)]


def first_level(faces: Int) -> Level:
    """The icosahedron's 30 edges, numbered in order of their vertices."""
    start, end = faces, np.roll(faces, -1, axis=1)
    key, edge = np.unique(np.minimum(start, end) * 12 + np.maximum(start, end), return_inverse=True)
    against = start > end
    sides = np.zeros((20, 4), np.int32)
    sides[:, :3] = 2 * edge.reshape(20, 3) + against
    left, right = np.empty(30, np.int32), np.empty(30, np.int32)
    code = 4 * np.arange(20)[:, None] + np.arange(3)
    left[edge.reshape(20, 3)[~against]], right[edge.reshape(20, 3)[against]] = code[~against], code[against]
    return Level(sides, left, right, (key // 12).astype(np.int32), (key % 12).astype(np.int32))


def next_level(parent: Level, vertices: int) -> Level:
    """The next level of a ``parent`` whose level has so many ``vertices``."""
    faces, edges = len(parent.sides), len(parent.left)
    sides = np.zeros((faces, 4, 4), np.int32)
    left, right, start, end = (np.empty(2 * edges + 3 * faces, np.int32) for _ in range(4))
    middle = np.arange(vertices, vertices + edges, dtype=np.int32)
    # Along its left face an edge runs forward: its first half is side 0 of the child at the corner where the side starts,
    # its second half is side 2 of the next child. Along its right face it runs backward.
    left[: 2 * edges : 2], left[1 : 2 * edges : 2] = 4 * parent.left, 4 * after(parent.left) + 2
    right[1 : 2 * edges : 2], right[: 2 * edges : 2] = 4 * parent.right, 4 * after(parent.right) + 2
    start[: 2 * edges : 2], end[: 2 * edges : 2] = parent.start, middle
    start[1 : 2 * edges : 2], end[1 : 2 * edges : 2] = middle, parent.end
    face = np.arange(faces, dtype=np.int32)
    for k in range(3):
        before, own = k - 1 if k else 2, 2 * edges + 3 * face + k
        side, last = parent.sides[:, k], parent.sides[:, before]
        sides[:, k, 0] = 2 * side + (side & 1)  # the half that touches corner k, in the direction of its parent
        sides[:, k, 1] = 2 * own + 1
        sides[:, k, 2] = 2 * (last ^ 1) + (last & 1)  # the other half of the side before
        sides[:, 3, before] = 2 * own
        left[2 * edges + k :: 3], right[2 * edges + k :: 3] = 16 * face + 12 + before, 16 * face + 4 * k + 1
        start[2 * edges + k :: 3], end[2 * edges + k :: 3] = vertices + (last >> 1), vertices + (side >> 1)
    return Level(sides.reshape(-1, 4), left, right, start, end)


def after(code: Index) -> Index:
    """4f + (k + 1) mod 3 of the codes 4f + k."""
    return code + 1 - 3 * ((code >> 1) & 1)


def write_midpoints(level: Level, vertices: Float, count: int) -> None:
    """Put the midpoints of a level's edges into ``vertices`` [.., 3], after the first ``count`` ones."""
    for part in chunks(len(level.start)):
        middle = vertices.take(level.start[part], axis=0)
        middle += vertices.take(level.end[part], axis=0)
        square = middle * middle
        length = np.sqrt(square[:, 0] + square[:, 1] + square[:, 2])
        rows = vertices[count + part.start : count + part.stop]
        for axis in range(3):
            np.divide(middle[:, axis], length, out=rows[:, axis])


def write_children(level: Level, faces: Int, vertices: int, children: Int) -> None:
    """Put the four children of each of the ``faces`` [F, 3] of a level with so many ``vertices`` into ``children`` [4F, 3]."""
    rows = children.reshape(len(faces), 12)
    for part in chunks(len(faces)):
        corners = np.empty((part.stop - part.start, 6), np.int64)
        corners[:, :3] = faces[part]
        for k in range(3):
            corners[:, 3 + k] = (level.sides[part, k] >> 1) + vertices
        corners.take(CHILDREN, axis=1, out=rows[part], mode="clip")  # clip: writes into out without a copy


def write_edges(level: Level, born: int, finest: int, source: Int, target: Int) -> None:
    """Put the directed edges to the midpoints of a level's edges, which are ``born`` as vertices on the next level.

    ``source`` and ``target`` [6·E·(finest − born + 1)] are the part of the edge list that belongs to these vertices.
    """
    count, edges, width = vertex_count(born - 1), len(level.left), 6 * (finest - born + 1)
    sources, targets = source.reshape(edges, width), target.reshape(edges, width)
    table = level.sides.ravel()
    for part in chunks(edges):
        rows, fresh = sources[part], np.arange(part.start, part.stop, dtype=np.int32)
        targets[part] = np.arange(count + part.start, count + part.stop)[:, None]
        np.minimum(level.start[part], level.end[part], out=rows[:, 0])
        np.maximum(level.start[part], level.end[part], out=rows[:, 1])
        codes = [level.left[part], level.right[part]]
        nexts = [after(code) for code in codes]
        others = [code ^ following ^ (code | 3) for code, following in zip(codes, nexts, strict=True)]  # the third side
        beyond: list[Index] = [table[code] >> 1 for code in nexts + others]
        for column, edge in enumerate(in_order(beyond)):
            np.add(edge, count, out=rows[:, 2 + column])
        if born < finest:
            # Twice the edge plus the end: the halves 2e, 2e + 1, and the inner edges numbered like the side they follow.
            inner = [inner_key(code, edges, end) for end, side in ((1, codes), (0, nexts)) for code in side]
            write_later([4 * fresh + 1, 4 * fresh + 2, *in_order(inner)], born, finest, rows)


def inner_key(code: Index, edges: int, end: int) -> Index:
    """2e + end of the edges e = 2E + 3f + k inside the faces with the codes 4f + k."""
    key: Index = 4 * edges + 2 * (3 * (code >> 2) + (code & 3)) + end
    return key


def write_later(meeting: list[Index], born: int, finest: int, rows: Int) -> None:
    """Put the neighbors on the levels after birth into the columns of ``rows``, from the edges 2e + h that meet at a vertex.

    On the level born + j these are 2^j·e + (2^j − 1)·h; their midpoints are the neighbors on the level after.
    """
    degree = len(meeting)
    edge, end = [key >> 1 for key in meeting], [key & 1 for key in meeting]
    for j in range(finest - born):
        vertices = vertex_count(born + j)
        for column in range(degree):
            np.add((edge[column] << j) + end[column] * ((1 << j) - 1), vertices, out=rows[:, degree * (j + 1) + column])


def in_order(columns: list[Index]) -> list[Index]:
    """Four columns with each row in ascending order (a sorting network)."""
    a, b, c, d = columns
    a, b, c, d = np.minimum(a, b), np.maximum(a, b), np.minimum(c, d), np.maximum(c, d)
    a, c, b, d = np.minimum(a, c), np.maximum(a, c), np.minimum(b, d), np.maximum(b, d)
    return [a, np.minimum(b, c), np.maximum(b, c), d]


def write_first_edges(level: Level, finest: int, source: Int, target: Int) -> None:
    """Put the directed edges to the 12 vertices of the icosahedron: five on each level."""
    rows, targets = source.reshape(12, 5 * (finest + 1)), target.reshape(12, 5 * (finest + 1))
    targets[:] = np.arange(12)[:, None]
    edge = np.concatenate([np.arange(30), np.arange(30)])
    here = np.concatenate([level.start, level.end])
    key, other = 2 * edge + np.repeat([0, 1], 30), np.concatenate([level.end, level.start])
    rows[:, :5] = other[np.lexsort((other, here))].reshape(12, 5)
    meeting = key[np.lexsort((key, here))].reshape(12, 5).astype(np.int32)
    write_later(list(meeting.T), 0, finest, rows)
