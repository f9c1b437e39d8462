"""The gated convolution by Triton kernels, forward and backward, and whole stacks of layers without gradients.

Sums over edges are made in registers, in a fixed order, without atomics. On Hopper, in half precision, the forward pass keeps no
row for an edge in memory (:mod:`geoembed.ops.gated_tile`); elsewhere hidden rows [E, H] are written once and read once. The backward
pass makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.gated_plan import EdgePlan, plan_edges

FEATURES = 16
"""Edge features are padded to a multiple of this, the depth of the smallest product."""
TILE_WIDTHS = (64, 128, 256)
_FAR = 2**31


def serves(x: Tensor, features: int) -> bool:
    """Whether the kernels run for x [N, H] and this many edge features."""
    fits = x.dim() == 2 and x.shape[1] % 16 == 0 and 16 <= x.shape[1] <= 512 and features <= 64 and x.shape[0] > 0
    return fits and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and backends.runs(KERNEL, x.device)


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


def _forward(x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan) -> Tensor:
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


def _backward(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: EdgePlan, into_features: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, proj, features, fold, weight and bias."""
    from geoembed.ops.gated_kernels import gate_gradients, hidden_gradients, sums_at_sources

    edges, nodes = len(plan.source), len(x)
    if not edges:
        return tuple(torch.zeros_like(t) for t in (x, proj, features, fold, weight, bias))  # type: ignore[return-value]
    shape = _shape(x, edges)
    common: dict[str, Any] = {"H": shape.H, "WIDTH": shape.WIDTH, "WIDE": shape.WIDE}
    columns, rows, targets = min(64 if _half(x) else 32, shape.WIDTH), 64, 64
    parts = -(-shape.H // columns)
    hidden = _hidden(proj, features, fold, plan, shape)
    into_message, into_z = torch.empty_like(hidden), torch.empty_like(hidden)
    blocks = -(-edges // rows)
    bias_parts = torch.empty(blocks, shape.H, dtype=torch.float32, device=x.device)
    gate_gradients[(blocks * parts,)](
        into_message, into_z, bias_parts, hidden, _block(weight.t().contiguous(), columns), bias, x, x.stride(0), grad.contiguous(),
        plan.source, plan.target, edges, **common, COLUMNS=columns, ROWS=rows, FAST=shape.FAST, PRECISION=shape.PRECISION, num_warps=4,
    )
    into_weight = into_z.t() @ hidden
    into_proj = torch.empty_like(proj, memory_format=torch.contiguous_format)
    hidden_gradients[(-(-nodes // targets) * parts,)](
        hidden, into_proj, into_z, _block(weight.contiguous(), columns), plan.bounds, plan.order, nodes, **common, COLUMNS=columns,
        TARGETS=targets, PRECISION=shape.PRECISION, STAGES=2 if _half(x) else 1, num_warps=4,
    )
    into_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    sums_at_sources[(nodes,)](into_x, into_proj, into_message, hidden, plan.by_source, plan.source_bounds, H=shape.H, WIDTH=shape.WIDTH,
                              num_warps=1)
    from_features = hidden @ fold.t() if into_features else features.new_zeros(0)
    return into_x, into_proj, from_features, features.t() @ hidden, into_weight, bias_parts.sum(0).to(bias.dtype)


@torch.library.custom_op("geoembed::gated_sum", mutates_args=())
def gated_sum_op(
    x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor]
) -> Tensor:
    """Sums [N, H]; proj [N, 2H], features [E, 16 k], fold [16 k, H], weight [H, H] (out, in), bias [H]; plan as :class:`EdgePlan`."""
    return _forward(x, proj, features, fold, weight, bias, EdgePlan(*plan))


@gated_sum_op.register_fake
def _(x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor]) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("geoembed::gated_sum_backward", mutates_args=())
def gated_sum_backward_op(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor],
    into_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, proj, features (empty unless asked for), fold, weight, bias."""
    return _backward(grad, x, proj, features, fold, weight, bias, EdgePlan(*plan), into_features)


@gated_sum_backward_op.register_fake
def _(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor],
    into_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    from_features = torch.empty_like(features) if into_features else features.new_zeros(0)
    return (torch.empty_like(x), torch.empty_like(proj), from_features,
            torch.empty_like(fold), torch.empty_like(weight), torch.empty_like(bias))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, plan = inputs
    ctx.save_for_backward(*tensors, *plan)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, proj, features, fold, weight, bias, *plan = ctx.saved_tensors
    found = gated_sum_backward_op(grad, x, proj, features, fold, weight, bias, plan, ctx.needs_input_grad[2])
    return (*(g if needed else None for g, needed in zip(found, ctx.needs_input_grad, strict=False)), [None] * len(plan))


gated_sum_op.register_autograd(_gradients, setup_context=_save)


def disagreement(device: torch.device) -> str:
    """What differs from the specification, forward and backward, on a small ragged graph; empty where nothing does."""
    return _compare(device, torch.float32, 48, 2e-5)


def tile_disagreement(device: torch.device) -> str:
    """The same for the tile kernel, in bfloat16, at all its widths."""
    if torch.cuda.get_device_capability(device) != (9, 0):
        return "made for Hopper, which this card is not"
    if find_spec("triton.experimental.gluon") is None:
        return "this Triton lacks Gluon"
    return next(filter(None, (_compare(device, torch.bfloat16, width, 2e-2) for width in TILE_WIDTHS)), "")


def _compare(device: torch.device, kind: torch.dtype, width: int, tolerance: float) -> str:
    from geoembed.ops.gated_conv import gated_from_projections

    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor([3, 0, 17, 1, 5, 0, 2] * 21)
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    edge_index = torch.stack([torch.randint(len(degrees), (int(ptr[-1]),), generator=generator), torch.repeat_interleave(degrees)])
    shapes = ((len(degrees), width), (len(degrees), 2 * width), (int(ptr[-1]), 16), (16, width), (width, width), (width,))
    values = [torch.randn(shape, generator=generator) / (1 if len(shape) < 2 or shape[0] > width else width**0.5) for shape in shapes]
    rounded = [value.to(kind) for value in values]
    plan = plan_edges(edge_index.to(device), ptr.to(device), gradients=kind == torch.float32)

    def spec(*of: Tensor) -> Tensor:
        return gated_from_projections(of[0], of[1], of[2], of[3], of[4], of[5], edge_index, ptr)

    if kind != torch.float32:
        ready = prepared_for_tiles(*(rounded[i].to(device) for i in (3, 4, 5)))
        x, proj, features = (value.to(device) for value in rounded[:3])
        found = [tile_sum(x, proj, features, ready, plan)]
        expected = [spec(*(value.double() for value in rounded))]
    else:
        found = _with_gradients(lambda *t: gated_sum_op(*t, list(plan)), [value.to(device) for value in values])
        expected = _with_gradients(spec, [value.double() for value in values])
    worst = max(float((a.double().cpu() - b).norm() / b.norm().clamp(min=1e-30)) for a, b in zip(found, expected, strict=True))
    return "" if worst <= tolerance else f"differs from torch by {worst:.1e} at width {width}"


def _with_gradients(function: Any, values: list[Tensor]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in values]
    with torch.enable_grad():
        out = function(*leaves)
        (out * torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


KERNEL = "triton gated sum"
TILES = "gluon gated tiles"
backends.register_kernel(KERNEL, disagreement)
backends.register_kernel(TILES, tile_disagreement)
