"""Triton kernels of EdgeConv on neighbor tables, imported by :mod:`geoembed.ops.fused_edgeconv` alone: this module needs Triton.

Row r of a tile is neighbor r % SLOTS of target r // SLOTS, where SLOTS is K or the power of two above: the rows of a target stand
together, so that their mean is taken in registers, in a fixed order, without atomics. Untyped, as Triton compiles these functions
itself.
"""
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls, allow-incomplete-defs

import triton
import triton.language as tl


@triton.jit
def neighbors_of(table_ptr, tile, nodes, K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr):
    """Target and source of each row of a tile, the source −1 where there is none, as int32."""
    row = tl.arange(0, ROWS)
    slot, target = row % SLOTS, tile * (ROWS // SLOTS) + row // SLOTS
    source = tl.load(table_ptr + target.to(tl.int64) * K + slot, (slot < K) & (target < nodes), -1)
    return tl.minimum(target, nodes - 1), source.to(tl.int32)


@triton.jit
def rows_of(base, row, stride, column, H: tl.constexpr, WIDTH: tl.constexpr):
    """Rows [R, WIDTH] of a matrix of H columns; int64, as rows × stride can pass 2^31."""
    at = base + row.to(tl.int64)[:, None] * stride + column[None, :]
    if H == WIDTH:
        return tl.load(at)
    else:
        return tl.load(at, (column < H)[None, :], 0.0)


@triton.jit
def vector(at, column, H: tl.constexpr):
    """Row [1, COLUMNS] of a vector of H entries."""
    return tl.load(at + column, column < H, 0.0)[None, :]


@triton.jit
def rectified_sum(a, b):
    """ReLU of a + b in their own type; of bfloat16 by one instruction a pair, which rounds once as the sum in float32 does."""
    if a.dtype == tl.bfloat16:
        return tl.inline_asm_elementwise(
            "{ .reg .b32 one; mov.b32 one, 0x3F803F80; fma.rn.relu.bf16x2 $0, $1, one, $2; }", "=r,r,r", [a, b], dtype=tl.bfloat16,
            is_pure=True, pack=2,
        )
    else:
        return tl.maximum(a + b, 0.0).to(a.dtype)


@triton.jit
def rectified(z, dtype: tl.constexpr):
    """ReLU of float32 z in the type of the next product."""
    if dtype == tl.bfloat16:
        return tl.inline_asm_elementwise("cvt.rn.relu.bf16x2.f32 $0, $2, $1;", "=r,r,r", [z], dtype=tl.bfloat16, is_pure=True, pack=2)
    else:
        return tl.maximum(z, 0.0).to(dtype)


@triton.jit
def mean_of_rows(y, source, SLOTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Mean [ROWS / SLOTS, COLUMNS] over the rows of each target that have a source; 0 where none has."""
    targets: tl.constexpr = ROWS // SLOTS
    live = source >= 0
    count = tl.sum(tl.reshape(tl.where(live, 1.0, 0.0), (targets, SLOTS)), 1)
    total = tl.sum(tl.reshape(tl.where(live[:, None], y, 0.0), (targets, SLOTS, COLUMNS)), 1)
    return total / tl.maximum(count, 1.0)[:, None]


@triton.jit
def store_with_shortcut(out_ptr, shortcut_ptr, stride, mean, tile, column, nodes, H: tl.constexpr, TARGETS: tl.constexpr):
    """ReLU of mean + shortcut into the columns of the targets of a tile."""
    target = tile * TARGETS + tl.arange(0, TARGETS)
    inside = (target < nodes)[:, None] & (column < H)[None, :]
    target = target.to(tl.int64)[:, None]
    mean += tl.load(shortcut_ptr + target * stride + column[None, :], inside, 0.0).to(tl.float32)
    tl.store(out_ptr + target * H + column[None, :], tl.maximum(mean, 0.0).to(out_ptr.dtype.element_ty), inside)


@triton.jit
def folded_mean(
    out_ptr, own_ptr, other_ptr, shortcut_ptr, stride, table_ptr, first, first_bias_ptr, second, second_bias_ptr, nodes, tiles,
    H: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):
    """relu(mean over neighbors j of relu(W₂ relu(W₁ relu(own_i + other_j) + b₁) + b₂) + shortcut_i) for every target i.

    The weights, tensor descriptors, are read once a program and stay in shared memory.
    """
    column = tl.arange(0, WIDTH)
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    w1, w2 = first.load([0, 0]).T, second.load([0, 0]).T
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        target, source = neighbors_of(table_ptr, tile, nodes, K, SLOTS, ROWS)
        own = rows_of(own_ptr, target, stride, column, H, WIDTH)
        hidden = rectified_sum(own, rows_of(other_ptr, tl.maximum(source, 0), stride, column, H, WIDTH))
        z = tl.dot(hidden, w1, input_precision=PRECISION)
        hidden = rectified(z + vector(first_bias_ptr, column, H), dtype)
        z = tl.dot(hidden, w2, input_precision=PRECISION)
        mean = mean_of_rows(tl.maximum(z + vector(second_bias_ptr, column, H), 0.0), source, SLOTS, ROWS, WIDTH)
        store_with_shortcut(out_ptr, shortcut_ptr, stride, mean, tile, column, nodes, H, ROWS // SLOTS)


@triton.jit
def folded_mean_streamed(
    out_ptr, own_ptr, other_ptr, shortcut_ptr, stride, table_ptr, first, first_bias_ptr, second, second_bias_ptr, nodes, tiles,
    H: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr, DEPTH: tl.constexpr,
    COLUMNS: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):
    """The same where both weights are more than shared memory holds: they stream through it, once a tile."""
    tile = tl.program_id(0)
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    target, source = neighbors_of(table_ptr, tile, nodes, K, SLOTS, ROWS)
    some = tl.maximum(source, 0)
    z = tl.zeros((ROWS, WIDTH), tl.float32)
    for low in tl.range(0, H, DEPTH, num_stages=STAGES):
        column = low + tl.arange(0, DEPTH)
        own = rows_of(own_ptr, target, stride, column, DEPTH, DEPTH)
        hidden = rectified_sum(own, rows_of(other_ptr, some, stride, column, DEPTH, DEPTH))
        z = tl.dot(hidden, first.load([0, low]).T, z, input_precision=PRECISION)
    hidden = rectified(z + vector(first_bias_ptr, tl.arange(0, WIDTH), H), dtype)
    for low in tl.range(0, H, COLUMNS, num_stages=STAGES):
        column = low + tl.arange(0, COLUMNS)
        y = tl.dot(hidden, second.load([low, 0]).T, input_precision=PRECISION) + vector(second_bias_ptr, column, H)
        mean = mean_of_rows(tl.maximum(y, 0.0), source, SLOTS, ROWS, COLUMNS)
        store_with_shortcut(out_ptr, shortcut_ptr, stride, mean, tile, column, nodes, H, ROWS // SLOTS)


@triton.jit
def to_unit_scale(z, eps, H: tl.constexpr):
    """Rows of z [R, WIDTH], whose columns beyond H are 0, divided by their root mean square."""
    return z * tl.rsqrt(tl.sum(z * z, 1) * (1.0 / H) + eps)[:, None]


@triton.jit
def normed_mean(
    out_ptr, own_ptr, other_ptr, stride, table_ptr, gain0_ptr, shift0_ptr, weight, bias_ptr, gain1_ptr, shift1_ptr, nodes, tiles, eps,
    H: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):
    """Mean over neighbors j of relu(norm₁(W relu(norm₀(own_i + other_j)) + b)) for every target i; norms by root mean square."""
    column = tl.arange(0, WIDTH)
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    w = weight.load([0, 0]).T
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        target, source = neighbors_of(table_ptr, tile, nodes, K, SLOTS, ROWS)
        h = rows_of(own_ptr, target, stride, column, H, WIDTH).to(tl.float32)
        h += rows_of(other_ptr, tl.maximum(source, 0), stride, column, H, WIDTH).to(tl.float32)
        h = to_unit_scale(h, eps, H) * vector(gain0_ptr, column, H) + vector(shift0_ptr, column, H)
        z = tl.dot(rectified(h, dtype), w, input_precision=PRECISION) + vector(bias_ptr, column, H)
        z = to_unit_scale(z, eps, H) * vector(gain1_ptr, column, H) + vector(shift1_ptr, column, H)
        mean = mean_of_rows(tl.maximum(z, 0.0), source, SLOTS, ROWS, WIDTH)
        at = tile * (ROWS // SLOTS) + tl.arange(0, ROWS // SLOTS)
        inside = (at < nodes)[:, None] & (column < H)[None, :]
        tl.store(out_ptr + at.to(tl.int64)[:, None] * H + column[None, :], mean.to(dtype), inside)
