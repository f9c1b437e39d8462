"""Fields on the sphere as graphs: grid points and an icosahedral multi-mesh in one graph (after Lam et al. 2023, GraphCast).

The topology depends on the grid and the mesh level alone. It is built once, and all graphs of a grid hold the same tensors
by reference, whatever convention of latitude or longitude a field was written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import pad

from geoembed.errors import EmptyGraphError, SchemaError
from geoembed.graphs.icosahedron import EDGE, icosahedral_mesh
from geoembed.graphs.kind import Kind
from geoembed.graphs.refinement import Mesh, RefinedMesh, refined_mesh
from geoembed.graphs.sphere_topology import CACHED, SphereGrid, fields_on, grid_areas, order_on, sphere_grid, topology
from geoembed.schema import Graph, GraphBatch, Provenance, Scalar, Setting, validate

__all__ = ["icosahedral_mesh", "mesh_level", "node_order", "refined_mesh", "sphere_batch", "sphere_graph"]

Values = Tensor | ArrayLike

FINEST = 5
"""Finest level that :func:`mesh_level` suggests: 10,242 vertices 2° apart, the mesh of the paper's 1° model."""


def sphere_graph(
    values: Values, *, lat: Values, lon: Values, level: int = 5, measured: Values | None = None,
    variables: Sequence[str] | None = None, mesh: Mesh | None = None,
) -> Graph:
    """Graph of one field: ``values`` [C, H, W] on axes lat [H], lon [W], or [C, P] at points lat [P], lon [P].

    Curvilinear grids give [C, H, W] with lat [H, W], lon [H, W]. Degrees, in any order and either convention of longitude:
    grid nodes are sorted by latitude, then by longitude in 0…360, so that one field has one graph (:func:`node_order`).
    NaN and ``measured`` False are missing. ``variables`` are the names of the C values.

    Nodes are the grid points (``node_kind`` 0), then mesh vertices (1, unmeasured): the whole mesh of ``level``, or, where
    the points cover only a region, the corners of its triangles that hold a point. ``weight`` is the area in sr. Edges, by
    ``edge_kind``: 0 from each grid point to the corners of its triangle (a vertex that gets none takes the nearest points),
    1 the multi-mesh, 2 from the corners back. ``edge_attr`` is (great circle in rad, east, north), the last two being the
    displacement of the source in the tangent plane of the target, times the cosine of the target's latitude. A further
    column of the same longitude (0° and 360°) is left out and noted. ``mesh`` takes the place of ``level``: a mesh of
    :func:`refined_mesh`, finer in a region; its hanging vertices are nodes like the others.

    Raises:
        SchemaError: shapes that do not fit, or an infinite value.
        ValueRangeError: a coordinate that is not finite or out of range; a level out of 0…8.
        EmptyGraphError: no point, or no measured value.

    >>> graph = sphere_graph(np.ones((1, 3, 4)), lat=[90, 0, -90], lon=[0, 90, 180, 270], level=0)
    >>> graph.num_nodes, round(float(graph.weight[graph.node_kind == 0].sum()) / np.pi, 5)
    (24, 4.0)
    """
    batch = sphere_batch(
        _tensor(values)[None], lat=lat, lon=lon, level=level, variables=variables, mesh=mesh,
        measured=None if measured is None else _tensor(measured)[None],
    )
    graph = batch.get_example(0)
    if not bool(graph.mask.any()):
        raise EmptyGraphError(where="sphere_graph", found="no measured value", expected="at least one",
                              remedy="Leave the record out: every entry is missing.")
    return validate(graph)


def sphere_batch(
    values: Values, *, lat: Values, lon: Values, level: int = 5, measured: Values | None = None,
    variables: Sequence[str] | None = None, mesh: Mesh | None = None,
) -> GraphBatch:
    """B fields of one grid, ``values`` [B, C, H, W] or [B, C, P], as a stacked batch with x [B, N, C]; see :func:`sphere_graph`.

    Stays on the device of ``values`` and differentiable in them; no loop over B.
    """
    fields = _tensor(values)
    grid = _grid(lat, lon, tuple(fields.shape), variables)
    mesh = icosahedral_mesh(level) if mesh is None else mesh
    built = topology(grid, mesh)
    x = _on_nodes(fields, grid).to(torch.float32)  # [B, P, C]
    known = ~torch.isnan(x)
    if measured is not None:
        mask = _tensor(measured).to(fields.device, torch.bool)
        if mask.shape != fields.shape:
            raise _misfit("measured", tuple(mask.shape), f"the shape of values, {tuple(fields.shape)}")
        known = known & _on_nodes(mask, grid)
    x, known = (pad(part, (0, 0, 0, built.vertices)) for part in (torch.where(known, x, 0.0), known))  # [B, N, C]
    settings: dict[str, Setting] = {"level": mesh.level, "layout": built.layout, "mesh": built.extent}
    if isinstance(mesh, RefinedMesh):
        settings |= {"fine_level": mesh.fine_level, "region": [angle for corner in mesh.region for angle in corner]}
    if variables is not None:
        settings["variables"] = list[Scalar](variables)
    provenance = Provenance(
        kind="sphere", modality="weather", topology=f"sphere:{built.key}", settings=settings,
        notes={"cyclic_columns_dropped": grid.cyclic} if grid.cyclic else {},
    )
    ptr = torch.arange(len(x) + 1, device=x.device) * x.shape[1]
    return GraphBatch.from_fields([provenance] * len(x), ptr, provenance.topology, x=x, measured=known,
                                  mask=known.any(dim=-1), **fields_on(built, x.device))


def node_order(lat: Values, lon: Values, shape: tuple[int, ...]) -> Tensor:
    """Row-major index [P] int64 of the input point that each grid node holds, for fields whose last axes have ``shape``.

    >>> node_order([90, -90], [-90, 0, 90], (2, 3)).tolist()  # the South Pole first, longitudes 0, 90, 270
    [4, 5, 3, 1, 2, 0]
    """
    return _grid(lat, lon, (1, 1, *shape), None).order


def mesh_level(lat: Values, lon: Values, shape: tuple[int, ...]) -> int:
    """The finest level up to 5 whose edges are at least as long as the grid's spacing (the root of its median cell).

    >>> mesh_level(np.arange(-90, 91, 10), np.arange(0, 360, 10), (19, 36))
    2
    """
    return _level(_grid(lat, lon, (1, 1, *shape), None))


@lru_cache(maxsize=CACHED)
def _level(grid: SphereGrid) -> int:
    spacing = float(np.sqrt(np.median(grid_areas(grid).area)))
    return int(np.clip(np.floor(np.log2(EDGE / spacing)), 0, FINEST))


def _tensor(values: Values) -> Tensor:
    if isinstance(values, Tensor):
        return values
    if isinstance(values, np.ma.MaskedArray) and values.dtype != np.bool_:
        values = np.ma.filled(values.astype(np.float64), np.nan)
    array: NDArray[Any] = np.ascontiguousarray(values)
    if array.dtype != np.bool_:
        array = array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32, copy=False)  # native byte order
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _grid(lat: Values, lon: Values, shape: tuple[int, ...], variables: Sequence[str] | None) -> SphereGrid:
    """The canonical grid of coordinates ``lat``, ``lon`` for values of ``shape`` [B, C, …]."""
    phi, lam = (_tensor(axis).detach().cpu().double().numpy() for axis in (lat, lon))
    extent = shape[2:]
    rectilinear = len(extent) == 2 and phi.shape == extent[:1] and lam.shape == extent[1:]
    if len(shape) not in (3, 4) or not (rectilinear or phi.shape == lam.shape == extent):
        raise _misfit("values", shape[1:], f"[C, H, W] with lat [H], lon [W], or [C, P] with lat [P], lon [P]; "
                                           f"lat is {list(phi.shape)}, lon {list(lam.shape)}")
    if variables is not None and len(variables) != shape[1]:
        raise _misfit("variables", (len(variables),), f"{shape[1]} names, one a channel")
    if not shape[1]:
        raise _misfit("values", shape[1:], "at least one channel")
    return sphere_grid(phi.tobytes(), lam.tobytes(), extent, rectilinear)


def _on_nodes(fields: Tensor, grid: SphereGrid) -> Tensor:
    """Values [B, C, …] of the input's points as [B, P, C] in the order of nodes."""
    flat = fields.flatten(2)
    return flat.index_select(2, order_on(grid, fields.device)).transpose(1, 2)


def _misfit(name: str, shape: tuple[int, ...], expected: str) -> SchemaError:
    return SchemaError(where=f"sphere_graph: {name}", found=f"shape {list(shape)}", expected=expected,
                       remedy="Transpose the array, or give coordinates of the same shape as the points.")


KIND = Kind("sphere", sphere_graph)
