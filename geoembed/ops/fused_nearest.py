"""k nearest neighbors of places on a GPU: one program a row measures its segment and takes the nearest one after the other.

Distances stay in registers; the usual way writes all of them to memory and sorts them. Distances, order and ties are those of
:func:`geoembed.ops.knn.knn`, to the bit.
"""

from __future__ import annotations

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
    from geoembed.ops.kernels import nearest_places

    nearest_places[(programs,)](
        table, points.contiguous(), ptr, owner, rows, *periods, most, UNIFORM=uniform, K=k, WIDTH=1 << k.bit_length(), P=columns,
        BLOCK=block, num_warps=1 if block <= _SMALL else 4 if block <= 2048 else 8, enable_fp_fusion=False,  # rounds as torch does
    )


KERNEL = "triton nearest places"
backends.register_kernel(KERNEL, disagreement)
