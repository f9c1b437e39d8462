"""EdgeConv on a GPU for inference: one kernel from the gather of neighbors to their mean, without an [N, K, H] array in memory.

Node rows go through one product, [W_a − W_b | W_b | W_s] x. In the normed form the means that the layer norms subtract are taken out
of the weights beforehand: the norm of a centered map is a division by its root mean square. Products of float32 run in tf32 where
``torch.set_float32_matmul_precision`` allows it, else as three of tf32, which is float32 to rounding; sums are float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from geoembed.ops import backends
from geoembed.ops import edgeconv as plain
from geoembed.ops.edgeconv import EPS, Affine, FoldedWeights, NormedWeights, projection

MOST_NEIGHBORS = 64
WIDEST = 256
SHARED = 128 * 1024
"""Bytes of weights that stay in shared memory; larger ones stream through it, where a kernel does that."""


class Tile(NamedTuple):
    """How a kernel is cut: rows of a tile, warps of a program, programs a multiprocessor."""

    rows: int
    warps: int
    programs: int


def normed_edge_conv(x: Tensor, table: Tensor, weights: NormedWeights) -> Tensor:
    """:func:`geoembed.ops.edgeconv.normed_in_torch`, by the kernel where it :func:`serves` and the weights stay in shared memory."""
    second = weights.second[0]
    if _square(second) > SHARED or not serves(x, table, weights):
        return plain.normed_in_torch(x, table, weights)
    h = second.shape[0]
    projected = linear(x, *projection(_centered(weights.first), weights.shortcut))  # [N, 3H]
    mean = normed_messages(projected, table, *weights.norm0, *_centered(weights.second), *weights.norm1)
    some = (table >= 0).any(-1, keepdim=True)
    rest = projected[:, 2 * h :] + weights.last[1].where(some, 0.0)
    return torch.relu(layer_norm(torch.addmm(rest, mean, weights.last[0].T), (h,), *weights.norm2, EPS))


def folded_edge_conv(x: Tensor, table: Tensor, weights: FoldedWeights) -> Tensor:
    """:func:`geoembed.ops.edgeconv.folded_in_torch`, by the kernel where it :func:`serves`."""
    if not serves(x, table, weights):
        return plain.folded_in_torch(x, table, weights)
    projected = linear(x, *projection(weights.first, weights.shortcut))  # [N, 3H]
    out: Tensor = folded_messages(projected, table, *weights.second, *weights.third)
    return out


def serves(x: Tensor, table: Tensor, weights: NormedWeights | FoldedWeights) -> bool:
    """Whether a kernel takes x [N, F] and these H outputs: on a GPU with Triton, where no gradient is wanted.

    H is a multiple of 16, above 128 of 64; not 65 … 128 in full float32.
    """
    weight = weights.second[0]
    h = weight.shape[0]
    fits = x.dim() == 2 and 0 < table.shape[1] <= MOST_NEIGHBORS and h <= WIDEST and h % (16 if h <= WIDEST // 2 else 64) == 0
    if not fits or x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return False
    if x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest" and 64 < h <= WIDEST // 2:
        return False  # three tf32 products of both weights, kept on the chip, want more shared memory than there is
    wanted = torch.is_grad_enabled() and (x.requires_grad or any(part.requires_grad for pair in weights for part in pair))
    return not wanted and backends.runs(KERNEL, x.device)


def _centered(affine: Affine) -> Affine:
    """A linear map whose outputs have mean 0, equal to the given one but for the mean."""
    weight, bias = (part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in affine)
    return (weight - weight.mean(0)).to(affine[0].dtype), (bias - bias.mean()).to(affine[1].dtype)


@torch.library.custom_op("geoembed::folded_messages", mutates_args=())
def folded_messages(projected: Tensor, table: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """relu(mean_j relu(W₂ relu(W₁ relu(own_i + other_j) + b₁) + b₂) + shortcut_i): (own | other | shortcut) [N, 3H] -> [N, H]."""
    out = projected.new_empty(projected.shape[0], w1.shape[0])
    if out.numel():
        launch_folded(out, projected, table.contiguous(), w1.contiguous(), b1, w2.contiguous(), b2)
    return out


@torch.library.custom_op("geoembed::normed_messages", mutates_args=())
def normed_messages(
    projected: Tensor, table: Tensor, gain0: Tensor, shift0: Tensor, weight: Tensor, bias: Tensor, gain1: Tensor, shift1: Tensor
) -> Tensor:
    """mean_j relu(norm₁(W relu(norm₀(own_i + other_j)) + b)), norms by root mean square: (own | other | …) [N, ≥ 2H] -> [N, H]."""
    out = projected.new_empty(projected.shape[0], weight.shape[0])
    if out.numel():
        launch_normed(out, projected, table.contiguous(), gain0, shift0, weight.contiguous(), bias, gain1, shift1)
    return out


@folded_messages.register_fake
def _(projected: Tensor, table: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return projected.new_empty(projected.shape[0], w1.shape[0])


@normed_messages.register_fake
def _(
    projected: Tensor, table: Tensor, gain0: Tensor, shift0: Tensor, weight: Tensor, bias: Tensor, gain1: Tensor, shift1: Tensor
) -> Tensor:
    return projected.new_empty(projected.shape[0], weight.shape[0])


def launch_folded(
    out: Tensor, projected: Tensor, table: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, tile: Tile | None = None,
    depth: int = 0, stages: int = 2,
) -> None:
    """Fill ``out``; ``tile``, ``depth`` (columns of a streamed block) and ``stages`` are measured choices unless given."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from geoembed.ops.edgeconv_kernels import folded_mean, folded_mean_streamed

    h, shape = out.shape[1], _shape(out, table)
    wide, narrow = shape["WIDTH"], depth or 128 // out.element_size()
    streams = 2 * _square(w1) > SHARED
    cut = tile or _tile(wide, streams, out.element_size())
    tiles = -(-len(out) * shape["SLOTS"] // cut.rows)
    places = (out, *(projected[:, at : at + h] for at in (0, h, 2 * h)), projected.stride(0), table)
    if streams:
        first, second = TensorDescriptor.from_tensor(w1, [wide, narrow]), TensorDescriptor.from_tensor(w2, [narrow, wide])
        folded_mean_streamed[(tiles,)](*places, first, b1, second, b2, len(out), tiles, ROWS=cut.rows, DEPTH=narrow, COLUMNS=narrow,
                                       STAGES=stages, num_warps=cut.warps, **shape)
        return
    first, second = (TensorDescriptor.from_tensor(w, [wide, wide]) for w in (w1, w2))
    folded_mean[_programs(out, tiles, cut)](*places, first, b1, second, b2, len(out), tiles, ROWS=cut.rows, num_warps=cut.warps, **shape)


def launch_normed(
    out: Tensor, projected: Tensor, table: Tensor, gain0: Tensor, shift0: Tensor, weight: Tensor, bias: Tensor, gain1: Tensor,
    shift1: Tensor, tile: Tile | None = None,
) -> None:
    """Fill ``out``; ``tile`` is a measured choice unless given."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from geoembed.ops.edgeconv_kernels import normed_mean

    h, shape = out.shape[1], _shape(out, table)
    cut = tile or _tile(shape["WIDTH"], False, out.element_size())
    tiles = -(-len(out) * shape["SLOTS"] // cut.rows)
    whole = TensorDescriptor.from_tensor(weight, [shape["WIDTH"]] * 2)
    normed_mean[_programs(out, tiles, cut)](
        out, projected[:, :h], projected[:, h : 2 * h], projected.stride(0), table, gain0, shift0, whole, bias, gain1, shift1,
        len(out), tiles, EPS, ROWS=cut.rows, num_warps=cut.warps, **shape,
    )


def _square(weight: Tensor) -> int:
    """Bytes of a weight whose sides are powers of two."""
    return _power(weight.shape[0]) ** 2 * weight.element_size()


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _shape(out: Tensor, table: Tensor) -> dict[str, Any]:
    """What kernels are compiled for: widths, neighbors, and how float32 is multiplied."""
    precision = "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    h, k = out.shape[1], table.shape[1]
    return {"H": h, "WIDTH": max(16, _power(h)), "K": k, "SLOTS": _power(k), "PRECISION": precision}


def _tile(wide: int, streams: bool, size: int) -> Tile:
    if streams:
        return Tile(128 if size == 2 else 64, 8, 1)
    if wide <= 64:
        return Tile(64, 4, 4)
    return Tile(64, 8 if size == 4 or wide > 128 else 4, 2 if wide <= 128 and size == 2 else 1)


def _programs(out: Tensor, tiles: int, cut: Tile) -> tuple[int]:
    """As many programs as run at once: each reads the weights and then takes tile after tile."""
    return (min(tiles, cut.programs * _multiprocessors(out.device)),)


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def disagreement(device: torch.device) -> str:
    """What differs from float64 on a table with holes and a node alone, for three widths and both forms; empty where nothing does."""
    half = torch.bfloat16 if device.type == "cuda" else torch.float16
    for h, dtype, most in ((64, torch.float32, 2e-3), (64, half, 2e-2), (128, half, 2e-2), (256, half, 2e-2)):
        error = max(_errors(device, h, dtype))
        if not error <= most:
            return f"{h} columns of {dtype} differ from float64 by {error:.1e}"
    return ""


def _errors(device: torch.device, h: int, dtype: torch.dtype, nodes: int = 21, k: int = 3) -> tuple[float, float]:
    """Relative errors of the folded and of the normed messages on random numbers."""
    generator = torch.Generator().manual_seed(h)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    table = torch.randint(-1, nodes, (nodes, k), generator=generator).to(device)
    table[0] = -1
    projected, (w1, w2), vectors = draw(nodes, 3 * h), draw(2, h, h) / h**0.5, draw(4, h)
    folded = folded_messages(projected, table, w1, vectors[0], w2, vectors[1])
    wide = [part.double() for part in (projected, w1, w2, vectors)]
    first = _relative(folded, plain.folded_mean(wide[0], table, (wide[1], wide[3][0]), (wide[2], wide[3][1])))
    both = projected.view(nodes, 3, h)
    projected, (weight, bias) = (both - both.mean(2, keepdim=True)).view(nodes, 3 * h), _centered((w1, vectors[1]))
    normed = normed_messages(projected, table, vectors[0], vectors[1], weight, bias, vectors[2], vectors[3])
    gains = vectors.double()
    expected = plain.normed_mean(projected.double(), table, (gains[0], gains[1]), (weight.double(), bias.double()), (gains[2], gains[3]))
    return first, _relative(normed, expected)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


KERNEL = "triton edge convolution"
backends.register_kernel(KERNEL, disagreement)
