"""The gated convolution as operators that compilers and autograd know, and the comparison that lets its kernels run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.gated_launch import TILE_WIDTHS, TILES, backward_sum, forward_sum
from geoembed.ops.gated_plan import EdgePlan, plan_edges

KERNEL = "triton gated sum"


def serves(x: Tensor, features: int) -> bool:
    """Whether the kernels run for x [N, H] and this many edge features."""
    fits = x.dim() == 2 and x.shape[1] % 16 == 0 and 16 <= x.shape[1] <= 512 and features <= 64 and x.shape[0] > 0
    return fits and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and backends.runs(KERNEL, x.device)


@torch.library.custom_op("geoembed::gated_sum", mutates_args=())
def gated_sum_op(
    x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor]
) -> Tensor:
    """Sums [N, H]; proj [N, 2H], features [E, 16 k], fold [16 k, H], weight [H, H] (out, in), bias [H]; plan as :class:`EdgePlan`."""
    return forward_sum(x, proj, features, fold, weight, bias, EdgePlan(*plan))


@gated_sum_op.register_fake
def _(x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor]) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("geoembed::gated_sum_backward", mutates_args=())
def gated_sum_backward_op(
    grad: Tensor, x: Tensor, proj: Tensor, features: Tensor, fold: Tensor, weight: Tensor, bias: Tensor, plan: Sequence[Tensor],
    into_features: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, proj, features (empty unless asked for), fold, weight, bias."""
    return backward_sum(grad, x, proj, features, fold, weight, bias, EdgePlan(*plan), into_features)


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
    """The same for the tile kernels, in bfloat16, at all their widths; gradients there are right to the rounding of what they pass."""
    if torch.cuda.get_device_capability(device) != (9, 0):
        return "made for Hopper, which this card is not"
    if find_spec("triton.experimental.gluon") is None:
        return "this Triton lacks Gluon"
    return next(filter(None, (_compare(device, torch.bfloat16, width, 4e-2) for width in TILE_WIDTHS)), "")


def _compare(device: torch.device, kind: torch.dtype, width: int, tolerance: float) -> str:
    from geoembed.ops.gated_conv import gated_from_projections

    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor([3, 0, 17, 1, 5, 0, 2] * 21)
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    edge_index = torch.stack([torch.randint(len(degrees), (int(ptr[-1]),), generator=generator), torch.repeat_interleave(degrees)])
    shapes = ((len(degrees), width), (len(degrees), 2 * width), (int(ptr[-1]), 16), (16, width), (width, width), (width,))
    values = [torch.randn(shape, generator=generator) / (1 if len(shape) < 2 or shape[0] > width else width**0.5) for shape in shapes]
    rounded = [value.to(kind) for value in values]
    plan = plan_edges(edge_index.to(device), ptr.to(device), gradients=True)

    def spec(*of: Tensor) -> Tensor:
        return gated_from_projections(of[0], of[1], of[2], of[3], of[4], of[5], edge_index, ptr)

    leaves = [value.to(device) for value in rounded]
    found = _with_gradients(lambda *t: gated_sum_op(*t, list(plan)), leaves)
    expected = _with_gradients(spec, [value.double() for value in rounded])
    worst = max(float((a.double().cpu() - b).norm() / b.norm().clamp(min=1e-30)) for a, b in zip(found, expected, strict=True))
    return "" if worst <= tolerance else f"differs from torch by {worst:.1e} at width {width}"


def _with_gradients(function: Any, values: list[Tensor]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in values]
    with torch.enable_grad():
        out = function(*leaves)
        (out * torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


backends.register_kernel(KERNEL, disagreement)
backends.register_kernel(TILES, tile_disagreement)
