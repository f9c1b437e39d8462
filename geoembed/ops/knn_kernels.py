"""Triton kernels of nearest neighbors among features, imported by :mod:`geoembed.ops.fused_features_knn` alone: this module needs Triton.

Untyped, as Triton compiles these functions itself.
"""
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls, allow-incomplete-defs

import triton
import triton.language as tl


@triton.jit
def features_of(x_ptr, stride, row, there, column, F: tl.constexpr):
    """Features [R, COLUMNS] of some rows, 0 where there is none."""
    return tl.load(x_ptr + row[:, None] * stride + column[None, :], there[:, None] & (column < F)[None, :], 0.0)


@triton.jit
def nearest_features(
    table_ptr, x_ptr, stride, bounds_ptr, turns,
    F: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr, QUERIES: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Program (segment, turn) takes every ``turns``-th block of QUERIES rows of a segment and finds the K nearest of each.

    |x_j|² − 2 x_i · x_j orders the rows j as their distances to i do. Features of float32 are measured from the first row of the segment,
    as products of points far from the origin hide their difference. Candidates come in blocks; a list of the K best so far, in
    order, goes from block to block, and of equal ones the earlier row wins.
    """
    segment, turn = (tl.program_id(0) // turns).to(tl.int64), tl.program_id(0) % turns
    first = tl.load(bounds_ptr + segment)
    size = (tl.load(bounds_ptr + segment + 1) - first).to(tl.int32)
    lane, slots, end = tl.arange(0, BLOCK), tl.arange(0, SLOTS), float("inf")
    for low in range(turn * QUERIES, size, turns * QUERIES):
        query = low + tl.arange(0, QUERIES)
        best, found = tl.full((QUERIES, SLOTS), end, tl.float32), tl.full((QUERIES, SLOTS), -1, tl.int32)
        for start in range(0, size, BLOCK):
            other = start + lane
            distance = tl.zeros((QUERIES, BLOCK), tl.float32)
            norm = tl.zeros((BLOCK,), tl.float32)
            for some in tl.range(0, F, COLUMNS, num_stages=1):
                column = some + tl.arange(0, COLUMNS)
                a = features_of(x_ptr, stride, first + query, query < size, column, F)
                b = features_of(x_ptr, stride, first + other, other < size, column, F)
                if a.dtype == tl.float32:
                    center = tl.load(x_ptr + first * stride + column, column < F, 0.0)
                    center = tl.where(tl.abs(center) < end, center, 0.0)[None, :]
                    a, b = a - center, b - center
                wide = b.to(tl.float32)
                norm += tl.sum(wide * wide, 1)
                distance = tl.dot(a, b.T, distance, input_precision=PRECISION)
            distance = norm[None, :] - 2 * distance
            possible = (other < size)[None, :] & (other[None, :] != query[:, None]) & (distance == distance)
            distance = tl.where(possible, distance, end)
            best, found = merged(best, found, distance, other, slots, K, SLOTS, QUERIES)
        at = table_ptr + (first + query)[:, None] * K + slots[None, :]
        tl.store(at, tl.where(found >= 0, first + found, -1), (query < size)[:, None] & (slots < K)[None, :])


@triton.jit
def merged(best, found, distance, other, slots, K: tl.constexpr, SLOTS: tl.constexpr, QUERIES: tl.constexpr):
    """The K best of a list, in order, and of new candidates that come after them: values and rows [QUERIES, SLOTS]."""
    end = float("inf")
    values, rows = tl.full((QUERIES, SLOTS), end, tl.float32), tl.full((QUERIES, SLOTS), -1, tl.int32)
    taken = tl.zeros((QUERIES,), tl.int32)
    far = tl.full((QUERIES,), 2147483647, tl.int32)
    for slot in range(K):
        least = tl.min(distance, 1)
        place = tl.min(tl.where(distance == least[:, None], other[None, :], far[:, None]), 1)
        head = slots[None, :] == taken[:, None]
        old = tl.min(tl.where(head, best, end), 1)
        old_row = tl.max(tl.where(head, found, -1), 1)
        keep = old <= least
        here = slots[None, :] == slot
        values = tl.where(here, tl.where(keep, old, least)[:, None], values)
        rows = tl.where(here, tl.where(keep, old_row, tl.where(least < end, place, -1))[:, None], rows)
        distance = tl.where((other[None, :] == place[:, None]) & ~keep[:, None], end, distance)
        taken += keep.to(tl.int32)
    return values, rows
