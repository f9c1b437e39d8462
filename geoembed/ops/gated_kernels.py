"""Triton kernels of the gated convolution, imported by launchers alone: this module needs Triton.

Edges are sorted by target, ``ptr`` bounds those of a target. A program that sums over edges holds a tile of targets and walks them
together, the first edge of each, then the second, …: sums need no atomics and their order is fixed. ``order`` puts targets of
similar degree beside each other. Untyped, as Triton compiles these functions itself.
"""

import triton
import triton.language as tl


@triton.jit
def rows_of(base, row, stride, column, H: tl.constexpr, FULL: tl.constexpr):
    """Rows [R, columns] of a matrix; masked only where the columns of the block are more than those of the matrix."""
    at = base + row[:, None] * stride + column[None, :]
    if FULL:
        return tl.load(at)
    else:
        return tl.load(at, (column < H)[None, :], 0.0)


@triton.jit
def place_of(index, WIDE: tl.constexpr):
    """An index in the integer that its products with a row's length need."""
    return index.to(tl.int64) if WIDE else index


@triton.jit
def factor(rows, PRECISION: tl.constexpr):
    """A side of a product; float32 rounded to tf32 where that is how it is multiplied, as the hardware would only cut it short."""
    if PRECISION == "tf32" and rows.dtype == tl.float32:
        bits = rows.to(tl.int32, bitcast=True)
        return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    else:
        return rows


@triton.jit
def gate(z, FAST: tl.constexpr):
    """Sigmoid; FAST by the hardware's tanh, 4e-6 off at most and twice as fast."""
    if FAST:
        half = tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [z * 0.5], dtype=tl.float32, is_pure=True, pack=1)
        return half * 0.5 + 0.5
    else:
        return 1 / (1 + tl.exp(-z))


@triton.jit
def order_by_degree(order_ptr, ptr_ptr, nodes, WINDOW: tl.constexpr, LOW: tl.constexpr):
    """Targets of a window by falling degree, equal ones in their order: [WINDOW] of ``order``."""
    lane = tl.arange(0, WINDOW)
    node = tl.program_id(0) * WINDOW + lane
    there = node < nodes
    first = tl.load(ptr_ptr + node, there, 0)
    degree = tl.load(ptr_ptr + node + 1, there, 0) - first
    most = (1 << (31 - LOW)) - 1
    key = (tl.where(there, most - tl.minimum(degree, most - 1), most) << LOW) | lane
    tl.store(order_ptr + node, tl.program_id(0) * WINDOW + (tl.sort(key) & (WINDOW - 1)), there)


@triton.jit
def targets_of(tile, order_ptr, bounds_ptr, nodes, TARGETS: tl.constexpr):
    """Targets of a tile: number, presence, first edge and degree."""
    place = tile * TARGETS + tl.arange(0, TARGETS)
    there = place < nodes
    target = tl.load(order_ptr + place, there, 0)
    start = tl.load(bounds_ptr + target, there, 0)
    return target, there, start, tl.where(there, tl.load(bounds_ptr + target + 1, there, 0) - start, 0)


@triton.jit
def hidden_rows(
    out_ptr, proj_ptr, features_ptr, fold_ptr, source_ptr, target_ptr, edges,
    H: tl.constexpr, WIDTH: tl.constexpr, G: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):
    """ReLU of (projection of the source + that of the target + features · fold) for ROWS edges: out [E, H], proj [N, 2H]."""
    full: tl.constexpr = H == WIDTH
    edge = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = edge < edges
    edge = tl.minimum(edge, edges - 1)
    column, feature = tl.arange(0, WIDTH), tl.arange(0, G)
    source = place_of(tl.load(source_ptr + edge), WIDE)
    target = place_of(tl.load(target_ptr + edge), WIDE)
    fold = tl.load(fold_ptr + feature[:, None] * H + column[None, :], (column < H)[None, :], 0.0)
    at = place_of(edge, WIDE)
    features = factor(tl.load(features_ptr + at[:, None] * G + feature[None, :]), PRECISION)
    hidden = tl.dot(features, factor(fold, PRECISION), input_precision=PRECISION)
    hidden += rows_of(proj_ptr, source, 2 * H, column, H, full)
    hidden += rows_of(proj_ptr + H, target, 2 * H, column, H, full)
    both = there[:, None] & (column < H)[None, :]
    tl.store(out_ptr + at[:, None] * H + column[None, :], tl.maximum(hidden, 0.0).to(out_ptr.dtype.element_ty), both)


@triton.jit
def sum_of_gated(
    out_ptr, out_stride, hidden_ptr, weight, bias_ptr, x_ptr, x_stride, source_ptr, bounds_ptr, order_ptr, nodes,
    H: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, TARGETS: tl.constexpr, WIDE: tl.constexpr, FAST: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):
    """Sum over the edges of each target of x of the source · sigmoid(hidden · weight + bias), COLUMNS columns a program.

    ``weight`` is a tensor descriptor: its block stays in shared memory through the loop, which a plain load does not do. Targets with
    fewer edges than the tile's longest read row 0 meanwhile, and add nothing.
    """
    full: tl.constexpr = H == WIDTH
    parts: tl.constexpr = (H + COLUMNS - 1) // COLUMNS
    tile, first = tl.program_id(0) // parts, (tl.program_id(0) % parts) * COLUMNS  # the parts of a tile read its rows together
    target, there, start, degree = targets_of(tile, order_ptr, bounds_ptr, nodes, TARGETS)
    column, wide = first + tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    block = factor(weight.load([0, first]), PRECISION)
    bias = tl.load(bias_ptr + column, column < H, 0.0)
    total = tl.zeros((TARGETS, COLUMNS), tl.float32)
    for step in tl.range(0, tl.max(degree, 0), num_stages=STAGES):
        live = step < degree
        edge = tl.where(live, start + step, 0)
        source = place_of(tl.load(source_ptr + edge), WIDE)
        x = rows_of(x_ptr, source, x_stride, column, H, full)
        hidden = rows_of(hidden_ptr, place_of(edge, WIDE), H, wide, H, full)
        z = tl.dot(factor(hidden, PRECISION), block, input_precision=PRECISION)
        message = x.to(tl.float32) * gate(z + bias[None, :], FAST)
        total += tl.where(live[:, None], message, 0.0)
    out = out_ptr + place_of(target, WIDE)[:, None] * out_stride + column[None, :]
    tl.store(out, total.to(out_ptr.dtype.element_ty), there[:, None] & (column < H)[None, :])


@triton.jit
def gate_gradients(
    into_message_ptr, into_z_ptr, hidden_ptr, weight, bias_ptr, x_ptr, x_stride, grad_ptr, source_ptr, target_ptr, edges,
    H: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr, FAST: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """For ROWS edges: gradient · gate (for x of the source) and gradient · x · gate · (1 − gate) (for z)."""
    full: tl.constexpr = H == WIDTH
    parts: tl.constexpr = (H + COLUMNS - 1) // COLUMNS
    block, first = tl.program_id(0) // parts, (tl.program_id(0) % parts) * COLUMNS
    edge = block * ROWS + tl.arange(0, ROWS)
    there = edge < edges
    edge = tl.minimum(edge, edges - 1)
    column, wide = first + tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    source = place_of(tl.load(source_ptr + edge), WIDE)
    target = place_of(tl.load(target_ptr + edge), WIDE)
    at = place_of(edge, WIDE)
    hidden = rows_of(hidden_ptr, at, H, wide, H, full)
    z = tl.dot(factor(hidden, PRECISION), factor(weight.load([0, first]), PRECISION), input_precision=PRECISION)
    opened = gate(z + tl.load(bias_ptr + column, column < H, 0.0)[None, :], FAST)
    message = rows_of(grad_ptr, target, H, column, H, full).to(tl.float32) * opened
    both = there[:, None] & (column < H)[None, :]
    at = at[:, None] * H + column[None, :]
    tl.store(into_message_ptr + at, message.to(into_message_ptr.dtype.element_ty), both)
    into_z = message * rows_of(x_ptr, source, x_stride, column, H, full).to(tl.float32) * (1 - opened)
    tl.store(into_z_ptr + at, into_z.to(into_z_ptr.dtype.element_ty), both)


@triton.jit
def column_parts(
    out_ptr, rows_ptr, rows, H: tl.constexpr, WIDTH: tl.constexpr, EACH: tl.constexpr, ROWS: tl.constexpr
):
    """Sums of the columns of each EACH rows, in float32: out [parts, H]."""
    column, lane = tl.arange(0, WIDTH), tl.arange(0, ROWS)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for first in range(0, EACH, ROWS):
        row = tl.program_id(0).to(tl.int64) * EACH + first + lane
        there = (row < rows)[:, None] & (column < H)[None, :]
        total += tl.load(rows_ptr + row[:, None] * H + column[None, :], there, 0.0).to(tl.float32)
    tl.store(out_ptr + tl.program_id(0).to(tl.int64) * H + column, tl.sum(total, 0), column < H)


@triton.jit
def hidden_gradients(
    into_hidden_ptr, into_target_ptr, hidden_ptr, into_z_ptr, weight, bounds_ptr, order_ptr, nodes,
    H: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, TARGETS: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """(gradient of z · weight) where hidden > 0, and its sum over the edges of each target."""
    full: tl.constexpr = H == WIDTH
    parts: tl.constexpr = (H + COLUMNS - 1) // COLUMNS
    tile, first = tl.program_id(0) // parts, (tl.program_id(0) % parts) * COLUMNS
    target, there, start, degree = targets_of(tile, order_ptr, bounds_ptr, nodes, TARGETS)
    column, wide = first + tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    block = factor(weight.load([0, first]), PRECISION)
    total = tl.zeros((TARGETS, COLUMNS), tl.float32)
    for step in tl.range(0, tl.max(degree, 0), num_stages=STAGES):
        live = step < degree
        edge = place_of(tl.where(live, start + step, 0), WIDE)
        back = tl.dot(factor(rows_of(into_z_ptr, edge, H, wide, H, full), PRECISION), block, input_precision=PRECISION)
        at, both = edge[:, None] * H + column[None, :], live[:, None] & (column < H)[None, :]
        hidden = tl.load(hidden_ptr + at, both, 0.0)  # 0 where there is no edge, so that nothing is added
        back = tl.where(hidden > 0, back, 0.0).to(into_hidden_ptr.dtype.element_ty)
        tl.store(into_hidden_ptr + at, back, both)
        total += back.to(tl.float32)
    out = into_target_ptr + place_of(target, WIDE)[:, None] * (2 * H) + H + column[None, :]
    tl.store(out, total.to(into_target_ptr.dtype.element_ty), there[:, None] & (column < H)[None, :])


@triton.jit
def sums_at_sources(
    into_x_ptr, into_proj_ptr, into_message_ptr, into_hidden_ptr, edge_ptr, bounds_ptr, H: tl.constexpr, WIDTH: tl.constexpr
):
    """Sums of two edge arrays over the edges that leave a node, in the order of ``edge``: into_x [N, H], into_proj [N, 2H]."""
    node, column = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    inside = column < H
    message, hidden = tl.zeros((WIDTH,), tl.float32), tl.zeros((WIDTH,), tl.float32)
    for place in range(tl.load(bounds_ptr + node), tl.load(bounds_ptr + node + 1)):
        at = tl.load(edge_ptr + place).to(tl.int64) * H + column
        message += tl.load(into_message_ptr + at, inside, 0.0).to(tl.float32)
        hidden += tl.load(into_hidden_ptr + at, inside, 0.0).to(tl.float32)
    tl.store(into_x_ptr + node * H + column, message.to(into_x_ptr.dtype.element_ty), inside)
    tl.store(into_proj_ptr + node * (2 * H) + column, hidden.to(into_proj_ptr.dtype.element_ty), inside)


@triton.jit
def node_rows(
    out_ptr, a_ptr, a_stride, b_ptr, b_stride, weight_ptr, bias_ptr, base_ptr, base_stride, nodes,
    COLUMNS: tl.constexpr, A: tl.constexpr, B: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr,
    RELU: tl.constexpr, BASE: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):
    """[a | b] · weight + bias (+ base), with or without ReLU: out [N, COLUMNS], a [N, A], b [N, B], weight [A + B, COLUMNS]."""
    parts: tl.constexpr = (COLUMNS + WIDTH - 1) // WIDTH
    row = (tl.program_id(0) // parts) * ROWS + tl.arange(0, ROWS)
    column, deep = (tl.program_id(0) % parts) * WIDTH + tl.arange(0, WIDTH), tl.arange(0, DEPTH)
    there, inside = row < nodes, column < COLUMNS
    row = place_of(tl.minimum(row, nodes - 1), WIDE)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for first in range(0, A, DEPTH):
        k = first + deep
        left = tl.load(a_ptr + row[:, None] * a_stride + k[None, :], (k < A)[None, :], 0.0)
        right = tl.load(weight_ptr + k[:, None] * COLUMNS + column[None, :], (k < A)[:, None] & inside[None, :], 0.0)
        total = tl.dot(factor(left, PRECISION), factor(right, PRECISION), total, input_precision=PRECISION)
    for first in range(0, B, DEPTH):
        k = first + deep
        left = tl.load(b_ptr + row[:, None] * b_stride + k[None, :], (k < B)[None, :], 0.0)
        right = tl.load(weight_ptr + (A + k)[:, None] * COLUMNS + column[None, :], (k < B)[:, None] & inside[None, :], 0.0)
        total = tl.dot(factor(left, PRECISION), factor(right, PRECISION), total, input_precision=PRECISION)
    total += tl.load(bias_ptr + column, inside, 0.0).to(tl.float32)[None, :]
    both = there[:, None] & inside[None, :]
    if BASE:
        total += tl.load(base_ptr + row[:, None] * base_stride + column[None, :], both, 0.0).to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    tl.store(out_ptr + row[:, None] * COLUMNS + column[None, :], total.to(out_ptr.dtype.element_ty), both)
