"""Reductions over segments against a plain loop, on every back end and dtype, forward and backward."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from geoembed.ops import (
    backends,
    ptr_from_sorted,
    scatter_sum,
    segment_argmax,
    segment_ids,
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from generators import numbers

PTR = torch.tensor([0, 0, 3, 4, 4, 11, 12, 12])
"""Empty first, middle and last; one row; many rows."""

BACKENDS = [
    "torch",
    pytest.param("torch_scatter", marks=pytest.mark.skipif(
        find_spec("torch_scatter") is None, reason="torch-scatter is not installed: its back end is not compared")),
]
DTYPES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
OPS: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor], float]] = {
    # what to call, the same on the rows of one segment [n, F] -> [F], and what an empty segment gives
    "sum": (segment_sum, lambda rows: rows.sum(0), 0.0),
    "mean": (segment_mean, lambda rows: rows.mean(0), 0.0),
    "max": (segment_max, lambda rows: rows.max(0).values, 0.0),
    "logsumexp": (segment_logsumexp, lambda rows: rows.exp().sum(0).log(), -torch.inf),
}


@contextlib.contextmanager
def on(backend: str):
    with backends.use(backend):
        yield


def looped(x: Tensor, ptr: Tensor, one: Callable[[Tensor], Tensor], empty: float) -> Tensor:
    """The definition: a Python loop over segments, in float64."""
    rows = x.double()
    bounds = ptr.tolist()
    parts = [one(rows[a:b]) if b > a else torch.full((x.shape[1],), empty, dtype=torch.float64)
             for a, b in itertools.pairwise(bounds)]
    return torch.stack(parts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPS)
def test_a_reduction_and_its_gradient_equal_the_loop(name, dtype, backend):
    op, one, empty = OPS[name]
    x = numbers(12, 3, seed=3).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    weight = numbers(7, 3, seed=4)
    with on(backend):
        result = op(x, PTR)
        (grad,) = torch.autograd.grad((result.where(torch.isfinite(result), 0.0).double() * weight).sum(), x)
    expected = looped(exact, PTR, one, empty)
    (expected_grad,) = torch.autograd.grad((expected.where(torch.isfinite(expected), 0.0) * weight).sum(), exact)
    assert result.dtype == grad.dtype == dtype
    torch.testing.assert_close(result.double(), expected, atol=DTYPES[dtype] * 3, rtol=DTYPES[dtype])
    torch.testing.assert_close(grad.double(), expected_grad, atol=DTYPES[dtype] * 3, rtol=DTYPES[dtype])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPS)
def test_leading_axes_are_reduced_one_by_one(name, backend):
    op = OPS[name][0]
    x = numbers(2, 5, 12, 3)
    with on(backend):
        together = op(x, PTR)
        apart = torch.stack([torch.stack([op(matrix, PTR) for matrix in part]) for part in x])
    torch.testing.assert_close(together, apart, atol=1e-12, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPS)
def test_no_rows_at_all_give_the_value_of_empty_segments(name, backend):
    op, _, empty = OPS[name]
    with on(backend):
        assert op(torch.zeros(0, 2), torch.tensor([0, 0, 0])).tolist() == [[empty, empty]] * 2
        assert op(torch.zeros(0, 2), torch.tensor([0])).shape == (0, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_maximum_of_negatives_is_negative_and_of_nothing_is_zero(backend):
    with on(backend):
        assert segment_max(torch.tensor([[-3.0], [-7.0]]), torch.tensor([0, 2, 2])).tolist() == [[-3.0], [0.0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_of_a_tie_goes_to_the_first_of_the_equal_rows(backend):
    x = torch.tensor([[1.0], [2.0], [2.0], [2.0], [5.0]], requires_grad=True)
    with on(backend):
        segment_max(x, torch.tensor([0, 4, 5])).sum().backward()
    assert x.grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", [segment_sum, segment_mean, segment_max, segment_logsumexp], ids=lambda op: op.__name__)
def test_nan_stays_in_its_segment_and_shows(op, backend):
    x = torch.tensor([[3.0], [torch.nan], [1.0], [4.0], [torch.inf], [torch.nan]])
    with on(backend):
        result = op(x, torch.tensor([0, 3, 4, 6])).flatten()
    assert result.isnan().tolist() == [True, False, True]
    assert float(result[1]) == 4.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinities_are_maxima_and_logsumexps_like_other_numbers(backend):
    x = torch.tensor([[-torch.inf], [-torch.inf], [torch.inf], [0.0]], dtype=torch.float64)
    ptr = torch.tensor([0, 2, 4])
    with on(backend):
        assert segment_max(x, ptr).flatten().tolist() == [-torch.inf, torch.inf]
        assert segment_logsumexp(x, ptr).flatten().tolist() == [-torch.inf, torch.inf]


def test_logsumexp_of_large_numbers_does_not_overflow():
    x = torch.tensor([[1000.0], [1000.0], [-1000.0]], dtype=torch.float64)
    result = segment_logsumexp(x, torch.tensor([0, 2, 3])).flatten()
    torch.testing.assert_close(result, torch.tensor([1000 + 0.6931471805599453, -1000.0], dtype=torch.float64))


@given(st.lists(st.lists(st.integers(-3, 3), max_size=6), min_size=1, max_size=8))
def test_the_first_maximum_of_each_segment_is_the_one_that_python_finds(segments):
    values = torch.tensor([value for part in segments for value in part], dtype=torch.float32).view(-1, 1)
    ptr = torch.tensor([0, *torch.tensor([len(part) for part in segments]).cumsum(0).tolist()])
    expected = [low + part.index(max(part)) if part else -1 for part, low in zip(segments, ptr.tolist(), strict=False)]
    assert segment_argmax(values, ptr).flatten().tolist() == expected
    assert segment_max(values, ptr).flatten().tolist() == [max(part, default=0) for part in segments]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_bounds_and_owners_say_the_same(counts):
    ptr = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    owners = [segment for segment, count in enumerate(counts) for _ in range(count)]
    assert segment_ids(ptr).tolist() == segment_ids(ptr, len(owners)).tolist() == owners
    assert torch.equal(ptr_from_sorted(torch.tensor(owners, dtype=torch.int64), len(counts)), ptr)


@given(st.lists(st.integers(0, 6), max_size=30), st.randoms(use_true_random=False))
def test_an_unsorted_sum_equals_the_loop_and_counts_repeats(index, random):
    x = torch.tensor([[random.gauss(0, 1), 1.0] for _ in index], dtype=torch.float64).view(-1, 2)
    expected = torch.zeros(7, 2, dtype=torch.float64)
    for row, place in zip(x, index, strict=True):
        expected[place] += row
    torch.testing.assert_close(scatter_sum(x, torch.tensor(index, dtype=torch.int64), 7), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ops_survive_gradcheck_with_empty_segments_and_one_row(backend):
    x = numbers(12, 2, seed=9).requires_grad_()
    with on(backend):
        for op in (segment_sum, segment_mean, segment_max, segment_softmax):
            assert torch.autograd.gradcheck(lambda rows, op=op: op(rows, PTR), (x,))
        finite = torch.tensor([0, 3, 4, 11, 12])  # logsumexp of nothing is −inf, which has no finite difference
        assert torch.autograd.gradcheck(lambda rows: segment_logsumexp(rows, finite), (x,))


def test_gradients_of_gradients_exist_where_forces_need_them():
    x = numbers(12, 1, seed=2).requires_grad_()
    for op in (segment_sum, segment_mean, segment_softmax, segment_logsumexp):
        assert torch.autograd.gradgradcheck(lambda rows, op=op: op(rows, torch.tensor([0, 3, 4, 12])), (x,))
