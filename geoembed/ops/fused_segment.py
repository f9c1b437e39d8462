"""Sums and means of segments on a GPU: one program a segment adds its rows in their order, at the speed of reading them.

Segments longer than :data:`PIECE` rows are cut into pieces of fixed bounds, which other programs of the same launch add, and a second
launch adds the pieces in their order. A piece finds the long segments in it by itself, so nothing is read back from the device
and a CUDA graph can hold the call. The order of every sum depends on ``ptr`` alone: the same input gives the same bits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from geoembed.ops import backends

PIECE = 512
"""Rows that one program adds: more make the last programs late, fewer leave more parts to add."""
_WIDEST, _FAN, _LEADS, _PROGRAMS = 256, 256, 65535, 2**31
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def serves(x: Tensor, ptr: Tensor) -> bool:
    """Whether the kernels reduce x [..., N, F]: floating numbers on a GPU with Triton, and no other back end asked for by name."""
    if x.device.type != "cuda" or backends.active() != backends.AUTO:
        return False
    leads = x.shape[:-2].numel()
    fits = 0 < leads <= _LEADS and x.dtype in _DTYPES and ptr.device == x.device and x.shape[-2] + ptr.shape[0] < _PROGRAMS
    return fits and backends.runs(KERNEL, x.device)


def fused_sum(x: Tensor, ptr: Tensor) -> Tensor:
    """x [..., N, F], ptr [S+1] -> [..., S, F], as :func:`geoembed.ops.segment_sum`; differentiable any number of times."""
    total: Tensor = _reduce(x, ptr, False)
    return total


def fused_mean(x: Tensor, ptr: Tensor) -> Tensor:
    """x [..., N, F], ptr [S+1] -> [..., S, F], as :func:`geoembed.ops.segment_mean`; the quotient is rounded once."""
    mean: Tensor = _reduce(x, ptr, True)
    return mean


@torch.library.custom_op("geoembed::segment_reduce", mutates_args=())
def _reduce(x: Tensor, ptr: Tensor, mean: bool) -> Tensor:
    from geoembed.ops.segment_kernels import sum_of_pieces, sum_of_segments

    rows, segments = _three_axes(x), ptr.shape[0] - 1
    leads, total, width = rows.shape
    found = x.new_empty(*x.shape[:-2], segments, width)
    if not found.numel():
        return found
    pieces = _pieces(total)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    parts = x.new_empty(leads, pieces, 2, width, dtype=wide)
    begun = ptr.new_empty(pieces, dtype=torch.int64)
    shape, bounds = _block(width), ptr.contiguous()
    grid = (pieces + segments, -(-width // shape["WIDTH"]), leads)
    sum_of_segments[grid](found, parts, begun, rows, bounds, rows.stride(0), rows.stride(1), total, segments, pieces,
                          PIECE=PIECE, MEAN=mean, FAN=_FAN, **shape, num_warps=1)
    if pieces:  # columns in narrow blocks: a segment of all rows has parts enough to keep the card busy
        block = min(32, shape["WIDTH"])
        sum_of_pieces[(pieces, -(-width // block), leads)](found, parts, begun, bounds, total, segments, pieces, F=width, WIDTH=block,
                                                           LANES=1024 // block, PIECE=PIECE, MEAN=mean, num_warps=4)
    return found


@_reduce.register_fake
def _(x: Tensor, ptr: Tensor, mean: bool) -> Tensor:
    return x.new_empty(*x.shape[:-2], ptr.shape[0] - 1, x.shape[-1])


@torch.library.custom_op("geoembed::segment_rows", mutates_args=())
def _rows(y: Tensor, ptr: Tensor, rows: int, mean: bool) -> Tensor:
    """The transpose of the reduction: y [..., S, F] -> [..., rows, F]."""
    from geoembed.ops.segment_kernels import rows_of_segments

    values = _three_axes(y)
    leads, segments, width = values.shape
    found = y.new_empty(*y.shape[:-2], rows, width)
    if found.numel():
        shape, pieces = _block(width), _pieces(rows)
        rows_of_segments[(pieces + segments, -(-width // shape["WIDTH"]), leads)](
            found, values, ptr.contiguous(), values.stride(0), values.stride(1), rows, segments, pieces,
            PIECE=PIECE, MEAN=mean, FAN=_FAN, **shape, num_warps=1)
    return found


@_rows.register_fake
def _(y: Tensor, ptr: Tensor, rows: int, mean: bool) -> Tensor:
    return y.new_empty(*y.shape[:-2], rows, y.shape[-1])


def _save_reduce(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
    x, ptr, ctx.mean = inputs
    ctx.rows = x.shape[-2]
    ctx.save_for_backward(ptr)


def _back_reduce(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return _rows(grad, ctx.saved_tensors[0], ctx.rows, ctx.mean), None, None


def _save_rows(ctx: Any, inputs: tuple[Tensor, Tensor, int, bool], output: Tensor) -> None:
    _, ptr, _, ctx.mean = inputs
    ctx.save_for_backward(ptr)


def _back_rows(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return _reduce(grad, ctx.saved_tensors[0], ctx.mean), None, None, None


_reduce.register_autograd(_back_reduce, setup_context=_save_reduce)
_rows.register_autograd(_back_rows, setup_context=_save_rows)


def _three_axes(x: Tensor) -> Tensor:
    """x [..., N, F] as [L, N, F] with columns side by side; copied only where its strides do not allow a view."""
    flat = x.reshape(x.shape[:-2].numel(), *x.shape[-2:])
    return flat if flat.stride(2) == 1 or flat.shape[2] == 1 else flat.contiguous()


def _pieces(rows: int) -> int:
    """Pieces that can hold rows of long segments: none where all rows together make no long one."""
    return -(-rows // PIECE) if rows > PIECE else 0


def _block(width: int) -> dict[str, int]:
    """Columns of a program, and rows that it reads side by side where a row is narrower than a warp."""
    block = min(_WIDEST, 1 << (width - 1).bit_length())
    return {"F": width, "WIDTH": block, "LANES": max(1, 32 // block)}


def disagreement(device: torch.device) -> str:
    """What differs from sums of slices in float64, forward and backward, on short, empty and long segments; empty where nothing does."""
    sizes = torch.tensor([0, 3, PIECE // 2, 0, PIECE, PIECE + 1, 3 * PIECE + 2, 1, 0])
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    bounds, rows = ptr.tolist(), int(ptr[-1])
    ptr, generator = ptr.to(device), torch.Generator().manual_seed(0)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12), (torch.float16, 2e-3)):
        x = torch.randn(rows, 24, generator=generator, dtype=torch.float64).to(device, dtype)
        for mean in (False, True):
            found, back = _reduce(x, ptr, mean), _rows(x[:9], ptr, rows, mean)
            for segment, (first, last) in enumerate(pairwise(bounds)):
                size = max(last - first, 1) if mean else 1
                exact = x[first:last].double().sum(0) / size
                if not torch.allclose(found[segment].double(), exact, rtol=tolerance, atol=tolerance * 50 / size):
                    return f"the {'mean' if mean else 'sum'} of {last - first} rows in {dtype}"
                if not torch.allclose(back[first:last].double(), x[segment].double() / size, rtol=tolerance, atol=tolerance):
                    return f"the gradient of {last - first} rows in {dtype}"
    return ""


KERNEL = "triton segment sum"
backends.register_kernel(KERNEL, disagreement)
