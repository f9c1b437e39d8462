"""Launches of the kernels of the gated convolution, forward and backward; on Hopper, in half precision, of those for tiles.

Sums over edges are made in registers, in a fixed order, without atomics. The tile kernels keep no row for an edge in memory on the way
forward (:mod:`geoembed.ops.gated_tile`); elsewhere hidden rows [E, H] are written once and read once. The backward pass makes them again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.gated_plan import EdgePlan

TILES = "gluon gated tiles"
FEATURES = 16
"""Edge features are padded to a multiple of this, the depth of the smallest product."""
TILE_WIDTHS = (64, 128, 256)
_FAR = 2**31


def padded(rows: Tensor) -> Tensor:
    """Rows with zeros to the next multiple of :data:`FEATURES` columns."""
    return torch.nn.functional.pad(rows, (0, -rows.shape[-1] % FEATURES)).contiguous()


def precision(kind: torch.dtype) -> str:
    """How products of float32 are made: in one tf32 product where torch allows that, else in three."""
    return "tf32" if kind != torch.float32 or torch.get_float32_matmul_precision() != "highest" else "tf32x3"


class _Shape(NamedTuple):
    """Sizes that a launch needs: columns, their block, whether offsets need 64 bits, whether the fast sigmoid is exact enough."""

    H: int
    WIDTH: int
    WIDE: bool
    FAST: bool
    PRECISION: str


def _shape(x: Tensor, edges: int) -> _Shape:
    width = x.shape[1]
    mode = precision(x.dtype)
    rows = max(edges, 2 * x.shape[0])
    return _Shape(width, 1 << (width - 1).bit_length(), rows * width >= _FAR, mode == "tf32" and x.is_cuda, mode)


def _half(x: Tensor) -> bool:
    return x.dtype != torch.float32


def _block(weight: Tensor, columns: int) -> Any:
    """A tensor descriptor of blocks of ``columns`` columns of a square matrix."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor.from_tensor(weight, [1 << (weight.shape[0] - 1).bit_length(), columns])


def _hidden(proj: Tensor, features: Tensor, fold: Tensor, plan: EdgePlan, shape: _Shape) -> Tensor:
    from geoembed.ops.gated_kernels import hidden_rows

    edges, rows = len(plan.source), 16
    out = proj.new_empty(edges, shape.H)
    hidden_rows[(-(-edges // rows),)](
        out, proj, features, fold, plan.source, plan.target, edges, H=shape.H, WIDTH=shape.WIDTH, G=features.shape[1], ROWS=rows,
        WIDE=shape.WIDE, PRECISION=shape.PRECISION, num_warps=4, num_stages=2,
    )
    return out


def tiles_fit(x: Tensor, features: int) -> bool:
    """Whether the kernel that keeps edges on the chip is made for such x [N, H]: Hopper, half precision, its widths."""
    return _half(x) and x.shape[1] in TILE_WIDTHS and features <= FEATURES and backends.runs(TILES, x.device)


def takes_tiles(x: Tensor, features: Tensor, edges: int) -> bool:
    """Whether it runs for this many edges: its offsets have 32 bits."""
    return edges > 0 and max(edges * FEATURES, 2 * x.numel()) < _FAR and tiles_fit(x, features.shape[1])


def prepared_for_tiles(fold: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """fold [16, H], weight [H, H] (out, in) and bias [H], renumbered and halved as the tile kernel reads them."""
    from geoembed.ops.gated_tile import product_units, small_units

    width = weight.shape[0]
    hidden, out = small_units(width, weight.device), product_units(width, weight.device)
    half = 0.5 * weight.index_select(0, out).index_select(1, hidden)
    return fold.index_select(1, hidden).contiguous(), half.t().contiguous(), (0.5 * bias).float().index_select(0, out)


def tile_sum(x: Tensor, proj: Tensor, features: Tensor, ready: tuple[Tensor, Tensor, Tensor], plan: EdgePlan) -> Tensor:
    """The sums [N, H] by the tile kernel, with weights from :func:`prepared_for_tiles`."""
    from geoembed.ops import gated_tile as g

    nodes, width = x.shape
    out, tiles = torch.empty_like(x, memory_format=torch.contiguous_format), -(-nodes // g.TARGETS)
    fold, weight, bias = ready
    programs = min(tiles, torch.cuda.get_device_properties(x.device).multi_processor_count)
    g.gated_tiles[(programs,)](
        out, out.stride(0), proj, features, fold, weight, bias, x, x.stride(0), plan.source, plan.bounds, plan.order, nodes, tiles,
        H=width, SMALL=g.small_layout(width), LARGE=g.product_layout(width), num_warps=g.WARPS,
    )
    return out


def forward_sum(x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan) -> Tensor:
    edges = len(plan.source)
    if not edges:
        return torch.zeros_like(x)
    if takes_tiles(x, features, edges):
        return tile_sum(x, proj, features, prepared_for_tiles(fold, weight, bias), plan)
    from geoembed.ops.gated_kernels import sum_of_gated

    shape = _shape(x, edges)
    hidden = _hidden(proj, features, fold, plan, shape)
    columns = min(64 if _half(x) else 32, shape.WIDTH)
    out, targets = torch.empty_like(x, memory_format=torch.contiguous_format), 64
    sum_of_gated[(-(-len(x) // targets) * -(-shape.H // columns),)](
        out, out.stride(0), hidden, _block(weight.t().contiguous(), columns), bias, x, x.stride(0), plan.source, plan.bounds, plan.order,
        len(x), H=shape.H, WIDTH=shape.WIDTH, COLUMNS=columns, TARGETS=targets, WIDE=shape.WIDE, FAST=shape.FAST,
        PRECISION=shape.PRECISION, STAGES=2 if _half(x) else 1, num_warps=4,
    )
    return out


class _EdgeGradients(NamedTuple):
    """Rows for every edge [E, H]: hidden, gradients of x at the source, of z, of hidden before ReLU; and the part of targets [N, 2H]."""

    hidden: Tensor
    into_message: Tensor
    into_z: Tensor
    into_hidden: Tensor
    into_proj: Tensor


def _edge_gradients(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan
) -> _EdgeGradients:
    """The same by two kernels with hidden rows read from memory between them."""
    from geoembed.ops.gated_kernels import gate_gradients, hidden_gradients

    edges, nodes, shape = len(plan.source), len(x), _shape(x, len(plan.source))
    common: dict[str, Any] = {"H": shape.H, "WIDTH": shape.WIDTH, "WIDE": shape.WIDE, "PRECISION": shape.PRECISION}
    columns, rows = min(64 if _half(x) else 32, shape.WIDTH), 64
    parts = -(-shape.H // columns)
    hidden = _hidden(proj, features, fold, plan, shape)
    into_message, into_z, into_hidden = (torch.empty_like(hidden) for _ in range(3))
    into_proj = torch.empty_like(proj, memory_format=torch.contiguous_format)
    gate_gradients[(-(-edges // rows) * parts,)](
        into_message, into_z, hidden, _block(weight.t().contiguous(), columns), bias, x, x.stride(0), grad, plan.source, plan.target, edges,
        **common, COLUMNS=columns, ROWS=rows, FAST=shape.FAST, num_warps=4,
    )
    hidden_gradients[(-(-nodes // rows) * parts,)](
        into_hidden, into_proj, hidden, into_z, _block(weight.contiguous(), columns), plan.bounds, plan.order, nodes, **common,
        COLUMNS=columns, TARGETS=rows, STAGES=2 if _half(x) else 1, num_warps=4,
    )
    return _EdgeGradients(hidden, into_message, into_z, into_hidden, into_proj)


def _tile_gradients(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan
) -> _EdgeGradients:
    """The same by one kernel."""
    from geoembed.ops import gated_tile as g
    from geoembed.ops.gated_tile_gradients import gradient_tiles

    nodes, width = x.shape
    rows = [proj.new_empty(len(plan.source), width) for _ in range(4)]
    into_proj, tiles = torch.empty_like(proj, memory_format=torch.contiguous_format), -(-nodes // g.TARGETS)
    programs = min(tiles, torch.cuda.get_device_properties(x.device).multi_processor_count)
    hidden, into_z, into_message, into_hidden = rows
    gradient_tiles[(programs,)](
        into_proj, hidden, into_z, into_message, into_hidden, grad, proj, features, *prepared_for_tiles(fold, weight, bias), x, x.stride(0),
        plan.source, plan.bounds, plan.order, nodes, tiles, H=width, SMALL=g.small_layout(width), LARGE=g.product_layout(width),
        num_warps=g.WARPS,
    )
    return _EdgeGradients(hidden, into_message, into_z, into_hidden, into_proj)


def backward_sum(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan, into_features: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, proj, features, fold, weight and bias."""
    from geoembed.ops.gated_kernels import sums_at_sources

    edges, (nodes, width) = len(plan.source), x.shape
    if not edges:
        none = [torch.zeros_like(t) for t in (x, proj, features, fold, weight, bias)]
        return none[0], none[1], none[2], none[3], none[4], none[5]
    by_tiles = takes_tiles(x, features, edges) and edges * width < _FAR
    e = (_tile_gradients if by_tiles else _edge_gradients)(grad.contiguous(), x, proj, features, fold, weight, bias, plan)
    into_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    sums_at_sources[(nodes,)](into_x, e.into_proj, e.into_message, e.into_hidden, plan.by_source, plan.source_bounds, H=width,
                              WIDTH=1 << (width - 1).bit_length(), num_warps=1)
    from_features = e.into_hidden @ fold.t() if into_features else features.new_zeros(0)
    return into_x, e.into_proj, from_features, features.t() @ e.into_hidden, e.into_z.t() @ e.hidden, _column_sums(e.into_z).to(bias.dtype)


def _column_sums(rows: Tensor) -> Tensor:
    """Sums [H] of the columns of rows [E, H] in float32, in a fixed order."""
    from geoembed.ops.gated_kernels import column_parts

    edges, width, each = len(rows), rows.shape[1], 512
    parts = torch.empty(-(-edges // each), width, dtype=torch.float32, device=rows.device)
    column_parts[(len(parts),)](parts, rows, edges, H=width, WIDTH=1 << (width - 1).bit_length(), EACH=each, ROWS=16, num_warps=4)
    return parts.sum(0)
