"""Faults of other packages' arithmetic that must not happen here; the numbers are those of the list of faults."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from geoembed.errors import BackendError
from geoembed.nn import safe_norm, unit_length
from geoembed.ops import (
    backends,
    knn,
    periodic_neighbors,
    periodic_neighbors_torch,
    scatter_sum,
    segment_logsumexp,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from geoembed.ops.compiled_search import by_boxes, by_tree

from generators import brute_force, numbers, random_cells

BACKENDS = [
    "torch",
    pytest.param("torch_scatter", marks=pytest.mark.skipif(
        find_spec("torch_scatter") is None, reason="torch-scatter is not installed: its back end is not compared")),
]
HALVES = [torch.bfloat16, torch.float16]


def pairs(found):
    return [(s, t, *shift) for s, t, shift in zip(*found.edge_index.tolist(), found.shift.tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(6))
def test_25_26_27_periodic_edges_are_those_of_brute_force_in_any_cell(seed):
    """50 cells a seed: angles 17° to 160°, left-handed half of the time, sites up to 50 cells away, cutoffs up to 3 cells."""
    rng = np.random.default_rng(seed)
    for cell, i in zip(random_cells(rng), range(50), strict=False):
        n = 1 if i % 5 == 0 else int(rng.integers(1, 5))
        cutoff = 3 * np.linalg.norm(cell, axis=1).min() if n == 1 and i % 10 == 0 else float(rng.uniform(1.0, 5.0))
        far = rng.integers(-50, 51, (n, 3)) if i % 2 else 0
        positions = (rng.random((n, 3)) + far) @ cell
        found = pairs(periodic_neighbors(torch.tensor(positions), torch.tensor(cell), torch.tensor([True] * 3), float(cutoff)))
        expected = brute_force(positions, cell, np.array([True] * 3), float(cutoff))
        assert len(found) == len(set(found))  # none twice
        assert set(found) == expected  # none missed, none invented
        assert {(t, s, -a, -b, -c) for s, t, a, b, c in found} == expected  # both ways


@pytest.mark.parametrize("search", [by_boxes, by_tree], ids=lambda f: f.__name__)
def test_26_both_fast_searches_find_the_images_of_the_specification(search, monkeypatch):
    rng = np.random.default_rng(11)
    monkeypatch.setattr("geoembed.ops.compiled_search.BOXES", 10**9 if search is by_boxes else 0)
    for cell, i in zip(random_cells(rng), range(40), strict=False):
        pbc = torch.tensor(rng.random(3) < 0.7)
        positions = torch.tensor((rng.random((1 + i % 4, 3)) * 3 - 1) @ cell)
        found = pairs(periodic_neighbors(positions, torch.tensor(cell), pbc, 1.0 + i % 5))
        assert sorted(found) == sorted(pairs(periodic_neighbors_torch(positions, torch.tensor(cell), pbc, 1.0 + i % 5)))


@pytest.mark.parametrize("far", [1e3, 1e5, 1e7])
def test_06_sites_far_apart_take_neither_time_nor_memory(far):
    """Boxes of the cutoff's size between them would be 10^18 at the largest distance."""
    positions = torch.tensor([[0.0, 0, 0], [far, far, far], [far, far, far + 1]], dtype=torch.float64)
    box = torch.eye(3) * 3 * far
    for cell, axes in ((torch.zeros(3, 3), [False] * 3), (box, [True] * 3), (box, [True, False, True])):
        assert sorted(pairs(periodic_neighbors(positions, cell, torch.tensor(axes), 5.0))) == [(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)]
    folded = positions - 2 * box[0]
    assert len(periodic_neighbors(folded, box, torch.tensor([True] * 3), 5.0).distance) == 2


def test_06_sites_written_thousands_of_cells_away_take_no_time():
    cell, whole = torch.eye(3, dtype=torch.float64) * 4, torch.tensor([[0.0, 0, 0], [30_000, -20_000, 10_000]], dtype=torch.float64)
    positions = torch.tensor([[0.0, 0, 0], [2.0, 2, 2]], dtype=torch.float64)
    near = periodic_neighbors(positions, cell, torch.tensor([True] * 3), 4.0)
    far = periodic_neighbors(positions + whole @ cell, cell, torch.tensor([True] * 3), 4.0)
    assert len(near.distance) == 2 * (8 + 6)
    torch.testing.assert_close(far.distance.sort().values, near.distance.sort().values, atol=1e-9, rtol=0)
    moved = far.shift + whole[far.edge_index[0]].long() - whole[far.edge_index[1]].long()
    assert sorted(zip(*far.edge_index.tolist(), moved.tolist(), strict=True)) == sorted(
        zip(*near.edge_index.tolist(), near.shift.tolist(), strict=True))


@pytest.mark.parametrize("search", [periodic_neighbors, periodic_neighbors_torch], ids=lambda f: f.__name__)
@pytest.mark.parametrize("axes", list(np.ndindex(2, 2, 2)))
def test_28_only_periodic_axes_repeat_and_their_vectors_alone_need_a_length(axes, search):
    """Sites lie outside the cell too; vectors of non-periodic axes are zero half of the time."""
    pbc = np.array(axes, dtype=bool)
    rng = np.random.default_rng(7)
    for cell, i in zip(random_cells(rng, 50, 130), range(6), strict=False):
        positions = rng.uniform(-1.5, 2.5, (4, 3)) @ cell
        given = cell * pbc[:, None] if i % 2 else cell
        found = pairs(search(torch.tensor(positions), torch.tensor(given), torch.tensor(pbc), 4.0))
        assert sorted(found) == sorted(brute_force(positions, given, pbc, 4.0))
        assert all(shift == 0 for pair in found for shift, periodic in zip(pair[2:], pbc, strict=True) if not periodic)


def test_30_coincident_points_keep_each_other_and_never_themselves():
    table = knn(torch.zeros(6, 2), torch.tensor([0, 6]), 3)
    assert bool((table >= 0).all())
    assert not bool((table == torch.arange(6).unsqueeze(-1)).any())
    assert knn(torch.zeros(6, 2), torch.tensor([0, 6]), 5).sort().values.tolist() == [[j for j in range(6) if j != i] for i in range(6)]


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3, 1e-4])
def test_31_neighbors_far_from_the_origin_are_those_of_float64(spread):
    points = (3 + spread * numbers(64, 2)).float()
    table = knn(points, torch.tensor([0, 64]), 8)
    exact = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    reached = exact.gather(1, table).sort().values
    best = exact.topk(8, largest=False).values
    torch.testing.assert_close(reached, best, atol=0, rtol=1e-6)  # agreement 1.0: other neighbors only at equal distance
    assert not bool((table == torch.arange(64).unsqueeze(-1)).any())


def test_32_fewer_points_than_neighbors_are_legal():
    counts = [0, 1, 2, 3, 200]
    ptr = torch.tensor([0, *np.cumsum(counts)])
    table = knn(numbers(206, 2), ptr, 16)
    degree = (table >= 0).sum(1).tolist()
    assert degree == [0] + [1] * 2 + [2] * 3 + [16] * 200
    segment = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    rows, slots = torch.nonzero(table >= 0, as_tuple=True)
    assert torch.equal(segment[rows], segment[table[rows, slots]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_37_empty_segments_have_their_value_and_no_gradient(dtype, backend):
    ptr = torch.tensor([0, 0, 2, 2, 3, 3])
    x = torch.tensor([[-1.0], [-2.0], [-3.0]], dtype=dtype, requires_grad=True)
    with backends.use(backend):
        for op, empty in ((segment_sum, 0.0), (segment_mean, 0.0), (segment_logsumexp, -torch.inf)):
            result = op(x, ptr)
            assert result[[0, 2, 4]].flatten().tolist() == [empty] * 3
            (grad,) = torch.autograd.grad(result[[0, 2, 4]].where(torch.isfinite(result[[0, 2, 4]]), 0.0).sum(), x)
            assert not bool(grad.any())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
def test_38_a_segment_masked_as_a_whole_has_no_weight_and_no_nan(dtype, backend):
    logits = torch.tensor([[-torch.inf], [-torch.inf], [1.0], [-torch.inf]], dtype=dtype, requires_grad=True)
    with backends.use(backend):
        weights = segment_softmax(logits, torch.tensor([0, 2, 4]))
        (grad,) = torch.autograd.grad((weights * torch.arange(4).unsqueeze(-1)).sum(), logits)
    assert weights.flatten().tolist() == [0.0, 0.0, 1.0, 0.0]
    assert bool(torch.isfinite(grad).all())
    assert segment_logsumexp(logits, torch.tensor([0, 2, 4]))[0].item() == -torch.inf


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_38_weights_of_a_huge_group_among_many_small_ones_sum_to_one(dtype, backend):
    counts = torch.cat([torch.full((500,), 2), torch.tensor([70_000]), torch.full((500,), 3)])
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    with backends.use(backend):
        weights = segment_softmax(torch.zeros(int(ptr[-1]), 1, dtype=dtype), ptr)
    total = segment_sum(weights.float(), ptr).flatten()
    assert float((total - 1).abs().max()) < (4e-3 if dtype == torch.bfloat16 else 1e-2 if total.argmax() else 1e-3)
    assert bool((weights > 0).all())


def test_38_logits_at_the_border_of_half_precision_do_not_overflow():
    logits = torch.tensor([[6e4], [-6e4], [6e4], [-6e4]], dtype=torch.float16, requires_grad=True)
    weights = segment_softmax(logits, torch.tensor([0, 2, 4]))
    assert weights.flatten().tolist() == [1.0, 0.0, 1.0, 0.0]
    weights.sum().backward()
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [5_000, 70_000])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_39_a_sum_of_ones_in_half_precision_keeps_growing(dtype, count, backend):
    ptr = torch.tensor([0, count])
    limit = torch.finfo(dtype).max
    for shape in ((count, 1), (count, 8), (1, count, 1), (2, count, 3)):  # torch's own sum stops at 256 for the third
        ones = torch.ones(shape, dtype=dtype)
        with backends.use(backend):
            for total in (segment_sum(ones, ptr), scatter_sum(ones, torch.zeros(count, dtype=torch.int64), 1)):
                expected = count if count < limit else torch.inf  # 70,000 has no float16
                assert total.flatten().tolist() == pytest.approx([expected] * total.numel(), rel=1e-2)
            assert bool((segment_mean(ones, ptr) == 1).all())
            assert float(segment_logsumexp(ones * 0, ptr).flatten()[0]) == pytest.approx(np.log(count), rel=1e-2)


@pytest.mark.parametrize("threads", [1, 2])
def test_40_sums_do_not_depend_on_the_number_of_threads(threads):
    x, ptr = numbers(20_000, 8).float(), torch.arange(0, 20_001, 100)
    exact = segment_sum(x.double(), ptr)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        first, second = segment_sum(x, ptr), segment_sum(x, ptr)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.double(), exact, atol=1e-4, rtol=1e-6)


def test_42_the_zero_vector_has_length_zero_gradient_zero_and_stays_zero():
    for dtype in (torch.float64, torch.float32, *HALVES):
        x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [1e-18, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        unit = unit_length(x)
        assert unit[0].tolist() == [0.0, 0.0, 0.0]
        assert float(unit[1].detach().norm()) == pytest.approx(1.0, abs=1e-5)
        (grad,) = torch.autograd.grad((unit[:2] * torch.arange(3)).sum(), x)
        assert bool(torch.isfinite(grad).all())
        assert float(grad[0].abs().max()) == 0.0
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    length = safe_norm(x)
    assert length.tolist() == [[0.0], [0.0]]
    assert not bool(torch.autograd.grad(length.sum(), x)[0].any())


def test_45_a_back_end_that_adds_a_hundredth_is_refused_with_its_reason(monkeypatch):
    monkeypatch.setattr(backends, "_reductions", {name: dict(ops) for name, ops in backends._reductions.items()})
    monkeypatch.setattr(backends, "_verdicts", {})
    right = backends._reductions["torch"]["segment_sum"]
    backends.register("fast", "segment_sum", lambda x, ptr: right(x, ptr) + 1e-2)
    with pytest.raises(BackendError, match=r"segment_sum differs from torch by 1\.0e-02.*Use the torch back end"), backends.use("fast"):
        pass
    assert segment_sum(torch.ones(2, 1), torch.tensor([0, 2])).tolist() == [[2.0]]
