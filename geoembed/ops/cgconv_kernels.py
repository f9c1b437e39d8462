"""Triton kernels of the crystal graph convolution, imported by :mod:`geoembed.ops.fused_cgconv` alone: this module needs Triton.

The two gates of a channel stand side by side: column 2c is its filter f, column 2c + 1 its core s, so that one product and one gather make
both. A program holds a tile of targets and a block of channels and walks the edges of its targets together, the first of each, then
the second, …: sums need no atomics and their order is fixed. The weights of edges are tensor descriptors, which keeps them in shared
memory through the loop. Untyped, as Triton compiles these functions itself.
"""

import triton
import triton.language as tl


@triton.jit
def place_of(index, WIDE: tl.constexpr):
    """An index in the integer that its products with a row's length need."""
    return index.to(tl.int64) if WIDE else index


@triton.jit
def high_part(a):
    """What a tf32 product sees of float32: 10 bits of the fraction."""
    return (a.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def add_product(total, a, b, b_low, THREE: tl.constexpr, CHAIN: tl.constexpr):
    """total + a · b. THREE: by three tf32 products, b given as its high part and the rest, to the error of float32.

    CHAIN adds within the products. With eight warps that would make every warp multiply all columns, so there sums are added after.
    """
    if THREE:
        high = high_part(a)
        if CHAIN:
            total = tl.dot(a - high, b, total, input_precision="tf32")
            total = tl.dot(high, b_low, total, input_precision="tf32")
            total = tl.dot(high, b, total, input_precision="tf32")
        else:  # a difference, since the compiler makes a chain of a sum
            total -= tl.dot(high - a, b, input_precision="tf32")
            total -= tl.dot(-high, b_low, input_precision="tf32")
            total -= tl.dot(-high, b, input_precision="tf32")
    elif CHAIN:
        total = tl.dot(a, b, total, input_precision="tf32")
    else:
        total -= tl.dot(-a, b, input_precision="tf32")
    return total


@triton.jit
def inverse(x, FAST: tl.constexpr):
    """1 / x for x ≥ 1 and infinity; FAST to one unit in the last place, by the hardware."""
    if FAST:
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return 1 / x


@triton.jit
def softplus(s, u, FAST: tl.constexpr):
    """log(1 + e^s) from u = e^−|s|; a short series where 1 + u would lose the digits of u."""
    if FAST:
        log = tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [1 + u], dtype=tl.float32, is_pure=True, pack=1)
        log *= 0.6931471805599453
    else:
        log = tl.log(1 + u)
    return tl.maximum(s, 0.0) + tl.where(u < 0.0078125, u * (1 - u * (0.5 - u * 0.3333333)), log)


@triton.jit
def features_of(features_ptr, edge, D: tl.constexpr, FIRST: tl.constexpr, K: tl.constexpr, WIDE: tl.constexpr):
    """Columns FIRST … FIRST + K − 1 of rows of edge features, 0 beyond the last."""
    k = FIRST + tl.arange(0, K)
    at = features_ptr + place_of(edge, WIDE)[:, None] * D + k[None, :]
    if FIRST + K <= D:
        return tl.load(at)
    else:
        return tl.load(at, (k < D)[None, :], 0.0)


@triton.jit
def tile_of(order_ptr, bounds_ptr, tile, nodes, TARGETS: tl.constexpr):
    """Targets of a tile, whether each is there, its first edge and its degree."""
    place = tile * TARGETS + tl.arange(0, TARGETS)
    there = place < nodes
    target = tl.load(order_ptr + place, there, 0)
    first = tl.load(bounds_ptr + target, there, 0)
    return target, there, first, tl.where(there, tl.load(bounds_ptr + target + 1, there, 0) - first, 0)


@triton.jit
def sum_of_messages(
    out_ptr, proj_ptr, features_ptr, high1, low1, high2, low2, x_ptr, source_ptr, number_ptr, bounds_ptr, order_ptr, nodes,
    C: tl.constexpr, CHANNELS: tl.constexpr, D: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, TARGETS: tl.constexpr,
    MEAN: tl.constexpr, RESIDUAL: tl.constexpr, WIDE: tl.constexpr, FAST: tl.constexpr, THREE: tl.constexpr, CHAIN: tl.constexpr,
):
    """Sum (MEAN: mean) over the edges of each target of sigmoid(f) · softplus(s); RESIDUAL adds x of the target.

    proj [N, 4C]: of a node as a target, bias included, then as a source. ``number``: the row of an edge's features, None for its own.
    """
    parts: tl.constexpr = C // CHANNELS
    first = (tl.program_id(0) % parts) * CHANNELS  # the parts of a tile read its edge features together
    target, there, start, degree = tile_of(order_ptr, bounds_ptr, tl.program_id(0) // parts, nodes, TARGETS)
    column, channel = 2 * first + tl.arange(0, 2 * CHANNELS), first + tl.arange(0, CHANNELS)
    at_target = proj_ptr + place_of(target, WIDE)[:, None] * (4 * C) + column[None, :]
    if K1 > 0:
        b1 = high1.load([2 * first, 0]).T
        l1 = low1.load([2 * first, 0]).T if THREE else b1
    if K2 > 0:
        b2 = high2.load([2 * first, K1]).T
        l2 = low2.load([2 * first, K1]).T if THREE else b2
    total = tl.zeros((TARGETS, CHANNELS), tl.float32)
    for step in range(0, tl.max(degree, 0)):
        live = step < degree
        edge = tl.where(live, start + step, 0)
        source = place_of(tl.load(source_ptr + edge), WIDE)
        row = edge if number_ptr is None else tl.load(number_ptr + edge)
        z = tl.load(proj_ptr + 2 * C + source[:, None] * (4 * C) + column[None, :]).to(tl.float32)
        z += tl.load(at_target, live[:, None], 0.0).to(tl.float32)  # masked, so that it is not held in registers through the loop
        if K1 > 0:
            products = tl.zeros((TARGETS, 2 * CHANNELS), tl.float32)
            if K2 > 0:
                products = add_product(products, features_of(features_ptr, row, D, K1, K2, WIDE), b2, l2, THREE, CHAIN)
            z += add_product(products, features_of(features_ptr, row, D, 0, K1, WIDE), b1, l1, THREE, CHAIN)
        f, s = tl.split(tl.reshape(z, (TARGETS, CHANNELS, 2)))
        message = softplus(s, tl.exp(-tl.abs(s)), FAST) * inverse(1 + tl.exp(-f), FAST)
        total += tl.where(live[:, None], message, 0.0)
    if MEAN:
        total /= tl.maximum(degree, 1).to(tl.float32)[:, None]
    at = place_of(target, WIDE)[:, None] * C + channel[None, :]
    if RESIDUAL:
        total += tl.load(x_ptr + at, there[:, None], 0.0).to(tl.float32)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), there[:, None])


@triton.jit
def gate_gradients(
    into_z_ptr, into_proj_ptr, grad_ptr, proj_ptr, features_ptr, high1, low1, high2, low2, source_ptr, number_ptr, bounds_ptr, order_ptr,
    nodes,
    C: tl.constexpr, CHANNELS: tl.constexpr, D: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, TARGETS: tl.constexpr,
    WIDE: tl.constexpr, FAST: tl.constexpr, THREE: tl.constexpr, CHAIN: tl.constexpr,
):
    """Gradients for both gates of every edge, into_z [E, 2C] in the order of targets, and their sums at targets: into_proj [N, 4C]."""
    parts: tl.constexpr = C // CHANNELS
    first = (tl.program_id(0) % parts) * CHANNELS
    target, there, start, degree = tile_of(order_ptr, bounds_ptr, tl.program_id(0) // parts, nodes, TARGETS)
    column, channel = 2 * first + tl.arange(0, 2 * CHANNELS), first + tl.arange(0, CHANNELS)
    at_target = proj_ptr + place_of(target, WIDE)[:, None] * (4 * C) + column[None, :]
    at_grad = grad_ptr + place_of(target, WIDE)[:, None] * C + channel[None, :]
    if K1 > 0:
        b1 = high1.load([2 * first, 0]).T
        l1 = low1.load([2 * first, 0]).T if THREE else b1
    if K2 > 0:
        b2 = high2.load([2 * first, K1]).T
        l2 = low2.load([2 * first, K1]).T if THREE else b2
    total = tl.zeros((TARGETS, 2 * CHANNELS), tl.float32)
    for step in range(0, tl.max(degree, 0)):
        live = step < degree
        edge = tl.where(live, start + step, 0)
        source = place_of(tl.load(source_ptr + edge), WIDE)
        row = edge if number_ptr is None else tl.load(number_ptr + edge)
        z = tl.load(proj_ptr + 2 * C + source[:, None] * (4 * C) + column[None, :]).to(tl.float32)
        z += tl.load(at_target, live[:, None], 0.0).to(tl.float32)
        if K1 > 0:
            products = tl.zeros((TARGETS, 2 * CHANNELS), tl.float32)
            if K2 > 0:
                products = add_product(products, features_of(features_ptr, row, D, K1, K2, WIDE), b2, l2, THREE, CHAIN)
            z += add_product(products, features_of(features_ptr, row, D, 0, K1, WIDE), b1, l1, THREE, CHAIN)
        f, s = tl.split(tl.reshape(z, (TARGETS, CHANNELS, 2)))
        u = tl.exp(-tl.abs(s))
        into = tl.load(at_grad, live[:, None], 0.0).to(tl.float32)  # 0 where there is no edge
        opened, share = inverse(1 + tl.exp(-f), FAST), inverse(1 + u, FAST)
        into *= opened
        into_f, into_s = into * softplus(s, u, FAST) * (1 - opened), into * tl.where(s > 0, share, u * share)
        both = tl.reshape(tl.join(into_f, into_s), (TARGETS, 2 * CHANNELS)).to(into_z_ptr.dtype.element_ty)
        tl.store(into_z_ptr + place_of(edge, WIDE)[:, None] * (2 * C) + column[None, :], both, live[:, None])
        total += both.to(tl.float32)
    at = into_proj_ptr + place_of(target, WIDE)[:, None] * (4 * C) + column[None, :]
    tl.store(at, total.to(into_proj_ptr.dtype.element_ty), there[:, None])


@triton.jit
def sums_at_sources(into_proj_ptr, into_z_ptr, edge_ptr, bounds_ptr, C: tl.constexpr, WIDTH: tl.constexpr):
    """Sums of into_z [E, 2C] over the edges that leave a node, in the order of ``edge``: the second half of into_proj [N, 4C]."""
    node, column = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    inside = column < 2 * C
    total = tl.zeros((WIDTH,), tl.float32)
    for place in tl.range(tl.load(bounds_ptr + node), tl.load(bounds_ptr + node + 1), loop_unroll_factor=4):
        edge = tl.load(edge_ptr + place).to(tl.int64)
        total += tl.load(into_z_ptr + edge * (2 * C) + column, inside, 0.0).to(tl.float32)
    tl.store(into_proj_ptr + node * (4 * C) + 2 * C + column, total.to(into_proj_ptr.dtype.element_ty), inside)


@triton.jit
def packed_weights(
    node_ptr, bias_out_ptr, high_ptr, low_ptr, filter_ptr, core_ptr, filter_bias_ptr, core_bias_ptr,
    C: tl.constexpr, D: tl.constexpr, DEPTH: tl.constexpr, WIDTH: tl.constexpr, THREE: tl.constexpr,
):
    """Program (channel, gate): a row of both linear maps, put where the others read it.

    node [4C, C] with bias [4C]: for a target, then for a source; high, low [2C, DEPTH]: for edge features, padded with zeros.
    """
    channel, gate = tl.program_id(0), tl.program_id(1)
    row, k = 2 * channel + gate, tl.arange(0, WIDTH)
    weight_ptr, bias_ptr = filter_ptr, filter_bias_ptr
    if gate == 1:
        weight_ptr = core_ptr
    weight_ptr += channel * (2 * C + D)
    inside = k < C
    tl.store(node_ptr + row * C + k, tl.load(weight_ptr + k, inside, 0.0), inside)
    tl.store(node_ptr + (2 * C + row) * C + k, tl.load(weight_ptr + C + k, inside, 0.0), inside)
    if bias_ptr is not None:
        if gate == 1:
            bias_ptr = core_bias_ptr
        tl.store(bias_out_ptr + row, tl.load(bias_ptr + channel))
        tl.store(bias_out_ptr + 2 * C + row, tl.zeros((), bias_out_ptr.dtype.element_ty))
    if DEPTH > 0:
        value = tl.load(weight_ptr + 2 * C + k, k < D, 0.0)
        high = value
        if THREE:
            high = high_part(value)
            tl.store(low_ptr + row * DEPTH + k, value - high, k < DEPTH)
        tl.store(high_ptr + row * DEPTH + k, high, k < DEPTH)


@triton.jit
def product_of_rows(
    out_ptr, a_ptr, b_ptr, bias_ptr, rows, columns, depth, a_stride, out_stride, b_row, b_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr,
):
    """out [rows, columns] = a [rows, depth] · b [depth, columns] + bias, in float32 by three tf32 products."""
    blocks = tl.cdiv(columns, COLUMNS)
    row = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)  # the blocks of columns read the same rows together
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    there, inside, k = row < rows, column < columns, tl.arange(0, DEPTH)
    at = a_ptr + place_of(row, WIDE)[:, None] * a_stride
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        near = start + k < depth
        a = tl.load(at + (start + k)[None, :], there[:, None] & near[None, :], 0.0)
        b = tl.load(b_ptr + (start + k)[:, None] * b_row + column[None, :] * b_column, near[:, None] & inside[None, :], 0.0)
        high = high_part(b)
        total = add_product(total, a, high, b - high, True, True)
    if bias_ptr is not None:
        total += tl.load(bias_ptr + column, inside, 0.0)[None, :]
    tl.store(out_ptr + place_of(row, WIDE)[:, None] * out_stride + column[None, :], total, there[:, None] & inside[None, :])


@triton.jit
def products_over_rows(
    part_ptr, a_ptr, b_ptr, rows, height, width, a_stride, b_stride, each,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr,
):
    """part [P, height, width]: aᵀ b over P runs of ``each`` rows, a [rows, height], b [rows, width], by three tf32 products."""
    blocks = tl.cdiv(height, HEIGHT)
    run = tl.program_id(0) // blocks
    i, j = tl.program_id(0) % blocks * HEIGHT + tl.arange(0, HEIGHT), tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    tall, wide, k = i < height, j < width, tl.arange(0, DEPTH)
    total = tl.zeros((HEIGHT, WIDTH), tl.float32)
    last = tl.minimum((run + 1) * each, rows)
    for start in range(run * each, last, DEPTH):
        row = start + k
        at, near = place_of(row, WIDE), row < last
        a = tl.load(a_ptr + at[:, None] * a_stride + i[None, :], near[:, None] & tall[None, :], 0.0)
        b = tl.load(b_ptr + at[:, None] * b_stride + j[None, :], near[:, None] & wide[None, :], 0.0)
        high = high_part(b)
        total = add_product(total, a.T, high, b - high, True, True)
    at = part_ptr + (run * height + i)[:, None] * width + j[None, :]
    tl.store(at, total, tall[:, None] & wide[None, :])
