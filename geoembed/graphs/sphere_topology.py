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
from geoembed.graphs.geodesy import SPHERE, displacements, nearest, unit_vectors
from geoembed.graphs.icosahedron import IcosahedralMesh, icosahedral_mesh
from geoembed.graphs.voronoi import voronoi_areas

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
        columns = np.sort(np.unique(lam, return_index=True)[1])
        cyclic = width - len(columns)
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


@lru_cache(maxsize=4)
def mesh_areas(level: int) -> Float:
    """Areas [10·4^level + 2] sr of the cells around mesh vertices, sum 4π."""
    mesh = icosahedral_mesh(level)
    area = voronoi_areas(mesh.vertices, mesh.faces)
    return area * (SPHERE / float(area.sum()))


@dataclass(frozen=True, eq=False)
class Topology:
    """Nodes and edges of a grid and a mesh level, without values.

    Attributes:
        key: hash of grid and level.
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


@lru_cache(maxsize=CACHED)
def topology(grid: SphereGrid, level: int) -> Topology:
    """The topology of a grid and a mesh level; equal grids give the same object whatever order they came in."""
    areas = grid_areas(grid)
    return _topology(grid.lat, grid.lon, areas.area.tobytes(), areas.layout, areas.covers_sphere, level)


@lru_cache(maxsize=CACHED)
def _topology(lat: bytes, lon: bytes, area: bytes, layout: str, covers_sphere: bool, level: int) -> Topology:
    mesh = icosahedral_mesh(level)
    phi, lam = np.clip(_floats(lat), -90.0, 90.0), _floats(lon)
    points = unit_vectors(phi, lam)
    corners = np.sort(mesh.faces[mesh.locate(_nudged(phi, lam))], axis=1)  # [P, 3]
    kept = np.arange(len(mesh.vertices)) if covers_sphere else np.unique(corners)
    place = np.full(len(mesh.vertices), -1)
    place[kept] = np.arange(len(kept))
    corners, vertices = place[corners], mesh.vertices[kept]
    nodes = np.concatenate([points, vertices])
    edges = [_down(points, vertices, corners), _across(mesh, place, len(points)), _up(corners, len(points))]
    attributes = [displacements(nodes[source], nodes[target]) for source, target in edges]
    fields = {
        "pos": torch.from_numpy(nodes).float(),
        "weight": torch.from_numpy(np.concatenate([_floats(area), mesh_areas(level)[kept]])).float(),
        "node_kind": torch.from_numpy(np.repeat(np.arange(2, dtype=np.int8), [len(points), len(vertices)])),
        "edge_index": torch.from_numpy(np.concatenate(edges, axis=1)),
        "edge_kind": torch.from_numpy(np.repeat(np.arange(3, dtype=np.int8), [part.shape[1] for part in edges])),
        "edge_attr": torch.from_numpy(np.concatenate(attributes)).float(),
    }
    key = hashlib.sha256(b"%d:%b:%b:%b" % (level, lat, lon, area)).hexdigest()[:16]
    return Topology(key, len(points), len(vertices), layout, "sphere" if covers_sphere else "region", fields)


def _nudged(lat: Float, lon: Float) -> Float:
    """Positions [P, 3] moved by millimeters off the lines of symmetry of the mesh: toward the equator, then east.

    Grid points on an edge, a vertex or a pole of the mesh so belong to one triangle, by a rule that commutes with turns of
    72° and does not depend on rounding. At a pole, longitude says which cell a point stands for; the step is larger there.
    """
    step = np.where(np.abs(lat) == 90.0, 1e-3, 1e-7)
    return unit_vectors(np.where(lat > 0, lat - step, lat + step), lon + 1e-6)


def _down(points: Float, vertices: Float, corners: Int) -> Int:
    """Edges [2, E] from grid points to the corners of their triangles; a vertex without any takes its nearest points."""
    source, target = np.repeat(np.arange(len(points)), 3), corners.ravel()
    lonely = np.setdiff1d(np.arange(len(vertices)), target)
    if len(lonely):
        distance, index = nearest(points, vertices[lonely], min(8, len(points)))
        tied = distance <= distance[:, :1] + 1e-9  # a choice among equals would break symmetry
        source, target = np.append(source, index[tied]), np.append(target, np.repeat(lonely, tied.sum(axis=1)))
    order = np.argsort(target * len(points) + source, kind="stable")
    return np.stack([source[order], target[order] + len(points)])


def _across(mesh: IcosahedralMesh, place: Int, points: int) -> Int:
    """Edges [2, E] of the multi-mesh among the kept vertices; ``place`` is monotonic, so targets stay sorted."""
    edges = place[mesh.edge_index]
    return edges[:, (edges >= 0).all(axis=0)] + points


def _up(corners: Int, points: int) -> Int:
    """Edges [2, 3P] from the corners of each grid point's triangle back to it."""
    return np.stack([corners.ravel() + points, np.repeat(np.arange(points), 3)])


@lru_cache(maxsize=CACHED)
def fields_on(built: Topology, device: torch.device) -> dict[str, Tensor]:
    """The fields of a topology on a device; the same tensors each time."""
    return {name: value.to(device) for name, value in built.fields.items()}


@lru_cache(maxsize=CACHED)
def order_on(grid: SphereGrid, device: torch.device) -> Tensor:
    """The order of a grid on a device."""
    return grid.order.to(device)
