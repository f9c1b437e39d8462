"""Nearest neighbors in ragged sets against brute force in float64."""

from __future__ import annotations

import itertools
import math
import sys

import pytest
import torch
from geoembed.ops import knn, squared_distance, wrap
from geoembed.ops.distance import folded
from geoembed.ops.knn import _smallest_cpu, smallest
from geoembed.ops.tree_search import nearest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generators import numbers

CYLINDER = (None, 2 * math.pi)


def brute(x: Tensor, bounds: list[int], k: int, period: tuple[float | None, ...] | None = None) -> list[list[int]]:
    """The definition: sort (distance, index) of all others of the segment, in float64, −1 for none."""
    table = []
    for low, high in itertools.pairwise(bounds):
        for i in range(low, high):
            others = []
            for j in range(low, high):
                if i != j:
                    difference = (x[i].double() - x[j].double()).tolist()
                    if period:
                        difference = [math.remainder(d, p) if p else d for d, p in zip(difference, period, strict=True)]
                    others.append((math.fsum(d * d for d in difference), j))
            nearest = [j for _, j in sorted(others)[:k]]
            table.append(nearest + [-1] * (k - len(nearest)))
    return table


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))
def test_neighbors_are_those_of_brute_force_in_order(counts, k, dims, seed):
    bounds = [0, *torch.tensor(counts).cumsum(0).tolist()]
    x = numbers(bounds[-1], dims, seed=seed)
    assert knn(x, torch.tensor(bounds), k).tolist() == brute(x, bounds, k)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 999))
def test_periodic_neighbors_are_those_of_brute_force(n, k, seed):
    x = torch.stack([numbers(n, seed=seed), numbers(n, seed=seed + 1) * 3], -1)
    period = (None, 2 * math.pi)
    assert knn(x, torch.tensor([0, n]), k, period=period).tolist() == brute(x, [0, n], k, period)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=9), st.integers(1, 5))
def test_ties_go_to_the_smaller_index(places, k):
    x = torch.tensor(places, dtype=torch.float64).view(-1, 1)
    assert knn(x, torch.tensor([0, len(places)]), k).tolist() == brute(x, [0, len(places)], k)


def test_large_sets_in_blocks_give_the_table_of_one_piece(monkeypatch):
    x, ptr = numbers(90, 2), torch.tensor([0, 3, 70, 70, 90])
    whole = knn(x, ptr, 5)
    monkeypatch.setattr(sys.modules["geoembed.ops.knn"], "block_pairs", lambda _: 200)  # three rows of queries at a time
    assert torch.equal(knn(x, ptr, 5), whole)


def test_neighbors_do_not_carry_gradients_and_leave_the_points_as_they_are():
    x = numbers(10, 2).requires_grad_()
    before = x.detach().clone()
    assert not knn(x, torch.tensor([0, 10]), 3).requires_grad
    assert torch.equal(x, before)


@given(st.floats(-50, 50), st.floats(0.1, 20))
def test_a_wrapped_difference_is_the_ieee_remainder(difference, period):
    wrapped = float(wrap(torch.tensor(difference, dtype=torch.float64), period))
    assert abs(wrapped) <= period / 2 * (1 + 1e-12)
    assert math.isclose(math.remainder(difference - wrapped, period), 0.0, abs_tol=1e-9)


def test_squared_distances_of_a_three_four_five_triangle_on_a_cylinder():
    a, b = torch.tensor([[[0.0, 0.5]]]), torch.tensor([[[3.0, 6.5]]])
    assert squared_distance(a, b).item() == pytest.approx(45.0)
    assert squared_distance(a, b, (None, 10.0)).item() == pytest.approx(25.0)


def places(kind: str, n: int, seed: int) -> Tensor:
    """Points (eta, phi): spread, on a lattice with many ties, on a few coincident places, or at the seam of phi."""
    g = torch.Generator().manual_seed(seed)
    if kind == "lattice":
        return torch.stack([torch.randint(-4, 5, (n,), generator=g) / 4, torch.randint(-12, 13, (n,), generator=g) / 4], -1)
    if kind == "coincident":
        return torch.randn(4, 2, generator=g)[torch.randint(4, (n,), generator=g)]
    eta, phi = torch.randn(n, generator=g), (torch.rand(n, generator=g) * 2 - 1) * math.pi
    return torch.stack([eta, torch.where(torch.arange(n) % 2 == 0, math.pi, -math.pi) + phi / 50 if kind == "seam" else phi], -1)


def dense64(x: Tensor, k: int) -> Tensor:
    """Brute force in float64 on the cylinder: all distances, a stable sort, self left out by index."""
    difference = x.double().unsqueeze(1) - x.double()
    turned = torch.minimum(difference[..., 1].abs(), 2 * math.pi - difference[..., 1].abs())
    distance = (difference[..., 0] ** 2 + turned**2).fill_diagonal_(torch.inf)
    return torch.sort(distance, dim=1, stable=True).indices[:, :k]


@given(st.sampled_from(["spread", "lattice", "coincident", "seam"]), st.integers(1, 90), st.integers(1, 20), st.integers(0, 99))
def test_a_tree_finds_the_neighbors_of_brute_force_in_its_order(kind, n, k, seed):
    x = folded(places(kind, n, seed).double(), CYLINDER)
    table = torch.full((n, k), -1)
    nearest(x, torch.tensor([0, n]), torch.tensor([0]), k, CYLINDER, table)
    expected = dense64(x, min(k, n - 1))
    assert table[:, : n - 1].equal(expected)
    assert bool((table[:, n - 1 :] == -1).all())


@pytest.mark.parametrize("kind", ["spread", "lattice", "coincident", "seam"])
def test_an_event_of_2500_has_the_neighbors_of_brute_force_beside_small_ones(kind):
    x, ptr = places(kind, 2506, 1), torch.tensor([0, 0, 1, 3, 2503, 2506])
    table = knn(x, ptr, 16, period=CYLINDER)
    assert table[3:2503].equal(dense64(folded(x.double(), CYLINDER)[3:2503], 16) + 3)
    assert table[:3].tolist() == [[-1] * 16, [2] + [-1] * 15, [1] + [-1] * 15]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_both_selections_are_a_stable_sort(n, k, values, seed, infinite):
    distance = torch.randint(values, (3, 4, n), generator=torch.Generator().manual_seed(seed)).double()
    if infinite:
        distance[..., ::3] = torch.inf
    expected = torch.sort(distance, dim=-1, stable=True).indices[..., : min(k, n)]
    assert smallest(distance, min(k, n)).equal(expected)
    assert _smallest_cpu(distance, min(k, n)).equal(expected)


def features(kind: str, n: int, columns: int, seed: int) -> Tensor:
    """Features in float32: normal ones, whole numbers with ties, few distinct rows, or all far from the origin."""
    g = torch.Generator().manual_seed(seed)
    if kind == "whole":
        return torch.randint(-2, 3, (n, columns), generator=g).float()
    if kind == "coincident":
        return torch.randn(4, columns, generator=g)[torch.randint(4, (n,), generator=g)]
    return torch.randn(n, columns, generator=g) + (1e4 if kind == "far" else 0.0)


@pytest.mark.parametrize("kind", ["normal", "whole", "coincident", "far"])
@pytest.mark.parametrize("columns", [5, 64])
def test_features_have_the_neighbors_of_exact_differences(kind, columns):
    bounds = [0, 40, 40, 41, 43, 70]
    x = features(kind, 70, columns, seed=columns)
    assert knn(x, torch.tensor(bounds), 6).tolist() == brute(x, bounds, 6)


def test_a_row_that_is_not_finite_is_nobodys_neighbor_and_disturbs_nobody():
    x = features("normal", 30, 8, seed=0)
    x[3], x[7, 2] = torch.nan, torch.inf
    table = knn(x, torch.tensor([0, 30]), 29)
    there = torch.tensor([i for i in range(30) if i not in (3, 7)])
    left = knn(x[there], torch.tensor([0, 28]), 27)
    assert torch.equal(table[there, :27], there[left])
    assert (table[there, 27:] == -1).all()
    assert (table[[3, 7]] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_of_16_bits_are_compared_as_they_are_and_summed_in_float32(dtype):
    x = (features("normal", 60, 40, seed=1) + 3).to(dtype)
    assert torch.equal(knn(x, torch.tensor([0, 60]), 5), knn(x.double(), torch.tensor([0, 60]), 5))
