"""What all fields of one grid share: the order of its points, their areas, and the edges to, on and from the multi-mesh."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoembed.errors import EmptyGraphError, ValueRangeError
from geoembed.graphs.areas import Areas, cell_areas
from geoembed.graphs.bipartite import ascending, geometry, join
from geoembed.graphs.geodesy import SPHERE, unit_vectors
from geoembed.graphs.icosahedron import IcosahedralMesh, icosahedral_mesh
from geoembed.graphs.multimesh import chunks
from geoembed.graphs.refinement import Mesh
from geoembed.graphs.voronoi import corner_shares

Float = NDArray[np.float64]
Int = NDArray[np.int64]

CACHED = 8
"""Grids kept in memory a process; one of 1° takes 18 MB, and a file seldom has more than the four of a staggered model."""


@dataclass(frozen=True, eq=False)
class SphereGrid:
    """Grid points in canonical order: by latitude, then by longitude in [0, 360), both rounded to 1e-9 degrees (0.1 mm).

    Attributes:
        lat, lon: [P] float64 degrees, as bytes: the key of everything that depends on the grid alone.
        order: [P] int64, the row-major index of each node's point in the input.
        cyclic: number of columns left out because an earlier one has the same longitude.
        shape: (H, W) of a curvilinear grid, else empty.
    """

    lat: bytes
    lon: bytes
    order: Tensor
    cyclic: int
    shape: tuple[int, ...] = ()


@lru_cache(maxsize=CACHED)
def sphere_grid(lat: bytes, lon: bytes, shape: tuple[int, ...], rectilinear: bool) -> SphereGrid:
    """Canonical order of float64 degrees: axes [H] and [W] of a grid where ``rectilinear``, else points of ``shape``.

    Raises:
        EmptyGraphError: no point.
        ValueRangeError: a coordinate that is not finite, a latitude beyond ±90, a longitude outside −360…720.
    """
    phi, lam = _floats(lat), _floats(lon)
    _check_range(phi, lam)
    phi = np.asarray(np.round(phi, 9) + 0.0, np.float64)  # −0.0 and 0.0 are one latitude
    lam = np.mod(np.round(np.mod(np.round(lam, 9), 360.0), 9), 360.0) + 0.0
    cyclic, width = 0, len(lam)
    columns = np.arange(width)
    if rectilinear:
        columns = np.unique(lam, return_index=True)[1]  # in order of longitude, the first of equal ones
        cyclic = width - len(columns)
        if len(np.unique(phi)) == len(phi):  # rows are rows: no need to sort all points
            rows = np.argsort(phi)
            index = (rows[:, None] * width + columns).ravel()
            phi, lam = np.repeat(phi[rows], len(columns)), np.tile(lam[columns], len(phi))
            return SphereGrid(phi.tobytes(), lam.tobytes(), torch.from_numpy(index), cyclic)
        index = (np.arange(len(phi))[:, None] * width + columns).ravel()
        phi, lam = np.repeat(phi, len(columns)), np.tile(lam[columns], len(phi))
    else:
        index = columns
    order = np.lexsort((lam, phi))
    lattice = shape if len(shape) == 2 and not rectilinear else ()
    return SphereGrid(phi[order].tobytes(), lam[order].tobytes(), torch.from_numpy(index[order]), cyclic, lattice)


def _floats(data: bytes) -> Float:
    return np.frombuffer(data, np.float64)


def _check_range(lat: Float, lon: Float) -> None:
    if not len(lat) or not len(lon):
        raise EmptyGraphError(where="sphere_graph", found="no grid point", expected="at least one",
                              remedy="Leave the record out.")
    for name, axis, low, high in (("lat", lat, -90.0, 90.0), ("lon", lon, -360.0, 720.0)):
        bad = ~((axis >= low - 1e-6) & (axis <= high + 1e-6))
        if bad.any():
            raise ValueRangeError(
                where=f"sphere_graph: {name}", found=f"{int(bad.sum())} value(s) such as {axis[bad][0]:g}",
                expected=f"degrees in {low:g}…{high:g}", remedy="Give degrees; leave out points without coordinates.",
            )


@lru_cache(maxsize=CACHED)
def grid_areas(grid: SphereGrid) -> Areas:
    """Areas of the cells of a grid."""
    lattice = None
    if grid.shape:
        lattice = np.empty(len(grid.order), np.int64)
        lattice[grid.order.numpy()] = np.arange(len(grid.order))
        lattice = lattice.reshape(grid.shape)
    return cell_areas(np.clip(_floats(grid.lat), -90.0, 90.0), _floats(grid.lon), lattice)


def mesh_areas(level: int) -> Float:
    """Areas [10·4^level + 2] sr of the cells around the vertices of the uniform mesh, sum 4π."""
    return vertex_areas(icosahedral_mesh(level))


@lru_cache(maxsize=4)
def vertex_areas(mesh: Mesh) -> Float:
    """Areas [V] sr of the cells around mesh vertices, sum 4π; a hanging vertex has a share of the triangles it is a corner of."""
    # The twenty faces of the icosahedron are turned into each other: in a uniform mesh, one stands for all.
    alike = 20 if isinstance(mesh, IcosahedralMesh) else 1
    shares = np.tile(corner_shares(mesh.vertices, mesh.faces[: len(mesh.faces) // alike]), (alike, 1))
    area: Float = np.bincount(mesh.faces.ravel(), weights=shares.ravel()).astype(np.float64)
    return area * (SPHERE / float(area.sum()))


@dataclass(frozen=True, eq=False)
class Topology:
    """Nodes and edges of a grid and a mesh, without values.

    Attributes:
        key: hash of grid and mesh.
        points, vertices: numbers of grid nodes P and mesh nodes M.
        layout: how the areas were found, see :class:`geoembed.graphs.areas.Areas`.
        extent: ``sphere``, or ``region`` where the mesh is cut down to the triangles that hold a grid point.
        fields: ``pos`` [N, 3], ``weight`` [N], ``node_kind`` [N], ``edge_index`` [2, E], ``edge_kind`` [E], ``edge_attr`` [E, 3].
    """

    key: str
    points: int
    vertices: int
    layout: str
    extent: str
    fields: dict[str, Tensor]


def topology(grid: SphereGrid, mesh: Mesh) -> Topology:
    """The topology of a grid and a mesh; equal grids give the same object whatever order they came in."""
    areas = grid_areas(grid)  # no cache by grid before that by content: the one would keep what the other has let go
    return _topology(grid.lat, grid.lon, areas.content, areas.layout, areas.covers_sphere, mesh)


@lru_cache(maxsize=CACHED)
def _topology(lat: bytes, lon: bytes, area: bytes, layout: str, covers_sphere: bool, mesh: Mesh) -> Topology:
    phi, lam = np.clip(_floats(lat), -90.0, 90.0), _floats(lon)
    points = unit_vectors(phi, lam)
    corners = corners_around(phi, lam, points, mesh)
    kept, among = np.arange(len(mesh.vertices)), mesh.edge_index
    if not covers_sphere:
        kept = np.unique(corners)
        place = np.full(len(mesh.vertices), -1)
        place[kept] = np.arange(len(kept))  # monotonic, so targets stay sorted
        corners, among = place[corners], place[among]
        among = among[:, (among >= 0).all(axis=0)]
    vertices = mesh.vertices[kept]
    joined = join(points, vertices, corners, among)
    fields = {
        "pos": torch.from_numpy(np.concatenate([points, vertices])).float(),
        "weight": torch.from_numpy(np.concatenate([_floats(area), vertex_areas(mesh)[kept]])).float(),
        "node_kind": torch.from_numpy(np.repeat(np.arange(2, dtype=np.int8), [len(points), len(vertices)])),
        "edge_index": torch.from_numpy(joined.edge_index),
        "edge_kind": torch.from_numpy(np.repeat(np.arange(3, dtype=np.int8), joined.sizes)),
        "edge_attr": torch.from_numpy(geometry(points, vertices, corners, joined)),
    }
    key = hashlib.sha256(b"%b:%b:%b:%b" % (mesh.name.encode(), lat, lon, area)).hexdigest()[:16]
    return Topology(key, len(points), len(vertices), layout, "sphere" if covers_sphere else "region", fields)


def corners_around(lat: Float, lon: Float, points: Float, mesh: Mesh) -> Int:
    """The vertices [P, 3], ascending, of the triangle that holds each place, its position in ``points``; see :func:`_nudged`."""
    return ascending(mesh.faces.take(mesh.locate(_nudged(lat, lon, points)), axis=0))


def _nudged(lat: Float, lon: Float, points: Float) -> Float:
    """Positions [P, 3] moved by millimeters off the lines of symmetry of the mesh: toward the equator, then east.

    Grid points on an edge, a vertex or a pole of the mesh so belong to one triangle, by a rule that commutes with turns of
    72° and does not depend on rounding. At a pole, longitude says which cell a point stands for; the step is larger there.
    """
    out = np.empty_like(points)
    (c1, s1), (c2, s2) = ((np.cos(np.radians(step)), np.sin(np.radians(step))) for step in (1e-7, 1e-6))
    for part in chunks(len(points)):
        x, y, z = np.ascontiguousarray(points[part].T)
        radius, down = np.sqrt(x * x + y * y), np.where(lat[part] > 0, s1, -s1)
        wider = np.divide(radius * c1 + z * down, radius, out=np.zeros_like(radius), where=radius > 0)
        x, y = x * wider, y * wider
        out[part, 0], out[part, 1], out[part, 2] = x * c2 - y * s2, x * s2 + y * c2, z * c1 - radius * down
    polar = np.flatnonzero(np.abs(lat) == 90.0)
    out[polar] = unit_vectors(lat[polar] - np.copysign(1e-3, lat[polar]), lon[polar] + 1e-6)
    return out


@lru_cache(maxsize=CACHED)
def fields_on(built: Topology, device: torch.device) -> dict[str, Tensor]:
    """The fields of a topology on a device; the same tensors each time."""
    return {name: value.to(device) for name, value in built.fields.items()}


@lru_cache(maxsize=CACHED)
def order_on(grid: SphereGrid, device: torch.device) -> Tensor:
    """The order of a grid on a device."""
    return grid.order.to(device)
