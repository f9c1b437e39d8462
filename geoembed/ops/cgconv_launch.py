"""Launches of the kernels of the crystal graph convolution: sizes of tiles, and what of it plain torch does."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoembed.ops.cgconv import GateWeights
from geoembed.ops.gated_plan import EdgePlan

TARGETS = 64
"""Targets of a tile: the rows of one Hopper product."""
CHANNELS = 32
"""Of a program: more do not fit in registers."""
WARPS = {torch.float32: 8, torch.bfloat16: 4, torch.float16: 4}
"""Of a program, by dtype; with four the products of a step are one chain, with eight their columns are shared by two groups."""
REGISTERS: int | None = None
"""Of a thread, at most; None leaves that to the compiler."""
_RUNS = 512
"""Programs that share a sum over all rows: a number of its own, so that every card adds in the same order."""
_FAR = 2**31


class Shape(NamedTuple):
    """Sizes that launches share: channels, edge features, their two blocks of columns, whether products are exact, offsets of 64 bits."""

    channels: int
    depth: int
    first: int
    second: int
    exact: bool
    wide: bool

    @classmethod
    def of(cls, x: Tensor, edge_attr: Tensor | None, edges: int, exact: bool) -> Shape:
        """41 features are 48 with padding, which is blocks of 32 and 16 columns: a power of two would be 64."""
        depth, width = 0 if edge_attr is None else edge_attr.shape[1], x.shape[1]
        padded = -(-depth // 16) * 16
        first = 1 << (padded.bit_length() - 1) if padded else 0
        second = 1 << (padded - first - 1).bit_length() if padded > first else 0
        return cls(width, depth, first, second, exact, max(edges * max(2 * width, depth), 4 * x.shape[0] * width) >= _FAR)

    @property
    def block(self) -> int:
        """Channels of a program."""
        return CHANNELS if self.channels % CHANNELS == 0 else 16

    def constants(self, x: Tensor) -> dict[str, Any]:
        """What kernels over tiles are compiled for."""
        warps, limit = WARPS[x.dtype], {} if REGISTERS is None else {"maxnreg": REGISTERS}
        return {"C": self.channels, "CHANNELS": self.block, "D": self.depth, "K1": self.first, "K2": self.second, "TARGETS": TARGETS,
                "WIDE": self.wide, "FAST": x.is_cuda, "THREE": self.exact, "CHAIN": warps == 4,
                "num_warps": warps, "num_stages": 1, **limit}


class Packed(NamedTuple):
    """Weights as kernels read them: for nodes [4C, C] with bias [4C] or None, for edge features their high part and rest [2C, K]."""

    nodes: Tensor
    bias: Tensor | None
    high: Tensor
    low: Tensor


def packed(weights: GateWeights, shape: Shape) -> Packed:
    """Both linear maps, filter and core of a channel side by side."""
    from geoembed.ops.cgconv_kernels import packed_weights

    filter, core = weights.filter.contiguous(), weights.core.contiguous()
    width, columns = shape.channels, shape.first + shape.second
    has_bias = weights.filter_bias is not None and weights.core_bias is not None
    bias = filter.new_empty(4 * width) if has_bias else None
    nodes, high = filter.new_empty(4 * width, width), filter.new_empty(2 * width, columns)
    low = torch.empty_like(high) if shape.exact else high
    block = 1 << (max(width, columns, 16) - 1).bit_length()
    packed_weights[(width, 2)](
        nodes, bias, high, low, filter, core, weights.filter_bias if has_bias else None, weights.core_bias if has_bias else None,
        C=width, D=shape.depth, DEPTH=columns, WIDTH=block, THREE=shape.exact, num_warps=1,
    )
    return Packed(nodes, bias, high, low)


def node_products(x: Tensor, ready: Packed, shape: Shape) -> Tensor:
    """Projections [N, 4C] of x [N, C]: of a node as a target, then as a source."""
    if shape.exact:
        return product(x, ready.nodes.t(), ready.bias, shape)
    return x @ ready.nodes.t() if ready.bias is None else torch.addmm(ready.bias, x, ready.nodes.t())


def node_gradients(into_proj: Tensor, x: Tensor, ready: Packed, shape: Shape) -> tuple[Tensor, Tensor]:
    """Gradients of x [N, C] and of the weights for nodes [4C, C]."""
    if shape.exact:
        return product(into_proj, ready.nodes, None, shape), product_over_rows(into_proj, x, shape)
    return into_proj @ ready.nodes, into_proj.t() @ x


def product(a: Tensor, b: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """a [R, K] · b [K, J] + bias in float32, by three tf32 products."""
    from geoembed.ops.cgconv_kernels import product_of_rows

    rows, columns = len(a), b.shape[1]
    out = a.new_empty(rows, columns)
    block = min(128, max(16, 1 << (columns - 1).bit_length()))
    product_of_rows[(-(-rows // 128) * -(-columns // block),)](
        out, a, b, bias, rows, columns, a.shape[1], a.stride(0), out.stride(0), b.stride(0), b.stride(1), ROWS=128, COLUMNS=block, DEPTH=32,
        WIDE=shape.wide, num_warps=8 if block > 64 else 4, num_stages=1,
    )
    return out


def product_over_rows(a: Tensor, b: Tensor, shape: Shape) -> Tensor:
    """aᵀ b [M, J] of a [R, M] and b [R, J] in float32, by three tf32 products; parts are added in a fixed order."""
    from geoembed.ops.cgconv_kernels import products_over_rows

    rows, height, width = len(a), a.shape[1], b.shape[1]
    tall, wide = -(-height // 64), min(64, max(16, 1 << (width - 1).bit_length()))
    runs = max(1, min(_RUNS // tall, -(-rows // 64)))
    each = -(-rows // (runs * 64)) * 64
    parts = a.new_empty(runs, height, width)
    products_over_rows[(runs * tall, -(-width // wide))](
        parts, a, b, rows, height, width, a.stride(0), b.stride(0), each, HEIGHT=64, WIDTH=wide, DEPTH=64, WIDE=shape.wide, num_warps=4,
        num_stages=1,
    )
    return parts.sum(0)


def sum_messages(
    x: Tensor, proj: Tensor, edge_attr: Tensor | None, ready: Packed, plan: EdgePlan, number: Tensor | None, shape: Shape, mean: bool,
    residual: bool,
) -> Tensor:
    """The sums or means [N, C] of messages at targets, ``residual``: and x."""
    from geoembed.ops.cgconv_kernels import sum_of_messages

    if not len(plan.source):
        return x.clone() if residual else torch.zeros_like(x)
    out, tiles = torch.empty_like(x), -(-len(x) // TARGETS)
    sum_of_messages[(tiles * (shape.channels // shape.block),)](
        out, proj, _features(edge_attr, x), *_blocks(ready, shape), x, plan.source, number, plan.bounds, plan.order, len(x),
        MEAN=mean, RESIDUAL=residual, **shape.constants(x),
    )
    return out


def gate_gradients(
    grad: Tensor, proj: Tensor, edge_attr: Tensor | None, ready: Packed, plan: EdgePlan, number: Tensor | None, shape: Shape
) -> tuple[Tensor, Tensor]:
    """Gradients of both gates [E, 2C], edges in the order of targets, and of the projections [N, 4C]."""
    from geoembed.ops import cgconv_kernels as kernels

    edges, width = len(plan.source), shape.channels
    into_z, into_proj = grad.new_empty(edges, 2 * width), torch.empty_like(proj)
    if not edges:
        return into_z, into_proj.zero_()
    kernels.gate_gradients[(-(-len(grad) // TARGETS) * (width // shape.block),)](
        into_z, into_proj, grad, proj, _features(edge_attr, grad), *_blocks(ready, shape), plan.source, number, plan.bounds, plan.order,
        len(grad), **shape.constants(grad),
    )
    kernels.sums_at_sources[(len(grad),)](into_proj, into_z, plan.by_source, plan.source_bounds, C=width,
                                          WIDTH=1 << (2 * width - 1).bit_length(), num_warps=1)
    return into_z, into_proj


def edge_gradients(
    into_z: Tensor, edge_attr: Tensor | None, ready: Packed, number: Tensor | None, shape: Shape, into_edges: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the edge features [E, D], nothing unless ``into_edges``, and of their weights [2C, D]."""
    if edge_attr is None or not shape.depth or not len(into_z):
        none = into_z.new_zeros(2 * shape.channels, shape.depth)
        return into_z.new_zeros(0 if edge_attr is None or not into_edges else edge_attr.shape), none
    features = edge_attr.contiguous() if number is None else edge_attr.index_select(0, number)
    of_weights = product_over_rows(into_z, features, shape) if shape.exact else into_z.t() @ features
    if not into_edges:
        return into_z.new_empty(0), of_weights
    weight = (ready.high + ready.low if shape.exact else ready.high)[:, : shape.depth]
    of_features = product(into_z, weight, None, shape) if shape.exact else into_z @ weight
    return of_features if number is None else torch.empty_like(of_features).index_copy_(0, number.long(), of_features), of_weights


def _features(edge_attr: Tensor | None, other: Tensor) -> Tensor:
    return other if edge_attr is None else edge_attr.contiguous()


def _blocks(ready: Packed, shape: Shape) -> list[Any]:
    """Tensor descriptors of both blocks of columns, high part and rest; None where there is no such block."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    blocks: list[Any] = []
    for columns in (shape.first, shape.second):
        size = [2 * shape.block, columns]
        blocks += [TensorDescriptor.from_tensor(part, size) if columns else None for part in (ready.high, ready.low)]
    return blocks
