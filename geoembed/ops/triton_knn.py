"""k nearest neighbors of places on a GPU: one program a row measures its segment and takes the nearest one after the other.

Distances stay in registers; the usual way writes all of them to memory and sorts them. Distances, order and ties are those of
:func:`geoembed.ops.knn.knn`, to the bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.distance import GEOMETRY

LARGEST = 4096
"""Rows of a segment whose distances one program holds."""
_SMALL = 256


def serves(points: Tensor, k: int) -> bool:
    """Whether the kernel can search these points [N, P]: places in float64 on a GPU with Triton."""
    fits = points.dtype == torch.float64 and 1 <= points.shape[1] <= GEOMETRY and k > 0
    return fits and backends.runs(KERNEL, points.device)


def disagreement(device: torch.device) -> str:
    """What differs from all distances, sorted stably, on two sets with ties and coincident points; empty where nothing does."""
    x = torch.randint(0, 4, (60, 2), generator=torch.Generator().manual_seed(0)).double().to(device)
    table, expected = torch.full((60, 5), -1, device=device), []
    fill_table(table, x, torch.tensor([0, 20, 60], device=device), None)
    for low, high in ((0, 20), (20, 60)):
        distance = (x[low:high].unsqueeze(1) - x[low:high]).square().sum(-1).fill_diagonal_(torch.inf)
        expected.append(torch.sort(distance, dim=1, stable=True).indices[:, :5] + low)
    wrong = int((table != torch.cat(expected)).sum())
    return f"{wrong} of 300 neighbors differ" if wrong else ""


def fill_table(
    table: Tensor, points: Tensor, ptr: Tensor, period: tuple[float | None, ...] | None, largest: int | None = None
) -> Tensor:
    """Write the neighbors of the rows of segments up to :data:`LARGEST` into ``table`` [N, k]; the segments [S] that are larger.

    ``largest``: size of the largest segment, where it is known; without it the device is asked, and waited for.
    """
    none = ptr.new_zeros(0)
    if not len(points):
        return none
    sizes = ptr.diff()
    least, most = torch.stack(torch.aminmax(sizes)).tolist() if largest is None else (largest if len(sizes) == 1 else 0, largest)
    if most * len(sizes) == len(points) and most <= LARGEST:  # all of one size: a row's segment follows from its number
        _launch(table, points, ptr, ptr, ptr, most, period, uniform=True)
        return none
    row = torch.arange(len(points), device=ptr.device)
    owner = torch.searchsorted(ptr, row, right=True) - 1
    if most <= _SMALL or (4 * least >= most and most <= LARGEST):
        _launch(table, points, ptr, owner, row, most, period)
        return none
    rows = sizes[owner]
    for low, high in ((0, _SMALL), (_SMALL, LARGEST)):
        _launch(table, points, ptr, owner, row[(rows > low) & (rows <= high)], min(high, most), period)
    return torch.nonzero(sizes > LARGEST).squeeze(1) if most > LARGEST else none


def _launch(
    table: Tensor, points: Tensor, ptr: Tensor, owner: Tensor, rows: Tensor, most: int, period: tuple[float | None, ...] | None,
    uniform: bool = False,
) -> None:
    programs = len(points) if uniform else len(rows)
    if not programs:
        return
    columns, k = points.shape[1], table.shape[1]
    periods = [0.0 if width is None else float(width) for width in period or (None,) * columns]
    periods += [0.0] * (GEOMETRY - columns)
    block = max(32, 1 << (most - 1).bit_length())
    _kernel()[(programs,)](
        table, points.contiguous(), ptr, owner, rows, *periods, most, UNIFORM=uniform, K=k, WIDTH=1 << k.bit_length(), P=columns,
        BLOCK=block, num_warps=1 if block <= _SMALL else 4 if block <= 2048 else 8, enable_fp_fusion=False,  # rounds as torch does
    )


@cache
def _kernel() -> Any:
    """The kernel; Triton is imported where it is used."""
    import triton
    import triton.language as tl

    # Untyped: Triton reads annotations, and knows its own only.
    def search(  # type: ignore[no-untyped-def]
        table_ptr, x_ptr, bounds_ptr, owner_ptr, row_ptr, period0, period1, period2, period3, each,
        UNIFORM: tl.constexpr, K: tl.constexpr, WIDTH: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr,
    ):
        row = tl.program_id(0).to(tl.int64)
        if UNIFORM:
            segment = row // each
        else:
            row = tl.load(row_ptr + row)
            segment = tl.load(owner_ptr + row)
        first = tl.load(bounds_ptr + segment)
        size = (tl.load(bounds_ptr + segment + 1) - first).to(tl.int32)
        lane = tl.arange(0, BLOCK)
        there = (lane < size) & (first + lane != row)
        distance = tl.zeros((BLOCK,), tl.float64)
        for column in tl.static_range(P):
            own = tl.load(x_ptr + row * P + column)
            step = tl.abs(own - tl.load(x_ptr + (first + lane) * P + column, lane < size, 0.0))
            period = (period0 if column == 0 else period1 if column == 1 else period2 if column == 2 else period3) + own * 0.0
            step = tl.where(period > 0, tl.minimum(step, period - step), step)
            distance += step * step
        distance = tl.where(there, distance, float("inf"))
        # Rounded to float32, cut short and packed with its place into 32 bits, a distance is found by one reduction. That keeps the
        # order of what it tells apart; a row in which it does not is done again in float64.
        far = tl.full((BLOCK,), float("inf"), tl.float32).to(tl.int32, bitcast=True) | lane
        key = (distance.to(tl.float32).to(tl.int32, bitcast=True) & -BLOCK) | lane
        end = tl.min(far, 0)
        before = tl.full((), -1, tl.int32)
        slots = tl.arange(0, WIDTH)
        found = tl.full((WIDTH,), -1, tl.int32)
        doubtful = tl.max(tl.where(there & (distance > 3e38), 1, 0), 0)  # beyond what float32 holds
        for slot in range(K + 1):
            least = tl.min(key, 0)
            value = least & -BLOCK
            doubtful += ((value == before) & (least < end)).to(tl.int32)
            before = value
            found = tl.where(slots == slot, tl.where(least < end, least & (BLOCK - 1), -1), found)
            key = tl.where(key == least, far, key)
        if doubtful > 0:
            for slot in range(K):
                nearest = tl.min(distance, 0)
                place = tl.min(tl.where((distance == nearest) & (distance < float("inf")), lane, BLOCK), 0)  # ties: the smaller index
                found = tl.where(slots == slot, tl.where(place < BLOCK, place, -1), found)
                distance = tl.where(lane == place, float("inf"), distance)
        tl.store(table_ptr + row * K + slots, tl.where(found >= 0, first + found, -1), slots < K)

    return triton.jit(search)


KERNEL = "triton nearest places"
backends.register_kernel(KERNEL, disagreement)
