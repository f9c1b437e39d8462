"""The multi-mesh against counts in closed form, an independent construction, and its symmetries."""

import itertools

import numpy as np
import pytest
from geoembed.errors import SchemaError, ValueRangeError
from geoembed.graphs import icosahedron, multimesh
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


def refined_by_hand(state):
    """(vertices, faces, edges) of the next level, one edge after the other: every side once, its middle numbered in turn.

    Edges of a level are numbered as halves of the edges before (2e, 2e + 1), then three inside each face.
    """
    vertices, faces, edges = state
    number = {frozenset(edge): e for e, edge in enumerate(edges)}
    middle = [vertices[a] + vertices[b] for a, b in edges]
    count = len(vertices)
    halves = [pair for e, (a, b) in enumerate(edges) for pair in ((a, count + e), (count + e, b))]
    inner, children = [], []
    for a, b, c in faces:
        ab, bc, ca = (count + number[frozenset(side)] for side in ((a, b), (b, c), (c, a)))
        inner += [(ca, ab), (ab, bc), (bc, ca)]
        children += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return [*vertices, *(m / np.sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]) for m in middle)], children, halves + inner


@pytest.mark.parametrize("level", range(6))
def test_closed_form_is_what_refining_edge_by_edge_gives_bit_for_bit(level):
    first = icosahedral_mesh(0)
    sides = sorted({tuple(sorted(pair)) for face in first.faces.tolist() for pair in itertools.combinations(face, 2)})
    state = (list(first.vertices), [tuple(face) for face in first.faces.tolist()], sides)
    hierarchy, every = [state[1]], list(sides)
    for _ in range(level):
        state = refined_by_hand(state)
        hierarchy.append(state[1])
        every += state[2]
    mesh = icosahedral_mesh(level)
    np.testing.assert_array_equal(mesh.vertices, np.array(state[0]))
    for faces, expected in zip(mesh.hierarchy, hierarchy, strict=True):
        np.testing.assert_array_equal(faces, np.array(expected))
    both = sorted({(b, a) for a, b in every} | set(every))  # (target, source)
    np.testing.assert_array_equal(mesh.edge_index, np.array(both).T[::-1])


def test_rows_of_the_edge_list_do_not_depend_on_how_many_are_written_at_a_time(monkeypatch):
    expected = icosahedral_mesh(4)
    monkeypatch.setattr(multimesh, "CHUNK", 37)
    mesh = icosahedron.icosahedral_mesh.__wrapped__(4)
    np.testing.assert_array_equal(mesh.edge_index, expected.edge_index)
    np.testing.assert_array_equal(mesh.faces, expected.faces)
    np.testing.assert_array_equal(mesh.locate(expected.vertices), expected.locate(expected.vertices))


def test_finest_mesh_keeps_the_laws_of_the_coarse_ones_with_two_hundred_thousand_points_in_their_triangles():
    mesh = icosahedral_mesh(7)
    points = np.random.default_rng(1).normal(size=(200_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[mesh.locate(points)]], 1, 0)
    assert min((np.cross(p, q) * points).sum(axis=1).min() for p, q in ((a, b), (b, c), (c, a))) > -1e-15


@pytest.mark.parametrize(("name", "fact"), [
    ("write_children", "sides without a face beyond"), ("write_midpoints", "unit vertices"), ("write_edges", "edges out of order"),
])
def test_a_mesh_with_a_hole_is_not_handed_out(monkeypatch, name, fact):
    write = getattr(multimesh, name)

    def torn(level, *arguments):
        write(level, *arguments)
        written = next(array for array in (arguments[-1], arguments[0]) if isinstance(array, np.ndarray))
        if name == "write_children":
            written[7] = written[7, [1, 0, 2]]
        elif name == "write_midpoints":
            written[20] *= 1.001
        else:
            arguments[-2][[0, 1]] = arguments[-2][[1, 0]]

    monkeypatch.setattr(multimesh, name, torn)
    with pytest.raises(SchemaError, match=rf"{fact}.*Report this"):
        icosahedron.icosahedral_mesh.__wrapped__(1)


@pytest.mark.parametrize("level", [1.5, 1.0, "1", None, -1, 9])
def test_a_level_is_a_whole_number(level):
    with pytest.raises(ValueRangeError, match="a whole number, 0…8"):
        icosahedral_mesh(level)


def test_a_mesh_shows_itself_in_one_line():
    assert repr(icosahedral_mesh(1)) == "IcosahedralMesh(level 1: 42 vertices, 300 edges)"
