"""Coinciding points of a periodic cell: what the sort says is what all pairs say."""

from __future__ import annotations

import numpy as np
import pytest
from geoembed.io.coinciding import all_apart, coinciding
from hypothesis import given
from hypothesis import strategies as st


def steps(points: np.ndarray) -> np.ndarray:
    """[N, N] largest step along an axis between two points, across the border where that is shorter."""
    step = points[:, None] - points[None]
    return np.abs(step - np.rint(step)).max(axis=-1)


def scene(seed: int, count: int) -> np.ndarray:
    """Points of which some share coordinates, some nearly coincide and some lie on the border."""
    rng = np.random.default_rng(seed)
    points = rng.choice([0.0, 0.25, 1 / 3, 0.5, 0.9999999], (count, 3)) + rng.choice([0.0, 0.0, 0.1], (count, 3))
    points[rng.integers(0, count, count // 3)] = points[0]
    points += rng.choice([0.0, 1e-9, -1e-9, 4e-5, 3e-4], (count, 3))
    return points - np.floor(points)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_points_that_are_said_to_be_apart_are_apart(seed: int, count: int) -> None:
    points = scene(seed, count)
    distance = steps(points) + np.eye(count)
    if all_apart(points):
        assert distance.min() > 2e-4
    elif count > 1:
        assert distance.min() < 4e-4


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_groups_are_those_of_all_pairs_or_left_open(seed: int, count: int) -> None:
    points = scene(seed, count)
    near = steps(points) < 1e-4
    found = coinciding(points, 5e-5, 1e-4)
    transitive = bool((near @ near == near).all())
    if found is None:
        assert not transitive or (steps(points)[near] >= 4.9e-5).any()
        return
    first, group = found
    np.testing.assert_array_equal(group[:, None] == group[None], near)
    assert first.tolist() == [group.tolist().index(label) for label in range(len(first))]
    assert (np.diff(first) > 0).all()


def test_a_chain_of_near_points_is_left_open() -> None:
    assert coinciding(np.array([[0.1, 0, 0], [0.10008, 0, 0], [0.10016, 0, 0]]), 5e-5, 1e-4) is None


def test_many_points_are_left_to_the_sort() -> None:
    points = np.random.default_rng(0).uniform(size=(129, 3))
    assert not all_apart(points)
    found = coinciding(points, 5e-5, 1e-4)
    assert found is not None
    assert found[1].tolist() == list(range(129))


@pytest.mark.parametrize("gap", [1e-9, 9e-5])
def test_the_border_of_the_cell_parts_nothing(gap: float) -> None:
    points = np.array([[0.0, 0.5, 0.5], [1 - gap, 0.5, 0.5]])
    assert not all_apart(points)
    found = coinciding(points, 1e-4, 1e-4)
    assert found is not None
    assert found[0].tolist() == [0]
