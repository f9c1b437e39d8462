"""The crystal graph convolution by Triton kernels: no array of edges times channels in the forward pass, one in the backward pass.

Products of float32 are made of three tf32 products, to the error of float32, unless torch is told that one will do
(``torch.set_float32_matmul_precision("high")``). All sums have a fixed order: the same input gives the same bits.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from geoembed.ops import backends
from geoembed.ops.cgconv import GateWeights, Nodes, cgconv, check_edges, check_shapes
from geoembed.ops.cgconv_launch import Shape, edge_gradients, gate_gradients, node_gradients, node_products, packed, sum_messages
from geoembed.ops.gated_plan import EdgePlan, plan_edges
from geoembed.ops.segment import ptr_from_sorted

DEEPEST, WIDEST = 128, 512
"""Edge features and channels up to which the kernels are made."""


class Edges(NamedTuple):
    """A plan of edges sorted by target, and where each stood before it was sorted: ``number`` [E] int32, None where it did not move."""

    plan: EdgePlan
    number: Tensor | None


def fused_cgconv(
    x: Nodes, edge_index: Tensor, edge_attr: Tensor | None, weights: GateWeights, *, ptr: Tensor | None = None, mean: bool = False,
    residual: bool = True, unsafe: bool = False,
) -> Tensor:
    """:func:`geoembed.ops.cgconv`, by kernels on a GPU where they are made for its shapes: one set of nodes x [N, C], C a multiple of 16.

    What kernels want to know of edges is made once and kept as long as ``edge_index`` lives unchanged; edges in any order are sorted
    there. Inside a compiler or a CUDA graph it is made at every call.

    Args:
        unsafe: skip the look at the numbers in ``edge_index`` and ``ptr``, which otherwise happens when a plan is made.

    Raises:
        SchemaError: dtypes, shapes or devices that do not fit each other.
        ValueRangeError: edges that name nodes which do not exist, or that ``ptr`` does not bound.
    """
    check_shapes(x, edge_index, edge_attr, weights, ptr)
    if isinstance(x, tuple) or not serves(x, edge_attr):
        at_source, at_target = x if isinstance(x, tuple) else (x, x)
        if not unsafe and not _traced(edge_index):
            check_edges(edge_index, at_source.shape[-2], at_target.shape[-2], ptr)
        return cgconv(x, edge_index, edge_attr, weights, ptr=ptr, mean=mean, residual=residual)
    plan, number = edges_of(edge_index, x.shape[0], ptr, unsafe)
    exact = x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    out, _ = _forward(x, edge_attr, *weights, edge_index, ptr, *plan, number, mean, residual, exact)
    total: Tensor = out
    return total


def serves(x: Tensor, edge_attr: Tensor | None) -> bool:
    """Whether the kernels run for x [N, C] and these edge features."""
    depth = 0 if edge_attr is None else edge_attr.shape[1]
    fits = x.dim() == 2 and x.shape[0] > 0 and 16 <= x.shape[1] <= WIDEST and x.shape[1] % 16 == 0 and depth <= DEEPEST
    fits = fits and x.dtype in (torch.float32, torch.bfloat16, torch.float16) and not torch.is_autocast_enabled(x.device.type)
    return fits and backends.runs(KERNEL, x.device)


class _Kept(NamedTuple):
    """A plan and what it was made of: number of nodes, version of ``edge_index``, ``ptr`` and its version."""

    nodes: int
    version: int
    ptr: weakref.ref[Tensor] | None
    ptr_version: int
    edges: Edges

    def fits(self, nodes: int, edge_index: Tensor, ptr: Tensor | None) -> bool:
        """Whether nothing has changed since."""
        kept = None if self.ptr is None else self.ptr()
        same = (self.ptr is None) == (ptr is None) and kept is ptr and (ptr is None or ptr._version == self.ptr_version)
        return same and self.nodes == nodes and self.version == edge_index._version


_plans: WeakIdKeyDictionary = WeakIdKeyDictionary()


def edges_of(edge_index: Tensor, nodes: int, ptr: Tensor | None, unsafe: bool = False) -> Edges:
    """The plan of edges, from those kept where the same tensors, unchanged since, had one."""
    if _traced(edge_index):
        return plan_of(edge_index, nodes, ptr, gradients=torch.is_grad_enabled())
    kept: _Kept | None = _plans.get(edge_index)  # type: ignore[no-untyped-call]
    if kept is None or not kept.fits(nodes, edge_index, ptr):
        if not unsafe:
            check_edges(edge_index, nodes, nodes, ptr)
        bounds, version = (None, 0) if ptr is None else (weakref.ref(ptr), ptr._version)
        kept = _Kept(nodes, edge_index._version, bounds, version, plan_of(edge_index, nodes, ptr))
        _plans[edge_index] = kept
    return kept.edges


def plan_of(edge_index: Tensor, nodes: int, ptr: Tensor | None, *, gradients: bool = True) -> Edges:
    """The plan of edges [2, E], sorted by target first where no ``ptr`` says that they are; with ``gradients`` also by source."""
    number, edge_index = None, edge_index.long().clone() if edge_index.dtype == torch.int32 else edge_index  # a kept view would keep it
    if ptr is None:
        target, order = torch.sort(edge_index[1], stable=True)
        edge_index, number = torch.stack([edge_index[0].index_select(0, order), target]), order.to(torch.int32)
        ptr = ptr_from_sorted(target, nodes)
    return Edges(plan_edges(edge_index, ptr, gradients=gradients, unsafe=True), number)


def _traced(edge_index: Tensor) -> bool:
    """Whether a compiler or a CUDA graph sees this call: nothing may be read back then, or kept."""
    if torch.compiler.is_compiling() or edge_index.is_inference():
        return True
    return edge_index.is_cuda and torch.cuda.is_current_stream_capturing()


@torch.library.custom_op("geoembed::cgconv", mutates_args=())
def _forward(
    x: Tensor, edge_attr: Tensor | None, filter: Tensor, core: Tensor, filter_bias: Tensor | None, core_bias: Tensor | None,
    edge_index: Tensor, ptr: Tensor | None, source: Tensor, target: Tensor, bounds: Tensor, order: Tensor, by_source: Tensor,
    source_bounds: Tensor, number: Tensor | None, mean: bool, residual: bool, exact: bool,
) -> tuple[Tensor, Tensor]:
    """The sums [N, C] and the projections [N, 4C] that the backward pass reads again."""
    weights = GateWeights(filter, core, filter_bias, core_bias)
    shape = Shape.of(x, edge_attr, len(source), exact)
    x, ready = x.contiguous(), packed(weights, shape)
    proj = node_products(x, ready, shape)
    plan = EdgePlan(source, target, bounds, order, by_source, source_bounds)
    return sum_messages(x, proj, edge_attr, ready, plan, number, shape, mean, residual), proj


@_forward.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0], 4 * x.shape[1])


@torch.library.custom_op("geoembed::cgconv_backward", mutates_args=())
def _backward(
    grad: Tensor, proj: Tensor, x: Tensor, edge_attr: Tensor | None, filter: Tensor, core: Tensor, filter_bias: Tensor | None,
    core_bias: Tensor | None, source: Tensor, target: Tensor, bounds: Tensor, order: Tensor, by_source: Tensor, source_bounds: Tensor,
    number: Tensor | None, mean: bool, residual: bool, exact: bool, into_edges: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, edge_attr (nothing unless ``into_edges``), both weights and both biases."""
    shape = Shape.of(x, edge_attr, len(source), exact)
    width = shape.channels
    x, grad, ready = x.contiguous(), grad.contiguous(), packed(GateWeights(filter, core, filter_bias, core_bias), shape)
    plan = EdgePlan(source, target, bounds, order, by_source, source_bounds)
    received = grad / bounds.diff().clamp(min=1).unsqueeze(1).to(grad.dtype) if mean else grad
    into_z, into_proj = gate_gradients(received, proj, edge_attr, ready, plan, number, shape)
    into_x, into_nodes = node_gradients(into_proj, x, ready, shape)
    into_x = into_x + grad if residual else into_x
    into_features, of_edges = edge_gradients(into_z, edge_attr, ready, number, shape, into_edges)
    columns = [into_nodes[: 2 * width], into_nodes[2 * width :], of_edges]
    into_filter, into_core = (torch.cat([block[gate::2] for block in columns], 1).to(x.dtype) for gate in (0, 1))
    into_bias = into_proj[:, : 2 * width].sum(0, dtype=torch.float32).to(x.dtype)
    return into_x, into_features, into_filter, into_core, into_bias[0::2].clone(), into_bias[1::2].clone()


@_backward.register_fake
def _(grad: Tensor, proj: Tensor, x: Tensor, edge_attr: Tensor | None, filter: Tensor, core: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    into_edges = rest[-1] and edge_attr is not None
    features = edge_attr.new_empty(edge_attr.shape) if into_edges and edge_attr is not None else x.new_empty(0)
    shapes = (filter.shape, core.shape, filter.shape[:1], filter.shape[:1])
    return (x.new_empty(x.shape), features, *(x.new_empty(shape) for shape in shapes))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.mean, ctx.residual, ctx.exact = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[1])


def _back(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    x, edge_attr, *maps, edge_index, ptr, source, target, bounds, order, by_source, source_bounds, number, proj = ctx.saved_tensors
    none = (None,) * 12
    if grad is None:
        return (None,) * 6 + none
    if torch.is_grad_enabled():  # somebody wants the gradient of this gradient: that of the specification
        found = _differentiable(grad, x, edge_attr, GateWeights(*maps), edge_index, ptr, ctx)
    else:
        wanted = edge_attr is not None and ctx.needs_input_grad[1]
        found = _backward(grad, proj, x, edge_attr, *maps, source, target, bounds, order, by_source, source_bounds, number,
                          ctx.mean, ctx.residual, ctx.exact, wanted)
    return (*(value if need else None for value, need in zip(found, ctx.needs_input_grad, strict=False)), *none)


def _differentiable(
    grad: Tensor, x: Tensor, edge_attr: Tensor | None, weights: GateWeights, edge_index: Tensor, ptr: Tensor | None, ctx: Any
) -> list[Tensor | None]:
    leaves = [x, edge_attr, *weights]
    used = [leaf for leaf, need in zip(leaves, ctx.needs_input_grad, strict=False) if need and leaf is not None]
    out = cgconv(x, edge_index, edge_attr, weights, ptr=ptr, mean=ctx.mean, residual=ctx.residual)
    found = iter(torch.autograd.grad(out, used, grad, create_graph=True))
    return [next(found) if need and leaf is not None else None for leaf, need in zip(leaves, ctx.needs_input_grad, strict=False)]


_forward.register_autograd(_back, setup_context=_save)


def disagreement(device: torch.device) -> str:
    """What differs from the specification in float64, forward and backward, on a ragged graph; empty where nothing does."""
    generator = torch.Generator().manual_seed(0)
    nodes, edges, width, depth = 70, 300, 32, 9
    target = torch.randint(0, nodes - 5, (edges,), generator=generator).sort().values
    edge_index = torch.stack([torch.randint(0, nodes, (edges,), generator=generator), target]).to(device)
    shapes = ((nodes, width), (edges, depth), (width, 2 * width + depth), (width, 2 * width + depth), (width,), (width,))
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.25 for shape in shapes]
    weight, ptr = torch.randn(nodes, width, generator=generator, dtype=torch.float64), ptr_from_sorted(edge_index[1], nodes)
    results = []
    for dtype, exact in ((torch.float64, True), (torch.float32, True), (torch.float16, False)):
        x, edge_attr, *maps = (value.to(device, dtype).requires_grad_() for value in values)
        if dtype == torch.float64:
            out = cgconv(x, edge_index, edge_attr, GateWeights(*maps), ptr=ptr)
        else:
            plan, number = plan_of(edge_index, nodes, ptr)
            out, _ = _forward(x, edge_attr, *maps, edge_index, ptr, *plan, number, False, True, exact)
        back = torch.autograd.grad((out * weight.to(device, dtype)).sum(), [x, edge_attr, *maps])
        results.append([value.detach().double() for value in (out, *back)])
    parts = ("sums", "x", "edge_attr", "filter", "core", "filter bias", "core bias")
    for name, tolerance, found in (("float32", 5e-6, results[1]), ("float16", 2e-2, results[2])):
        for part, value, expected in zip(parts, found, results[0], strict=True):
            error = float((value - expected).norm() / expected.norm())
            if not error <= tolerance:
                return f"{part if part == 'sums' else f'gradient of {part}'} by {error:.1e} in {name}"
    return ""


KERNEL = "triton crystal graph convolution"
backends.register_kernel(KERNEL, disagreement)
