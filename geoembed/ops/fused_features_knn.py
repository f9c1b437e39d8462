"""k nearest neighbors among features on a GPU: products on tensor cores and the selection of k in one kernel, no n × n array in memory.

Rows j are ordered by |x_j|² − 2 x_i · x_j, with sums in float32. Features of float32 are measured from the first row of their segment
and multiplied as three products of tf32; those of 16 bits are multiplied as they are, which is exact, and summed. So two neighbors
may stand in another order than in the difference form of :func:`geoembed.ops.knn.knn` where their squared distances differ by less
than 2⁻²⁰ (:data:`ROUNDING`) of the largest |x|², measured so; equal rows are ordered by index in both.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.distance import GEOMETRY

MOST_NEIGHBORS = 64
WIDEST = 512
ROUNDING = 2.0**-20
QUERIES, BLOCK = 64, 128
"""Rows that a program searches for at a time, and candidates that it looks at together."""


def serves_features(points: Tensor, k: int, period: tuple[float | None, ...] | None) -> bool:
    """Whether the kernel can search these points [N, P]: features without periods on a GPU with Triton, any size of segments."""
    fits = GEOMETRY < points.shape[1] <= WIDEST and 0 < k <= MOST_NEIGHBORS and period is None
    kinds = (torch.float32, torch.float16, torch.bfloat16)
    return fits and points.dtype in kinds and backends.runs(KERNEL, points.device)


@torch.library.custom_op("geoembed::nearest_features", mutates_args=())
def nearest_features(x: Tensor, ptr: Tensor, k: int) -> Tensor:
    """Neighbors of every row among the rows of its segment: x [N, F], ptr [B+1] -> [N, k] int64, nearest first, −1 for none."""
    table = torch.full((x.shape[0], k), -1, dtype=torch.int64, device=x.device)
    if table.numel() and len(ptr) > 1:
        launch_features(table, x.contiguous(), ptr)
    return table


@nearest_features.register_fake
def _(x: Tensor, ptr: Tensor, k: int) -> Tensor:
    return x.new_empty((x.shape[0], k), dtype=torch.int64)


def launch_features(table: Tensor, x: Tensor, ptr: Tensor, warps: int = 0, columns: int = 0) -> None:
    """Fill ``table``; ``warps`` and ``columns`` (of a product) are measured choices unless given."""
    from geoembed.ops.knn_kernels import nearest_features as kernel

    (n, f), k, segments = x.shape, table.shape[1], len(ptr) - 1
    wide = x.dtype == torch.float32
    turns = -(-n // (segments * QUERIES))  # blocks of queries of a segment of mean size; larger ones take more turns
    kernel[(segments * turns,)](
        table, x, x.stride(0), ptr, turns, F=f, K=k, SLOTS=max(2, 1 << (k - 1).bit_length()), QUERIES=QUERIES, BLOCK=BLOCK,
        COLUMNS=columns or min(32 if wide else 64, max(16, 1 << (f - 1).bit_length())), PRECISION="tf32x3",
        num_warps=warps or (8 if wide else 4),
    )


def disagreement(device: torch.device) -> str:
    """What differs from all distances in float64, sorted stably: whole numbers with ties in 16 bits, others in float32."""
    generator = torch.Generator().manual_seed(0)
    ptr = torch.tensor([0, 0, 1, 3, 70, 150] if device.type == "cuda" else [0, 0, 1, 3, 70]).cumsum(0)
    whole = torch.randint(-2, 3, (int(ptr[-1]), 20), generator=generator).float()
    half = torch.bfloat16 if device.type == "cuda" else torch.float16
    for x in (whole.to(half), torch.randn(whole.shape, generator=generator) + 30):
        expected = torch.full((len(x), 5), -1)
        for low, high in itertools.pairwise(ptr.tolist()):
            distance = (x[low:high].double().unsqueeze(1) - x[low:high].double()).square().sum(-1).fill_diagonal_(torch.inf)
            order = torch.sort(distance, dim=1, stable=True).indices[:, : min(5, max(high - low - 1, 0))] + low
            expected[low:high, : order.shape[1]] = order
        wrong = int((nearest_features(x.to(device), ptr.to(device), 5).cpu() != expected).sum())
        if wrong:
            return f"{wrong} of {expected.numel()} neighbors differ in {x.dtype}"
    return ""


KERNEL = "triton nearest features"
backends.register_kernel(KERNEL, disagreement)
