"""The gated convolution as one kernel that keeps what belongs to an edge on the chip, in Triton's lower dialect, for Hopper.

A program holds the second weight in shared memory and takes tiles of 64 targets. For the d-th edge of each target it builds the
hidden rows (a small product of the edge features, plus the gathered projections), multiplies them by the weight on the tensor
cores, and adds x of the source, gated, to sums that stay in registers. Nothing with a row for every edge is written to memory.

Gathers land where a product leaves its result: hidden units and outputs are renumbered so that the eight values that a thread holds of
a row lie side by side in memory (:func:`small_units`, :func:`product_units`). The renumbering is done to the weights beforehand.
Kernels are untyped, as Triton compiles them itself; this module needs Triton.
"""

from collections.abc import Sequence
from typing import Any

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mma_v2, warpgroup_mma, warpgroup_mma_wait

TARGETS = 64
FEATURES = 16
WARPS = 8
WIDTHS = (64, 128, 256)
"""Hidden sizes that the kernel is laid out for."""

_LANES = [[0, 8], [0, 16], [1, 0], [2, 0], [4, 0]]


def _layout(high: Sequence[int], warps: list[list[int]], width: int) -> Any:
    """Rows of 64 × width: each thread has eight neighbors of a row and of the row eight below, and the columns of ``high``."""
    registers = [[0, 1], [0, 2], [0, 4], [8, 0], *([0, bit] for bit in high if bit < width)]
    return gl.DistributedLinearLayout(registers, _LANES, warps, [], [TARGETS, width])


def small_layout(width: int) -> Any:
    """How projections are gathered: for the small product, whose warps alternate along columns."""
    return _layout((64, 128), [[0, 32], [16, 0], [32, 0]], width)


def product_layout(width: int) -> Any:
    """How x is gathered and sums are written: for the large product, whose warps have half of the columns each."""
    return _layout([bit for bit in (32, 64) if bit < width // 2], [[16, 0], [32, 0], [0, width // 2]], width)


def small_units(width: int, device: torch.device) -> torch.Tensor:
    """Unit of each column of the small product [width]."""
    return torch.arange(width, device=device).view(-1, 2, 4, 4, 2).permute(0, 3, 1, 2, 4).reshape(-1)


def product_units(width: int, device: torch.device) -> torch.Tensor:
    """Unit of each column of the large product [width]."""
    return torch.arange(width, device=device).view(-1, 4, 4, 2).permute(0, 2, 1, 3).reshape(-1)


@gluon.jit
def _rows(tile, lane, order, bounds, nodes):
    """First edge, degree, number and presence of the targets of a tile."""
    place = tile * 64 + lane
    there = place < nodes
    target = gl.load(order + place, there, 0)
    start = gl.load(bounds + target)
    return start, gl.where(there, gl.load(bounds + target + 1) - start, 0), target, there


@gluon.jit
def _tanh(z):
    return gl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [z], dtype=gl.float32, is_pure=True, pack=1)


@gluon.jit
def gated_tiles(
    out, out_stride, proj, features, fold, weight, bias, x, x_stride, sources, bounds, order, nodes, tiles,
    H: gl.constexpr, SMALL: gl.constexpr, LARGE: gl.constexpr,
):
    """out [N, H] = Σ over the edges of a target of x of the source · sigmoid(hidden · weight + bias).

    proj [N, 2H] (of sources | of targets), features [E, 16], fold [16, H], weight [H, H] and bias [H] halved and renumbered,
    sources [E] and bounds [N+1] int32, ``order`` the targets by degree. sigmoid(z) = (tanh(z / 2) + 1) / 2: the halves are in the
    weights and in the sum.
    """
    T: gl.constexpr = 64
    kind: gl.constexpr = proj.dtype.element_ty
    large: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 2], [16, H // 2, 16])
    small: gl.constexpr = gl.NVMMADistributedLayout([2, 0], [4, 2], [16, 8])
    left: gl.constexpr = gl.DotOperandLayout(0, small, 2)
    right: gl.constexpr = gl.DotOperandLayout(1, small, 2)
    plain: gl.constexpr = gl.BlockedLayout([1, 8], [256 // H, H // 8], [8, 1], [1, 0])
    row, column = gl.arange(0, H, gl.SliceLayout(1, plain)), gl.arange(0, H, gl.SliceLayout(0, plain))
    w = gl.allocate_shared_memory(kind, [H, H], gl.NVMMASharedLayout.get_default_for([H, H], kind))
    w.store(gl.load(weight + row[:, None] * H + column[None, :]))
    feature = gl.arange(0, 16, gl.SliceLayout(1, plain))
    c = gl.allocate_shared_memory(kind, [16, H], gl.SwizzledSharedLayout(8, 1, 8, [1, 0]))
    c.store(gl.load(fold + feature[:, None] * H + column[None, :]))
    h = gl.allocate_shared_memory(kind, [2, T, H], gl.NVMMASharedLayout.get_default_for([T, H], kind))
    lane_p, col_p = gl.arange(0, T, gl.SliceLayout(1, SMALL)), gl.arange(0, H, gl.SliceLayout(0, SMALL))
    lane_x, col_x = gl.arange(0, T, gl.SliceLayout(1, LARGE)), gl.arange(0, H, gl.SliceLayout(0, LARGE))
    lane_f, col_f = gl.arange(0, T, gl.SliceLayout(1, left)), gl.arange(0, 16, gl.SliceLayout(0, left))
    col_b = gl.arange(0, H, gl.SliceLayout(0, large))
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        # The same rows in the three layouts that gather by them: to move them from one to another would cost a barrier each time.
        start_p, degree_p, target_p, _ = _rows(tile, lane_p, order, bounds, nodes)
        start_x, degree_x, target_x, there_x = _rows(tile, lane_x, order, bounds, nodes)
        start_f, degree_f, _, _ = _rows(tile, lane_f, order, bounds, nodes)
        of_target = gl.load(proj + (target_p * (2 * H) + H)[:, None] + col_p[None, :])
        total = gl.zeros([T, H], gl.float32, large)
        source = gl.load(sources + gl.where(degree_p > 0, start_p, 0))
        of_source = gl.load(proj + (source * (2 * H))[:, None] + col_p[None, :])
        f = gl.load(features + (gl.where(degree_f > 0, start_f, 0) * 16)[:, None] + col_f[None, :])
        for step in range(0, gl.max(degree_p, 0)):
            both = (of_source + of_target).reshape([T, H // 64, 2, 4, 4, 2]).permute([0, 1, 4, 2, 3, 5]).reshape([T, H])
            folded = mma_v2(f, c.load(right), gl.zeros([T, H], gl.float32, small))
            buffer = h.index(step % 2)
            buffer.store(gl.maximum(folded.to(kind) + gl.convert_layout(both, small), 0.0).to(kind))
            fence_async_shared()
            # What is needed after the product is asked for before it: gathers fly while the tensor cores work.
            live = step < degree_x
            source_x = gl.load(sources + gl.where(live, start_x + step, 0))
            x_rows = gl.load(x + (source_x * x_stride)[:, None] + col_x[None, :], live[:, None], 0.0)
            source = gl.load(sources + gl.where(step + 1 < degree_p, start_p + step + 1, 0))
            of_source = gl.load(proj + (source * (2 * H))[:, None] + col_p[None, :])
            f = gl.load(features + (gl.where(step + 1 < degree_f, start_f + step + 1, 0) * 16)[:, None] + col_f[None, :])
            z = gl.zeros([T, H], gl.float32, large) + gl.load(bias + col_b)[None, :]
            z = warpgroup_mma_wait(0, deps=[warpgroup_mma(buffer, w, z, is_async=True)])
            moved = x_rows.reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
            message = gl.convert_layout(moved, large).to(gl.float32)  # 0 where a target has no such edge
            total += message * _tanh(z) + message
        result = (total * 0.5).to(kind).reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
        gl.store(out + (target_x * out_stride)[:, None] + col_x[None, :], gl.convert_layout(result, LARGE), there_x[:, None])
