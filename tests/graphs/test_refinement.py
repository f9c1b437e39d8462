"""Meshes refined in a region: a tiling, graded by single levels, fine where it should be, and known point by point."""

import itertools

import numpy as np
import pytest
import torch
from geoembed.errors import BudgetError, SchemaError, ValueRangeError
from geoembed.graphs import refinement
from geoembed.graphs.adjacency import across, around
from geoembed.graphs.geodesy import lat_lon, solid_angles, unit_vectors
from geoembed.graphs.icosahedron import icosahedral_mesh
from geoembed.graphs.refinement import refined_mesh
from geoembed.graphs.region import border, inside, region_of
from geoembed.graphs.sphere import sphere_graph
from geoembed.graphs.sphere_topology import vertex_areas
from hypothesis import given
from hypothesis import strategies as st

WORLD = [(-90, -180), (90, -180), (90, 180), (-90, 180)]
REGIONS = {
    "box": [(35, -10), (35, 30), (60, 30), (60, -10)], "clockwise": [(60, -10), (60, 30), (35, 30), (35, -10)],
    "date line": [(-20, 165), (-20, 195), (5, 195), (5, 165)], "polar cap": [(75, 0), (75, 360), (90, 360), (90, 0)],
    "concave": [(0, 0), (40, 0), (40, 40), (30, 40), (30, 10), (0, 10)], "speck": [(10, 10), (10, 10.001), (10.001, 10)],
}


def random_points(count, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def corners_of(mesh, face):
    return np.moveaxis(mesh.vertices[mesh.faces[face]], 1, 0)


@pytest.mark.parametrize("name", REGIONS)
def test_triangles_of_all_levels_tile_the_sphere(name):
    mesh = refined_mesh(2, region=REGIONS[name], fine_level=6)
    area = solid_angles(*corners_of(mesh, slice(None)))
    assert area.min() > 0
    assert area.sum() == pytest.approx(4 * np.pi, abs=1e-12)
    assert set(mesh.face_level) == {2, 3, 4, 5, 6}
    # Each triangle of level l is one of 20·4^l: shares of the sphere counted in whole numbers.
    assert (4 ** (6 - mesh.face_level.astype(int))).sum() == (20 * 4**6)


@pytest.mark.parametrize("name", REGIONS)
def test_no_two_triangles_that_meet_differ_by_more_than_one_level(name):
    """By brute force: each triangle against all vertices that lie on its border, corners and middles of sides and quarters."""
    mesh = refined_mesh(2, region=REGIONS[name], fine_level=6)
    finest = np.zeros(len(mesh.vertices), int)
    np.maximum.at(finest, mesh.faces.ravel(), np.repeat(mesh.face_level, 3))
    place = {tuple(vertex): v for v, vertex in enumerate((np.round(mesh.vertices, 9) + 0.0).tolist())}
    for face, level in zip(mesh.vertices[mesh.faces], mesh.face_level, strict=True):
        known = list(face)
        for a, b in itertools.combinations(face, 2):
            middle = (a + b) / np.linalg.norm(a + b)
            known += [middle, *((one + middle) / np.linalg.norm(one + middle) for one in (a, b))]
        met = [v for point in known if (v := place.get(tuple((np.round(point, 9) + 0.0).tolist()))) is not None]
        assert finest[met].max() <= level + 1


@pytest.mark.parametrize("name", REGIONS)
def test_every_point_of_the_region_lies_in_a_triangle_of_the_fine_level(name):
    region = region_of(REGIONS[name])
    mesh = refined_mesh(3, region=region, fine_level=6)
    points = random_points(20_000)
    points = np.concatenate([points[inside(region, points)], border(region, 0.003)])
    assert (mesh.face_level[mesh.locate(points)] == 6).all()
    far = random_points(2000, 1)
    near = border(region, 0.01)
    far = far[~inside(region, far) & ((far @ near.T).max(axis=1) < np.cos(np.radians(25)))]
    assert (mesh.face_level[mesh.locate(far)] == 3).all()  # coarse where nothing asks for more


@pytest.mark.parametrize(("level", "fine"), [(0, 0), (0, 3), (2, 4), (4, 4)])
def test_refined_everywhere_it_is_the_uniform_mesh_bit_for_bit(level, fine):
    mesh, uniform = refined_mesh(level, region=WORLD, fine_level=fine), icosahedral_mesh(fine)
    np.testing.assert_array_equal(mesh.vertices, uniform.vertices)
    np.testing.assert_array_equal(mesh.faces, uniform.faces)
    np.testing.assert_array_equal(mesh.edge_index, uniform.edge_index)
    points = random_points(5000)
    np.testing.assert_array_equal(mesh.locate(points), uniform.locate(points))


@pytest.mark.parametrize("name", REGIONS)
def test_each_point_is_in_the_one_triangle_that_is_found(name):
    mesh = refined_mesh(2, region=REGIONS[name], fine_level=5)
    points = random_points(300)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)  # every triangle against every point
    depth = np.min([np.cross(p, q) @ points.T for p, q in ((a, b), (b, c), (c, a))], axis=0)  # [F, P]
    assert ((depth > 0).sum(axis=0) == 1).all()
    np.testing.assert_array_equal(mesh.locate(points), depth.argmax(axis=0))
    center = mesh.vertices[mesh.faces].sum(axis=1)
    np.testing.assert_array_equal(mesh.locate(center / np.linalg.norm(center, axis=1, keepdims=True)), np.arange(len(mesh.faces)))


def test_edges_are_the_sides_of_the_triangles_of_all_levels_both_ways():
    mesh, uniform = refined_mesh(1, region=REGIONS["box"], fine_level=4), icosahedral_mesh(4)
    key = {vertex.tobytes(): v for v, vertex in enumerate(uniform.vertices)}
    place = np.array([key[vertex.tobytes()] for vertex in mesh.vertices])
    assert (np.diff(place) > 0).all()  # the vertices of the fine mesh, some left out
    leaves = {frozenset(face) for face in place[mesh.faces].tolist()}
    expected, count = set(), 0
    for level, faces in enumerate(uniform.hierarchy):
        for number, face in enumerate(faces.tolist()):
            # A triangle exists if it is a leaf or one of its descendants is.
            below = [uniform.hierarchy[deep][number * 4 ** (deep - level) : (number + 1) * 4 ** (deep - level)] for deep in range(level, 5)]
            if any(frozenset(one) in leaves for deep in below for one in deep.tolist()):
                count += 1
                expected |= {(a, b) for a, b in itertools.permutations(face, 2)}
    assert count == sum(len(links) for links in mesh.links)
    listed = list(map(tuple, place[mesh.edge_index].T.tolist()))
    assert set(listed) == expected
    assert listed == sorted(set(listed), key=lambda edge: (edge[1], edge[0]))


def test_hanging_vertices_lie_on_the_side_they_halve_and_have_an_area():
    mesh = refined_mesh(2, region=REGIONS["box"], fine_level=4)
    area = vertex_areas(mesh)
    assert area.min() > 0
    assert area.sum() == pytest.approx(4 * np.pi, abs=1e-12)
    sides = {tuple(sorted(side)) for face in mesh.faces.tolist() for side in itertools.combinations(face, 2)}
    ends = np.array(sorted(sides))
    middle = mesh.vertices[ends].sum(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    halves = {v: tuple(ends[side]) for side, v in np.argwhere(np.linalg.norm(middle[:, None] - mesh.vertices, axis=-1) < 1e-12)}
    assert halves  # coarse sides with a vertex in the middle
    for v, (a, b) in halves.items():
        assert abs(np.linalg.det(mesh.vertices[[v, a, b]])) < 1e-15  # on the great circle
        assert {tuple(sorted((v, a))), tuple(sorted((v, b)))} <= sides  # the finer triangles beyond


@given(st.integers(0, 6), st.integers(0, 10_000))
def test_side_beyond_a_side_is_the_same_edge_seen_from_the_other_triangle(level, seed):
    mesh = icosahedral_mesh(level)
    face, k = np.random.default_rng(seed).integers([len(mesh.faces), 3], size=(50, 2)).T
    beyond = across(4 * face + k, level)
    there, j = beyond >> 2, beyond & 3
    np.testing.assert_array_equal(mesh.faces[face, k], mesh.faces[there, (j + 1) % 3])
    np.testing.assert_array_equal(mesh.faces[face, (k + 1) % 3], mesh.faces[there, j])
    corner = 4 * face[:1] + k[:1]
    vertex = mesh.faces[face[0], k[0]]
    np.testing.assert_array_equal(around(corner, level), np.flatnonzero((mesh.faces == vertex).any(axis=1)))


@pytest.mark.parametrize(("lat", "lon", "within"), [
    (50, 0, True), (36, 29, True), (34, 0, False), (50, 31, False), (-50, 0, False), (50, 180, False),
])
def test_point_is_inside_a_box_between_its_borders(lat, lon, within):
    point = unit_vectors(np.array([float(lat)]), np.array([float(lon)]))
    assert inside(region_of(REGIONS["box"]), point)[0] == within
    assert inside(region_of(REGIONS["clockwise"]), point)[0] == within


def test_region_over_the_date_line_and_one_at_the_pole_hold_what_they_say():
    points = random_points(5000)
    lat, lon = lat_lon(points)
    np.testing.assert_array_equal(inside(region_of(REGIONS["polar cap"]), points), lat >= 75)
    np.testing.assert_array_equal(inside(region_of(REGIONS["date line"]), points), (lat >= -20) & (lat < 5) & (lon > 165) & (lon < 195))


def test_field_on_a_refined_mesh_is_a_graph_with_small_triangles_in_the_region():
    lat, lon = np.linspace(90, -90, 37), np.arange(0, 360, 5.0)
    mesh = refined_mesh(2, region=REGIONS["box"], fine_level=5)
    values = np.random.default_rng(0).normal(size=(1, 37, 72))
    graph = sphere_graph(values, lat=lat, lon=lon, mesh=mesh)
    points = 37 * 72
    assert graph.num_nodes == points + len(mesh.vertices)
    assert graph.weight[points:].double().sum().item() == pytest.approx(4 * np.pi, rel=1e-6)
    assert torch.equal(torch.unique(graph.edge_index[1, graph.edge_kind == 0]), torch.arange(points, graph.num_nodes))
    corners = graph.pos.double()[graph.edge_index[0, graph.edge_kind == 2]].reshape(-1, 3, 3)
    weights = torch.linalg.solve(corners.transpose(1, 2), graph.pos.double()[:points].unsqueeze(-1))
    assert weights.min() > -1e-5  # each point between its corners
    assert graph.provenance.settings["fine_level"] == 5
    assert graph.provenance.settings["region"] == [35, -10, 35, 30, 60, 30, 60, -10]
    assert graph.provenance.topology != sphere_graph(values, lat=lat, lon=lon, level=2).provenance.topology
    assert sphere_graph(values, lat=lat, lon=lon, mesh=mesh).edge_attr is graph.edge_attr  # built once


def test_uniform_mesh_given_as_such_is_the_mesh_of_its_level():
    lat, lon, values = np.linspace(90, -90, 7), np.arange(0, 360, 30.0), np.ones((1, 7, 12))
    graph = sphere_graph(values, lat=lat, lon=lon, mesh=icosahedral_mesh(1))
    assert graph.edge_index is sphere_graph(values, lat=lat, lon=lon, level=1).edge_index


def test_refined_mesh_is_built_once_and_cannot_be_changed():
    mesh = refined_mesh(1, region=REGIONS["box"], fine_level=3)
    assert refined_mesh(1, region=[*REGIONS["box"], REGIONS["box"][0]], fine_level=3) is mesh  # a closed ring is the same
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0, 0] = 7


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"level": 9}, ValueRangeError, "Take level 5"), ({"fine_level": 1}, ValueRangeError, "fine_level 1"),
    ({"fine_level": 12}, ValueRangeError, "level ≤ fine_level ≤ 11"), ({"region": [(0, 0), (1, 1)]}, ValueRangeError, "at least three corners"),
    ({"region": [(0, 0), (0, 10), (95, 5)]}, ValueRangeError, r"Give degrees as \(lat, lon\)"),
    ({"region": [(0, -200), (0, 200), (10, 0)]}, ValueRangeError, "let the longitudes run on"),
    ({"region": [(0, 0), (0, np.nan), (10, 0)]}, ValueRangeError, "Give degrees"),
    ({"region": [(0, 0), (10, 10), (20, 20)]}, ValueRangeError, "without an area"),
    ({"region": WORLD, "fine_level": 9}, BudgetError, "Take a smaller region"),
])
def test_what_cannot_be_refined_is_refused_with_the_next_step(monkeypatch, arguments, error, message):
    monkeypatch.setattr(refinement, "MOST_FACES", 20 * 4**6)
    with pytest.raises(error, match=message):
        refined_mesh(**({"level": 2, "region": REGIONS["box"], "fine_level": 4} | arguments))


def test_a_refined_mesh_with_a_hole_is_not_handed_out(monkeypatch):
    monkeypatch.setattr(refinement, "CHILDREN", np.array([0, 3, 5, 1, 4, 3, 2, 5, 4, 3, 4, 4]))
    with pytest.raises(SchemaError, match="Report this"):
        refined_mesh(0, region=[(1, 1), (1, 2), (2, 2)], fine_level=1)
