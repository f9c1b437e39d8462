"""A stack of gated convolutions without gradients: three products and one kernel over edges a layer, nothing in between.

Weights are prepared once for a stack: first maps of sources and targets side by side, transposed, renumbered for the tile kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geoembed.ops.fused_gated import gated_sum_op
from geoembed.ops.gated_launch import FEATURES, padded, precision, prepared_for_tiles, takes_tiles, tile_sum
from geoembed.ops.gated_plan import EdgePlan


class LayerWeights(NamedTuple):
    """Maps of one layer, all (out, in): first [H, 2H + G] of an edge, second [H, H], inner [H, 2H] and outer [H, H] of a node."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor


class ReadyLayer(NamedTuple):
    """The same as the kernels read them: (in, out) and contiguous."""

    project: Tensor
    project_bias: Tensor
    fold: Tensor
    second: Tensor
    second_bias: Tensor
    tile_fold: Tensor
    tile_weight: Tensor
    tile_bias: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor


@torch.no_grad()
def ready_layer(layer: LayerWeights, tiles: bool) -> ReadyLayer:
    """Weights as the kernels read them; those of the tile kernel are empty unless it runs."""
    h = layer.second.shape[0]
    of_source, of_target, of_edge = layer.first[:, :h], layer.first[:, h : 2 * h], layer.first[:, 2 * h :]
    fold = padded(of_edge).t().contiguous()
    none = fold.new_zeros(0)
    return ReadyLayer(
        torch.cat([of_source, of_target]).t().contiguous(), torch.cat([torch.zeros_like(layer.first_bias), layer.first_bias]),
        fold, layer.second, layer.second_bias, *(prepared_for_tiles(fold, layer.second, layer.second_bias) if tiles else (none,) * 3),
        layer.inner.t().contiguous(), layer.inner_bias, layer.outer.t().contiguous(), layer.outer_bias,
    )


def node_product(
    a: Tensor, weight: Tensor, bias: Tensor, *, b: Tensor | None = None, base: Tensor | None = None, relu: bool = False
) -> Tensor:
    """[a | b] · weight + bias (+ base), rows [N, …], weight (in, out)."""
    from geoembed.ops.gated_kernels import node_rows

    nodes, columns, half = len(a), weight.shape[1], a.dtype != torch.float32
    out = a.new_empty(nodes, columns)
    second, start = a if b is None else b, a if base is None else base
    rows, width, depth = (128, min(128, columns), 64) if half else (64, min(64, columns), 32)
    width = 1 << (width - 1).bit_length()
    node_rows[(-(-nodes // rows) * -(-columns // width),)](
        out, a, a.stride(0), second, second.stride(0), weight, bias, start, start.stride(0), nodes, COLUMNS=columns, A=a.shape[1],
        B=0 if b is None else b.shape[1], ROWS=rows, WIDTH=width, DEPTH=depth, RELU=relu, BASE=base is not None,
        WIDE=nodes * max(columns, a.stride(0)) >= 2**31, PRECISION=precision(a.dtype), num_warps=8 if half else 4, num_stages=3,
    )
    return out


@torch.library.custom_op("geoembed::gated_layers", mutates_args=())
def gated_layers_op(x: Tensor, features: Tensor, weights: Sequence[Tensor], plan: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(x [N, H] before the last layer's outer map, its hidden rows u [N, H]); features [E, 16 k]; the fields of all layers in a row."""
    edges, width = EdgePlan(*plan), len(ReadyLayer._fields)
    layers = [ReadyLayer(*weights[i : i + width]) for i in range(0, len(weights), width)]
    tiles = takes_tiles(x, features, len(edges.source))
    hidden = torch.empty_like(x)
    for number, layer in enumerate(layers):
        proj = node_product(x, layer.project, layer.project_bias)
        if tiles:
            received = tile_sum(x, proj, features, (layer.tile_fold, layer.tile_weight, layer.tile_bias), edges)
        else:
            received = gated_sum_op(x, proj, features, layer.fold, layer.second, layer.second_bias, plan)
        hidden = node_product(x, layer.inner, layer.inner_bias, b=received, relu=True)
        if number + 1 < len(layers):
            x = node_product(hidden, layer.outer, layer.outer_bias, base=x)
    return x.clone() if len(layers) == 1 else x, hidden


@gated_layers_op.register_fake
def _(x: Tensor, features: Tensor, weights: Sequence[Tensor], plan: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


def gated_layers(x: Tensor, features: Tensor, layers: Sequence[ReadyLayer], plan: EdgePlan) -> tuple[Tensor, Tensor]:
    """All layers on x [N, H] and raw edge features [E, G]: (x before the last outer map, hidden rows of the last layer)."""
    wide = features if features.shape[1] % FEATURES == 0 else padded(features)
    found: tuple[Tensor, Tensor] = gated_layers_op(x, wide, [tensor for layer in layers for tensor in layer], list(plan))
    return found
