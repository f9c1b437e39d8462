"""Run by ``test_triton`` with Triton's interpreter: each kernel against its specification; prints what differs."""

from __future__ import annotations

import sys

import numpy as np
import torch
from geoembed.ops import cell_list_neighbors, fused_nearest, fused_pairs, fused_periodic_neighbors, knn, ragged, wrap_sites
from geoembed.ops.distance import folded, geometry
from geoembed.ops.fused_nearest import fill_table
from test_cell_list import odd_crystals, rows


def periodic() -> None:
    """Odd cells with open axes: the pairs of the cell list, in the order of the contract, for all sites and for some."""
    for seed, mixed in ((3, True), (4, False)):
        crystals, cutoffs = odd_crystals(np.random.default_rng(seed), 6, mixed=mixed)
        wrapped, _ = wrap_sites(crystals)
        some = torch.arange(0, len(wrapped.positions), 2)
        for targets in (None, some):
            found = fused_periodic_neighbors(wrapped, torch.tensor(cutoffs), targets)
            expected = cell_list_neighbors(wrapped, torch.tensor(cutoffs), targets)
            source, target = found.edge_index.numpy()
            table = np.column_stack([target, found.shift.numpy(), source])
            assert len(table) > (20 if targets is None else 0)
            assert np.array_equal(table, rows(found)), "the order"
            assert np.array_equal(table, rows(expected)), "the pairs"
            torch.testing.assert_close(found.distance.sort().values, expected.distance.sort().values, atol=1e-9, rtol=0)


def nearest() -> None:
    """Ragged segments with ties and coincident points, one to four columns, periodic or not: the table of the specification."""
    generator = torch.Generator().manual_seed(0)
    for columns, period in ((2, (None, 6.28318)), (1, None), (3, (2.0, None, 3.0)), (4, None)):
        sizes = torch.tensor([9] * 4 if columns == 3 else [0, 1, 2, 7, 20, 0, 33])
        ptr = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        x = torch.randn(int(ptr[-1]), columns, generator=generator)
        x[5:7] = x[7]
        x = (x * 2).round() / 2 if columns == 2 else x
        table = torch.full((len(x), 4), -1)
        left = fill_table(table, folded(geometry(x), period), ptr, period)
        assert not len(left)
        assert torch.equal(table, knn(x, ptr, 4, period=period)), f"{columns} columns"


def runs() -> None:
    """Runs of rows, empty and long ones, of every width and dtype: those that the specification picks."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([0, 3, 700, 0, 1])
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    start = torch.tensor([5, 900, 11, 0, 999])
    add = torch.tensor([1, -2, 1 << 40, 4, 5])
    for dtype in (torch.float64, torch.float16, torch.int8, torch.uint8, torch.bool):
        for shape, dim in (((1000,), 0), ((1000, 3), 0), ((2, 1000), 1)):
            rows = (torch.randn(shape, generator=generator) * 30).to(dtype)
            adds = (None, add) if dtype in (torch.int8, torch.uint8) and (dim == 1 or rows.dim() == 1) else (None,)
            for more in adds:
                found = ragged._fused(rows, start, ptr, 704, more, dim)
                assert torch.equal(found, ragged.by_numbers(rows, start, ptr, 704, more, dim)), (dtype, shape)


def checks() -> None:
    """What runs before a kernel is first used finds nothing."""
    assert fused_pairs.disagreement(torch.device("cpu")) == ""
    assert fused_nearest.disagreement(torch.device("cpu")) == ""
    assert ragged.disagreement(torch.device("cpu")) == ""


if __name__ == "__main__":
    {"periodic": periodic, "nearest": nearest, "runs": runs, "checks": checks}[sys.argv[1]]()
