"""Triton kernels of sums over segments, imported by :mod:`geoembed.ops.fused_segment` alone: this module needs Triton.

A segment of at most PIECE rows is one program's, which adds its rows in their order. Longer ones are cut where rows divide by PIECE:
the program of a piece searches ``ptr`` for the long segments that reach into its rows, two at most, so that the host needs to know
neither which segments are long nor how long, and no program walks far. Untyped, as Triton compiles these functions itself.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls, no-check-untyped-defs

import triton
import triton.language as tl


@triton.jit
def bounds_of(ptr_ptr, segment, rows):
    """First row of a segment and the one after its last, within the rows there are whatever ``ptr`` says."""
    first, last = tl.load(ptr_ptr + segment).to(tl.int64), tl.load(ptr_ptr + segment + 1).to(tl.int64)
    return tl.maximum(first, 0), tl.minimum(last, rows)


@triton.jit
def segment_of(ptr_ptr, row, segments, FAN: tl.constexpr):
    """The segment that holds a row: a search that looks at FAN bounds at once, two or three loads for any graph."""
    low = row * 0
    width = low + segments
    lane = tl.arange(0, FAN)
    while width > 1:
        step = (width + FAN - 1) // FAN
        at = (lane + 1) * step
        before = (at < width) & (tl.load(ptr_ptr + low + at, at < width, 0) <= row)
        skipped = tl.sum(before.to(tl.int64), 0) * step
        low += skipped
        width = tl.minimum(step, width - skipped)
    return low


@triton.jit
def long_segments(ptr_ptr, piece, rows, segments, PIECE: tl.constexpr, FAN: tl.constexpr):
    """What long segments have in a piece: of the one that comes from before (its number or −1, last row + 1), then of the one that begins
    in it (number or −1, first row); both numbers −1 where there is none. The others of these rows are short."""
    low = piece * PIECE
    high = tl.minimum(low + PIECE, rows)
    head, tail = segment_of(ptr_ptr, low, segments, FAN), segment_of(ptr_ptr, high - 1, segments, FAN)
    first, last = bounds_of(ptr_ptr, head, rows)
    head = tl.where((last - first > PIECE) & (first < low), head, -1)
    end = tl.minimum(last, high)
    first, last = bounds_of(ptr_ptr, tail, rows)
    return low, head, end, tl.where((last - first > PIECE) & (first >= low), tail, -1), first, high


@triton.jit
def rows_at(x_ptr, row, last, stride, column, F: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr):
    """Rows [LANES, columns] from ``row`` on, 0 from ``last`` on; no mask where none is needed, so that loads stay wide."""
    at = row + tl.arange(0, LANES)
    place = x_ptr + at[:, None] * stride + column[None, :]
    if LANES == 1 and F % WIDTH == 0:
        return tl.load(place)
    else:
        return tl.load(place, (at < last)[:, None] & (column < F)[None, :], 0.0)


@triton.jit
def sum_rows(
    x_ptr, first, last, stride, column, F: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr
):
    """Σ of rows first … last − 1 in this order, LANES rows side by side; UNROLL loads are under way at once."""
    total = tl.zeros((LANES, WIDTH), WIDE)
    for row in tl.range(first, last, LANES, loop_unroll_factor=UNROLL):
        total += rows_at(x_ptr, row, last, stride, column, F, WIDTH, LANES).to(WIDE)
    return tl.sum(total, 0)


@triton.jit
def mean_of(total, rows, MEAN: tl.constexpr):
    """The sum, or where MEAN its quotient by a number of rows, rounded as torch does."""
    if MEAN:
        count = tl.zeros_like(total) + tl.maximum(rows, 1).to(total.dtype)
        return total / count if total.dtype == tl.float64 else tl.div_rn(total, count)
    else:
        return total


@triton.jit
def sum_of_segments(
    out_ptr, part_ptr, begun_ptr, x_ptr, ptr_ptr, lead_stride, stride, rows, segments, pieces,
    F: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr, PIECE: tl.constexpr, MEAN: tl.constexpr, FAN: tl.constexpr,
):
    """Program (piece or segment, columns, lead): the sum of a short segment, or those of what long segments have in a piece.

    part [lead, pieces, 2, F]: of the long segment that comes from before and of the one that begins; begun [pieces]: the latter, or −1.
    """
    wide: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    program, lead = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x_ptr += lead * lead_stride
    if program < pieces:  # these are the longest: they begin first
        low, head, end, begun, first, high = long_segments(ptr_ptr, program, rows, segments, PIECE, FAN)
        at = part_ptr + (lead * pieces + program) * (2 * F) + column
        if head >= 0:
            tl.store(at, sum_rows(x_ptr, low, end, stride, column, F, WIDTH, LANES, 8, wide), column < F)
        if begun >= 0:
            tl.store(at + F, sum_rows(x_ptr, first, high, stride, column, F, WIDTH, LANES, 8, wide), column < F)
        tl.store(begun_ptr + program, begun)  # all columns and leads write the same
    else:
        segment = program - pieces
        first, last = bounds_of(ptr_ptr, segment, rows)
        if last - first <= PIECE:
            total = mean_of(sum_rows(x_ptr, first, last, stride, column, F, WIDTH, LANES, 4, wide), last - first, MEAN)
            tl.store(out_ptr + (lead * segments + segment) * F + column, total.to(out_ptr.dtype.element_ty), column < F)


@triton.jit
def sum_of_pieces(
    out_ptr, part_ptr, begun_ptr, ptr_ptr, rows, segments, pieces,
    F: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr, PIECE: tl.constexpr, MEAN: tl.constexpr,
):
    """Program (piece, columns, lead): the sum of the long segment that begins in a piece, from its parts in a fixed order."""
    piece, lead = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    segment = tl.load(begun_ptr + piece)
    if segment >= 0:
        column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
        first, last = bounds_of(ptr_ptr, segment, rows)
        part_ptr += lead * pieces * (2 * F)
        total = sum_rows(part_ptr, piece + 1, (last + PIECE - 1) // PIECE, 2 * F, column, F, WIDTH, LANES, 2, part_ptr.dtype.element_ty)
        total += tl.load(part_ptr + piece * (2 * F) + F + column, column < F, 0.0)
        total = mean_of(total, last - first, MEAN)
        tl.store(out_ptr + (lead * segments + segment) * F + column, total.to(out_ptr.dtype.element_ty), column < F)


@triton.jit
def copy_to_rows(x_ptr, y_ptr, segment, stride, size, first, last, column, F: tl.constexpr, LANES: tl.constexpr, MEAN: tl.constexpr):
    """Row ``segment`` of y, or its quotient by ``size``, written to rows first … last − 1."""
    wide: tl.constexpr = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    value = tl.load(y_ptr + segment * stride + column, column < F, 0.0).to(wide)
    value = mean_of(value, size, MEAN).to(x_ptr.dtype.element_ty)[None, :] + tl.zeros((LANES, 1), x_ptr.dtype.element_ty)
    for row in range(first, last, LANES):
        at = row + tl.arange(0, LANES)
        tl.store(x_ptr + at[:, None] * F + column[None, :], value, (at < last)[:, None] & (column < F)[None, :])


@triton.jit
def rows_of_segments(
    x_ptr, y_ptr, ptr_ptr, lead_stride, stride, rows, segments, pieces,
    F: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr, PIECE: tl.constexpr, MEAN: tl.constexpr, FAN: tl.constexpr,
):
    """Program (piece or segment, columns, lead): each row of a segment is the segment's row of y; MEAN divides it by their number."""
    program, lead = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x_ptr += lead * rows * F
    y_ptr += lead * lead_stride
    if program < pieces:
        low, head, end, begun, first, high = long_segments(ptr_ptr, program, rows, segments, PIECE, FAN)
        if head >= 0:
            start, stop = bounds_of(ptr_ptr, head, rows)
            copy_to_rows(x_ptr, y_ptr, head, stride, stop - start, low, end, column, F, LANES, MEAN)
        if begun >= 0:
            start, stop = bounds_of(ptr_ptr, begun, rows)
            copy_to_rows(x_ptr, y_ptr, begun, stride, stop - start, first, high, column, F, LANES, MEAN)
    else:
        segment = program - pieces
        first, last = bounds_of(ptr_ptr, segment, rows)
        if last - first <= PIECE:
            copy_to_rows(x_ptr, y_ptr, segment, stride, last - first, first, last, column, F, LANES, MEAN)
