"""Edges between points and triangles against the same thing said edge by edge."""

import numpy as np
import pytest
from geoembed.graphs import bipartite
from geoembed.graphs.bipartite import ascending, geometry, join
from geoembed.graphs.geodesy import displacements, unit_vectors
from geoembed.graphs.icosahedron import icosahedral_mesh
from geoembed.graphs.sphere_topology import corners_around
from hypothesis import given
from hypothesis import strategies as st


def random_places(count, seed):
    generator = np.random.default_rng(seed)
    return np.sort(np.degrees(np.arcsin(generator.uniform(-1, 1, count)))), generator.uniform(0, 360, count)


def by_hand(points, vertices, corners, mesh_edges):
    """Lists of (source, target) of the three kinds, one edge after the other."""
    down = [(p, len(points) + v) for p, three in enumerate(corners.tolist()) for v in three]
    heard = {v for _, v in down}
    for v in range(len(points), len(points) + len(vertices)):
        if v not in heard:
            distance = np.linalg.norm(points - vertices[v - len(points)], axis=1)
            down += [(int(p), v) for p in np.flatnonzero(distance <= distance.min() + 1e-9)]
    across = [(a + len(points), b + len(points)) for a, b in mesh_edges.T.tolist()]
    up = [(len(points) + v, p) for p, three in enumerate(corners.tolist()) for v in three]
    return [sorted(kind, key=lambda edge: (edge[1], edge[0])) for kind in (down, across, up)]


@given(st.integers(1, 60), st.integers(0, 3), st.integers(0, 1000), st.sampled_from([7, 8192]))
def test_edges_and_their_geometry_are_those_found_one_by_one(count, level, seed, chunk):
    mesh, (lat, lon) = icosahedral_mesh(level), random_places(count, seed)
    lat[:1] = 90.0  # a pole has neither east nor north
    points = unit_vectors(lat, lon)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoembed.graphs.multimesh.CHUNK", chunk)
        corners = corners_around(lat, lon, points, mesh)
        joined = join(points, mesh.vertices, corners, mesh.edge_index)
        attributes = geometry(points, mesh.vertices, corners, joined)
    kinds = by_hand(points, mesh.vertices, corners, mesh.edge_index)
    assert joined.sizes == tuple(map(len, kinds))
    assert list(map(tuple, joined.edge_index.T.tolist())) == [edge for kind in kinds for edge in kind]
    nodes = np.concatenate([points, mesh.vertices])
    source, target = joined.edge_index
    np.testing.assert_array_equal(attributes, displacements(nodes[source], nodes[target]).astype(np.float32))


def test_corners_are_in_ascending_order_whatever_order_the_faces_have():
    corners = np.random.default_rng(0).permuted(np.tile([[3, 7, 9]], (100, 1)), axis=1)
    np.testing.assert_array_equal(ascending(corners), np.tile([[3, 7, 9]], (100, 1)))


def test_vertex_far_from_all_points_hears_all_those_at_the_least_distance():
    points = unit_vectors(np.full(5, 10.0), np.arange(5) * 72.0)  # a ring round the pole
    vertex = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    joined = join(points, vertex, np.ones((5, 3), np.int64), np.zeros((2, 0), np.int64))
    to_pole = joined.edge_index[0, : joined.sizes[0]][joined.edge_index[1, : joined.sizes[0]] == 5]
    np.testing.assert_array_equal(to_pole, np.arange(5))
    assert bipartite.NEIGHBORS >= 5
