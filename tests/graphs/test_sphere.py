"""Sphere graphs: one field, one graph, whatever its conventions; every node joined; the symmetries of the mesh kept."""

from itertools import product

import numpy as np
import pytest
import torch
from geoembed.errors import EmptyGraphError, SchemaError, ValueRangeError
from geoembed.graphs.geodesy import displacements, unit_vectors
from geoembed.graphs.icosahedron import icosahedral_mesh
from geoembed.graphs.sphere import mesh_level, node_order, sphere_batch, sphere_graph
from geoembed.graphs.sphere_topology import CACHED
from geoembed.schema import GraphBatch
from hypothesis import given
from hypothesis import strategies as st

LAT, LON = np.linspace(90, -90, 19), np.arange(0, 360, 10.0)
TENSORS = ("x", "measured", "mask", "pos", "weight", "node_kind", "edge_index", "edge_kind", "edge_attr")
SHARED = ("pos", "weight", "node_kind", "edge_index", "edge_kind", "edge_attr")


def field(channels=2, shape=(19, 36), seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *shape)).astype(np.float32)


def random_places(count, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.degrees(np.arcsin(points[:, 2])), np.degrees(np.arctan2(points[:, 1], points[:, 0]))


def edges_of(graph, kind):
    return graph.edge_index[:, graph.edge_kind == kind]


@pytest.mark.parametrize(("south_first", "east_from", "roll"), list(product((False, True), (0, -180), (0, 13))))
def test_one_field_in_eight_conventions_is_one_graph_bit_for_bit(south_first, east_from, roll):
    values = field()
    expected = sphere_graph(values, lat=LAT, lon=LON, level=2)
    lat, lon, written = LAT, np.where(360 + east_from <= LON, LON - 360, LON), values
    order = np.roll(np.argsort(lon), roll)
    lon, written = lon[order], written[:, :, order]
    if south_first:
        lat, written = lat[::-1], written[:, ::-1]
    graph = sphere_graph(written, lat=lat, lon=lon, level=2)
    for name in TENSORS:
        assert torch.equal(graph[name], expected[name]), name
    for name in SHARED:
        assert graph[name] is expected[name]
    assert graph.provenance.topology == expected.provenance.topology


def test_other_grids_in_between_do_not_part_a_grid_from_its_other_conventions():
    values = field()
    for number in range(CACHED + 2):  # the grid in use stays, the others pass
        expected = sphere_graph(values, lat=LAT, lon=LON, level=1)
        sphere_graph(values, lat=LAT / (1.1 + number), lon=LON, level=1)
    graph = sphere_graph(values[:, ::-1], lat=LAT[::-1], lon=LON, level=1)
    assert all(graph[name] is expected[name] for name in SHARED)


def test_a_grid_given_as_points_in_any_order_is_the_same_graph():
    values = field()
    lat, lon = (axis.ravel() for axis in np.meshgrid(LAT, LON, indexing="ij"))
    shuffled = np.random.default_rng(1).permutation(lat.size)
    graph = sphere_graph(values.reshape(2, -1)[:, shuffled], lat=lat[shuffled], lon=lon[shuffled] - 360, level=2)
    expected = sphere_graph(values, lat=LAT, lon=LON, level=2)
    assert all(torch.equal(graph[name], expected[name]) for name in TENSORS)


def test_order_of_nodes_leads_back_to_the_grid():
    values = field()
    graph = sphere_graph(values, lat=LAT, lon=LON - 180, level=1)
    order = node_order(LAT, LON - 180, (19, 36))
    back = torch.empty(2, 19 * 36)
    back[:, order] = graph.x[: 19 * 36].T
    np.testing.assert_array_equal(back.reshape(2, 19, 36).numpy(), values)


@pytest.mark.parametrize(("lat", "lon", "level"), [
    (LAT, LON, 2), (LAT, LON, 5), (np.arange(-85, 90, 10), LON + 5, 0), (np.arange(30, 61, 2.5), np.arange(-20, 21, 2.5), 4),
    (np.array([89.0, 90.0]), np.array([0.0, 180.0]), 3),
])
def test_no_node_is_isolated_and_every_edge_is_where_its_kind_says(lat, lon, level):
    graph = sphere_graph(field(1, (len(lat), len(lon))), lat=lat, lon=lon, level=level)
    points = int((graph.node_kind == 0).sum())
    down, across, up = (edges_of(graph, kind) for kind in range(3))
    assert torch.equal(torch.unique(down[0]), torch.arange(points))  # every grid point sends
    assert torch.equal(torch.unique(down[1]), torch.arange(points, graph.num_nodes))  # every mesh vertex receives
    assert torch.equal(torch.unique(across[1]), torch.arange(points, graph.num_nodes))
    assert across.min() >= points
    assert torch.equal(up[1], torch.arange(points).repeat_interleave(3))  # three corners back to each point
    assert (graph.edge_kind.diff() >= 0).all()
    assert all((edges_of(graph, kind)[1].diff() >= 0).all() for kind in range(3))


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 1000))
def test_each_point_lies_in_the_triangle_of_its_three_edges(count, level, seed):
    lat, lon = random_places(count, seed)
    graph = sphere_graph(np.ones((1, count)), lat=lat, lon=lon, level=level)
    pos = graph.pos.double()
    source, target = edges_of(graph, 2)
    corners, points = pos[source].reshape(-1, 3, 3), pos[target[::3]]
    weights = torch.linalg.solve(corners.transpose(1, 2), points.unsqueeze(-1)).squeeze(-1)  # point = Σ weight · corner
    assert weights.min() > -1e-5  # positions are float32


def test_points_on_vertices_edges_poles_and_the_seam_lie_in_exactly_one_triangle():
    vertices = icosahedral_mesh(2).vertices
    lat, lon = np.degrees(np.arcsin(vertices[:, 2])), np.degrees(np.arctan2(vertices[:, 1], vertices[:, 0]))
    lat, lon = np.append(lat, [90, 90, -90, 0, 10]), np.append(lon, [72, 100, -36, 180, 360])
    graph = sphere_graph(np.ones((1, len(lat))), lat=lat, lon=lon, level=2)
    source, target = edges_of(graph, 2)
    assert torch.equal(torch.bincount(target), torch.full((len(lat),), 3))
    corners = {frozenset(face.tolist()) for face in icosahedral_mesh(2).faces}
    assert all(frozenset(three.tolist()) in corners for three in source.reshape(-1, 3) - len(lat))


def test_mesh_edges_are_those_of_the_multi_mesh():
    graph = sphere_graph(field(), lat=LAT, lon=LON, level=3)
    np.testing.assert_array_equal(edges_of(graph, 1).numpy() - 19 * 36, icosahedral_mesh(3).edge_index)


def test_points_send_to_the_corners_that_send_back_and_lonely_vertices_hear_the_nearest_points():
    graph = sphere_graph(field(), lat=LAT, lon=LON, level=4)  # finer than the grid
    down, up = edges_of(graph, 0), edges_of(graph, 2)
    pairs = set(map(tuple, down.T.tolist()))
    back = {(grid, mesh) for mesh, grid in up.T.tolist()}
    assert back < pairs
    pos = graph.pos.double()
    lonely = sorted({mesh for _, mesh in pairs} - {mesh for _, mesh in back})
    distance = torch.cdist(pos[lonely], pos[: 19 * 36])
    for row, mesh in enumerate(lonely):
        heard = [grid for grid, other in pairs if other == mesh]
        assert distance[row, heard].max() <= distance[row].min() + 1e-6


def test_edge_geometry_is_the_displacement_seen_from_the_target():
    lat, lon = random_places(100)
    graph = sphere_graph(np.ones((1, 100)), lat=lat, lon=lon, level=2)
    nodes = graph.pos.double().numpy()
    source, target = graph.edge_index.numpy()
    np.testing.assert_allclose(graph.edge_attr.numpy(), displacements(nodes[source], nodes[target]), atol=5e-7)
    assert torch.isfinite(graph.edge_attr).all()


def test_weights_are_areas_in_steradians_of_grid_and_of_mesh():
    graph = sphere_graph(field(), lat=LAT, lon=LON, level=3)
    for kind in (0, 1):
        assert graph.weight[graph.node_kind == kind].double().sum().item() == pytest.approx(4 * np.pi, rel=1e-6)
    cap = 2 * np.pi * (1 - np.cos(np.radians(5))) / 36
    assert graph.weight[0].item() == pytest.approx(cap, rel=1e-6)  # a node of the South Pole row


def test_turning_the_field_by_a_fifth_turns_the_graph_into_itself():
    lat, lon = np.linspace(-90, 90, 13), np.arange(0, 360, 12.0)  # 72° are 6 columns; points on poles and mesh edges
    values = field(1, (13, 30))
    graph = sphere_graph(values, lat=lat, lon=lon, level=2)
    turned = sphere_graph(np.roll(values, 6, axis=2), lat=lat, lon=lon, level=2)
    c, s = np.cos(np.radians(72)), np.sin(np.radians(72))
    image = graph.pos.double() @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float64)
    grid, points = torch.arange(13 * 30).reshape(13, 30), 13 * 30
    mesh = torch.cdist(image[points:], graph.pos[points:].double()).argmin(dim=1) + points
    place = torch.cat([grid.roll(-6, 1).ravel(), mesh])  # node -> node at its turned place
    assert torch.equal(torch.sort(place).values, torch.arange(graph.num_nodes))
    assert torch.equal(turned.x[place], graph.x)
    for kind in range(3):
        chosen = graph.edge_kind == kind
        key = (place[graph.edge_index[1]] * graph.num_nodes + place[graph.edge_index[0]])[chosen]
        there = (turned.edge_index[1] * graph.num_nodes + turned.edge_index[0])[chosen]
        order, target = torch.argsort(key), torch.argsort(there)
        assert torch.equal(key[order], there[target])
        assert torch.allclose(graph.edge_attr[chosen][order], turned.edge_attr[chosen][target], atol=1e-6)


def test_regional_mesh_is_cut_down_to_triangles_that_hold_a_point():
    lat, lon = np.arange(30, 61, 2.5), np.arange(-20, 21, 2.5)
    graph = sphere_graph(field(1, (13, 17)), lat=lat, lon=lon, level=4)
    assert graph.provenance.settings["mesh"] == "region"
    mesh = icosahedral_mesh(4)
    phi, lam = (axis.ravel() for axis in np.meshgrid(lat, lon, indexing="ij"))
    kept = np.unique(mesh.faces[mesh.locate(unit_vectors(phi, lam))])
    np.testing.assert_allclose(graph.pos[graph.node_kind == 1].numpy(), mesh.vertices[kept], atol=1e-7)
    inner = np.isin(mesh.edge_index, kept).all(axis=0)
    np.testing.assert_array_equal(edges_of(graph, 1).numpy() - 221, np.searchsorted(kept, mesh.edge_index[:, inner]))


def test_missing_values_are_zero_unmeasured_and_without_influence():
    values = field()
    values[0, 3, 4], values[:, 5, 6] = np.nan, np.nan
    measured = np.ones(values.shape, bool)
    measured[1, 0, 0] = False
    graph = sphere_graph(values, lat=LAT, lon=LON, level=1, measured=measured)
    assert int((~graph.measured[: 19 * 36]).sum()) == 4
    assert int((~graph.mask[: 19 * 36]).sum()) == 1
    assert not graph.mask[19 * 36:].any()
    assert (graph.x[~graph.measured] == 0).all()
    values[1, 0, 0] = 9.96921e36
    again = sphere_graph(values, lat=LAT, lon=LON, level=1, measured=measured)
    assert all(torch.equal(again[name], graph[name]) for name in TENSORS)


def test_masked_array_and_foreign_byte_order_are_read_as_they_are_meant():
    values = field()
    masked = np.ma.masked_array(values, mask=np.zeros(values.shape, bool)).astype(">f8")
    masked[0, 0, 0] = np.ma.masked
    graph = sphere_graph(masked, lat=LAT.astype(">f4"), lon=LON.astype("<i2"), level=1)
    values[0, 0, 0] = np.nan
    expected = sphere_graph(values, lat=LAT, lon=LON, level=1)
    assert torch.equal(graph.x, expected.x)
    assert torch.equal(graph.measured, expected.measured)


def test_second_column_of_the_same_longitude_is_dropped_and_noted():
    values = field()
    wrapped = np.concatenate([values, values[:, :, :1]], axis=2)
    graph = sphere_graph(wrapped, lat=LAT, lon=np.append(LON, 360.0), level=1)
    assert torch.equal(graph.x, sphere_graph(values, lat=LAT, lon=LON, level=1).x)
    assert graph.notes["cyclic_columns_dropped"] == 1


def test_batch_made_at_once_equals_graphs_made_one_by_one():
    values = np.stack([field(seed=seed) for seed in range(3)])
    values[1, 0, 2, 2] = np.nan
    batch = sphere_batch(values, lat=LAT, lon=LON, level=2)
    graphs = [sphere_graph(one, lat=LAT, lon=LON, level=2) for one in values]
    stacked = GraphBatch.from_data_list(graphs)
    assert batch.stacked
    assert stacked.stacked
    for name in TENSORS:
        assert torch.equal(batch[name], stacked[name]), name
        assert torch.equal(batch.get_example(1)[name], graphs[1][name]), name
    assert torch.equal(batch.ptr, stacked.ptr)


def test_gradients_reach_the_values_of_a_batch():
    values = torch.randn(2, 3, 19, 36, requires_grad=True)
    batch = sphere_batch(values, lat=LAT, lon=LON, level=1)
    (batch.x.square().sum() / 2).backward()
    assert torch.allclose(values.grad, values.detach())


def test_curvilinear_grid_is_taken_by_the_coordinates_of_its_points():
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    expected = sphere_graph(field(), lat=LAT, lon=LON, level=2)
    graph = sphere_graph(field(), lat=lat, lon=lon, level=2)
    assert all(torch.equal(graph[name], expected[name]) for name in TENSORS)


@pytest.mark.parametrize(("step", "level"), [(0.25, 5), (1.0, 5), (2.5, 4), (5.0, 3), (30.0, 1)])
def test_suggested_level_has_edges_as_long_as_the_grid_spacing(step, level):
    assert mesh_level(np.arange(-90, 90.1, step), np.arange(0, 360, step), (int(180 / step) + 1, int(360 / step))) == level


def test_names_and_settings_are_kept_for_building_the_graph_again():
    graph = sphere_graph(field(), lat=LAT, lon=LON, level=2, variables=["t@500", "msl"])
    assert graph.provenance.settings == {"level": 2, "layout": "rows", "mesh": "sphere", "variables": ["t@500", "msl"]}
    assert graph.provenance.kind == "sphere"
    assert graph.provenance.modality == "weather"


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"lat": LAT[:-1]}, SchemaError, "Transpose the array"),
    ({"values": np.ones((19, 36))}, SchemaError, r"lat is \[19\], lon \[36\]"),
    ({"values": np.ones((0, 19, 36))}, SchemaError, "at least one channel"),
    ({"variables": ["t"]}, SchemaError, "2 names"),
    ({"measured": np.ones((1, 19, 36), bool)}, SchemaError, "the shape of values"),
    ({"values": np.full((2, 19, 36), np.inf)}, SchemaError, "finite numbers"),
    ({"lat": LAT * 1.01}, ValueRangeError, "Give degrees"),
    ({"lon": np.where(LON == 0, np.nan, LON)}, ValueRangeError, "leave out points without coordinates"),
    ({"lon": LON - 790}, ValueRangeError, r"-360…720"),
    ({"level": 9}, ValueRangeError, "Take level 5"),
    ({"values": np.full((2, 19, 36), np.nan)}, EmptyGraphError, "every entry is missing"),
    ({"values": np.ones((2, 0, 36)), "lat": LAT[:0]}, EmptyGraphError, "no grid point"),
])
def test_what_cannot_be_a_field_is_refused_with_the_next_step(change, error, message):
    arguments = {"values": field(), "lat": LAT, "lon": LON, "level": 1} | change
    with pytest.raises(error, match=message):
        sphere_graph(arguments.pop("values"), **arguments)
