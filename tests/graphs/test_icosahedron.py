"""The multi-mesh against counts in closed form, an independent construction, and its symmetries."""

import numpy as np
import pytest
from geoembed.errors import SchemaError, ValueRangeError
from geoembed.graphs import icosahedron
from geoembed.graphs.geodesy import solid_angles, unit_vectors
from geoembed.graphs.icosahedron import EDGE, icosahedral_mesh


def undirected(faces):
    pairs = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return np.unique(pairs, axis=0)


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def matched(points, others):
    """Index of the vertex at the place of each of ``others``, by brute force; fails where there is none."""
    distance = np.linalg.norm(points[None] - others[:, None], axis=-1)
    assert distance.min(axis=1).max() < 1e-14
    return distance.argmin(axis=1)


@pytest.mark.parametrize("level", range(7))
def test_counts_of_every_level_are_those_of_a_refined_icosahedron(level):
    mesh = icosahedral_mesh(level)
    edges = undirected(mesh.faces)
    assert len(mesh.vertices) == 10 * 4**level + 2
    assert len(mesh.faces) == 20 * 4**level
    assert len(edges) == 30 * 4**level
    assert len(mesh.vertices) - len(edges) + len(mesh.faces) == 2  # Euler characteristic of the sphere
    assert mesh.edge_index.shape[1] == 20 * (4 ** (level + 1) - 1)


@pytest.mark.parametrize("level", range(6))
def test_twelve_vertices_have_five_neighbors_and_all_others_six(level):
    degree = np.bincount(undirected(icosahedral_mesh(level).faces).ravel())
    assert (degree == 5).sum() == 12
    assert set(degree) <= {5, 6}


def test_faces_turn_counterclockwise_and_tile_the_sphere_exactly():
    mesh = icosahedral_mesh(4)
    angles = solid_angles(*np.moveaxis(mesh.vertices[mesh.faces], 1, 0))
    assert angles.min() > 0
    assert angles.sum() == pytest.approx(4 * np.pi, abs=1e-12)


def test_multi_mesh_is_the_union_of_the_edges_of_all_levels_both_ways():
    mesh = icosahedral_mesh(3)
    pairs = {(a, b) for faces in mesh.hierarchy for a, b in undirected(faces).tolist()}
    both = pairs | {(b, a) for a, b in pairs}
    listed = list(map(tuple, mesh.edge_index.T.tolist()))
    assert len(listed) == len(set(listed))  # no edge twice
    assert set(listed) == both
    assert listed == sorted(listed, key=lambda edge: (edge[1], edge[0]))  # by target, then source


def test_coarse_meshes_are_the_first_vertices_of_fine_ones():
    coarse, fine = icosahedral_mesh(2), icosahedral_mesh(4)
    np.testing.assert_array_equal(fine.vertices[: len(coarse.vertices)], coarse.vertices)
    np.testing.assert_array_equal(fine.hierarchy[2], coarse.faces)


def test_every_new_vertex_is_the_middle_of_an_edge():
    mesh = icosahedral_mesh(1)
    a, b = mesh.vertices[undirected(mesh.hierarchy[0])].transpose(1, 0, 2)
    middle = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
    assert sorted(matched(mesh.vertices, middle)) == list(range(12, 42))


def test_icosahedron_has_its_vertices_at_the_poles_and_thirty_equal_edges():
    mesh = icosahedral_mesh(0)
    np.testing.assert_array_equal(mesh.vertices[[0, 11]], [[0, 0, 1], [0, 0, -1]])
    a, b = mesh.vertices[undirected(mesh.faces)].transpose(1, 0, 2)
    np.testing.assert_allclose((a * b).sum(axis=1), 1 / np.sqrt(5), atol=1e-15)  # cosine of 63.43°
    assert np.degrees(EDGE) == pytest.approx(63.43494882)


@pytest.mark.parametrize("transform", [rotation(72), rotation(-144), rotation(36) @ np.diag([1, 1, -1]), np.diag([1, -1, 1])])
def test_mesh_goes_into_itself_under_fifth_turns_and_reflections(transform):
    mesh = icosahedral_mesh(3)
    image = matched(mesh.vertices, mesh.vertices @ transform.T)
    assert sorted(image) == list(range(len(image)))
    edges = set(map(tuple, mesh.edge_index.T.tolist()))
    assert set(map(tuple, image[mesh.edge_index].T.tolist())) == edges


def test_located_triangle_contains_the_point():
    mesh = icosahedral_mesh(4)
    points = np.random.default_rng(0).normal(size=(5000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[mesh.locate(points)]], 1, 0)
    for p, q in ((a, b), (b, c), (c, a)):
        assert (np.cross(p, q) * points).sum(axis=1).min() > -1e-15


def test_each_triangle_is_found_from_its_own_center():
    mesh = icosahedral_mesh(3)
    center = mesh.vertices[mesh.faces].sum(axis=1)
    np.testing.assert_array_equal(mesh.locate(center / np.linalg.norm(center, axis=1, keepdims=True)), np.arange(1280))


def test_points_on_vertices_edges_and_poles_get_a_triangle_they_touch():
    mesh = icosahedral_mesh(2)
    a, b = mesh.vertices[undirected(mesh.faces)].transpose(1, 0, 2)
    middle = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
    points = np.concatenate([mesh.vertices, middle, unit_vectors(np.array([90.0, -90, 0, 0]), np.array([0.0, 0, 0, 180]))])
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[mesh.locate(points)]], 1, 0)
    for p, q in ((a, b), (b, c), (c, a)):
        assert (np.cross(p, q) * points).sum(axis=1).min() > -1e-14


def test_mesh_is_built_once_and_cannot_be_changed():
    mesh = icosahedral_mesh(2)
    assert icosahedral_mesh(2) is mesh
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0, 0] = 7


@pytest.mark.parametrize("level", [-1, 9])
def test_level_out_of_bounds_is_refused_with_advice(level):
    with pytest.raises(ValueRangeError, match="Take level 5"):
        icosahedral_mesh(level)


def test_a_mesh_with_a_hole_is_not_handed_out(monkeypatch):
    refine = icosahedron._refine

    def torn(vertices, faces, edges, sides):
        vertices, faces, edges, sides = refine(vertices, faces, edges, sides)
        return vertices, faces[:-1], edges, sides[:-1]

    monkeypatch.setattr(icosahedron, "_refine", torn)
    with pytest.raises(SchemaError, match="Euler characteristic"):
        icosahedron.icosahedral_mesh.__wrapped__(1)
