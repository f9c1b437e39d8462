"""Triton kernels of ``ops``, imported by their launchers alone: this module needs Triton.

Untyped, as Triton compiles these functions itself and reads annotations of its own only.
"""

import triton
import triton.language as tl


@triton.jit
def vector(at):
    """Three numbers that stand one after the other."""
    return tl.load(at), tl.load(at + 1), tl.load(at + 2)


@triton.jit
def fraction_and_reach(bx, by, bz, cx, cy, cz, tx, ty, tz, scale, reach):
    """Fraction of a point along the axis across vectors b and c, and how far ``reach`` goes in fractions; scale = 1 / volume."""
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    return (tx * ux + ty * uy + tz * uz) * scale, tl.sqrt(ux * ux + uy * uy + uz * uz) * reach * tl.abs(scale)


@triton.jit
def cells_near(open_axis, fraction, reach):
    """First cell along an axis that lies near a fraction, and the one after the last: cell s holds fractions s … s + 1."""
    low = tl.where(open_axis, 0, tl.ceil(fraction - reach - 1).to(tl.int32))
    return low, tl.where(open_axis, 1, tl.floor(fraction + reach).to(tl.int32) + 1)


@triton.jit
def write_pairs(at, hit, source, target, s0, s1, s2, square, edge_ptr, shift_ptr, distance_ptr, total):
    """Rows ``at`` of the list of pairs."""
    wide = at * 0
    tl.store(edge_ptr + at, source, hit)
    tl.store(edge_ptr + total + at, target + wide, hit)
    tl.store(shift_ptr + 3 * at, s0 + wide, hit)
    tl.store(shift_ptr + 3 * at + 1, s1 + wide, hit)
    tl.store(shift_ptr + 3 * at + 2, s2 + wide, hit)
    tl.store(distance_ptr + at, tl.sqrt(square), hit)


@triton.jit
def offsets(x_ptr, row, inside, tx, ty, tz):
    """Vectors from a target to the sources of some rows."""
    near = x_ptr + 3 * row
    return tl.load(near, inside, 0.0) - tx, tl.load(near + 1, inside, 0.0) - ty, tl.load(near + 2, inside, 0.0) - tz


@triton.jit
def periodic_pairs(
    x_ptr, bounds_ptr, cell_ptr, pbc_ptr, reach_ptr, wanted_ptr, row_ptr, edge_ptr, shift_ptr, distance_ptr, total,
    FILL: tl.constexpr, BLOCK: tl.constexpr, SINGLE: tl.constexpr,
):
    """Program (crystal, site): counts the neighbors of a site, or writes them from where those of the site before end."""
    crystal, local = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first = tl.load(bounds_ptr + crystal)
    sites = (tl.load(bounds_ptr + crystal + 1) - first).to(tl.int32)
    if local < sites:
        target = first + local
        ax, ay, az = vector(cell_ptr + 9 * crystal)
        bx, by, bz = vector(cell_ptr + 9 * crystal + 3)
        cx, cy, cz = vector(cell_ptr + 9 * crystal + 6)
        tx, ty, tz = vector(x_ptr + 3 * target)
        reach = tl.load(reach_ptr + crystal)
        scale = 1.0 / (ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))
        f0, r0 = fraction_and_reach(bx, by, bz, cx, cy, cz, tx, ty, tz, scale, reach)
        f1, r1 = fraction_and_reach(cx, cy, cz, ax, ay, az, tx, ty, tz, scale, reach)
        f2, r2 = fraction_and_reach(ax, ay, az, bx, by, bz, tx, ty, tz, scale, reach)
        p0, p1, p2 = vector(pbc_ptr + 3 * crystal)
        low0, high0 = cells_near(p0 == 0, f0, r0)
        low1, high1 = cells_near(p1 == 0, f1, r1)
        low2, high2 = cells_near(p2 == 0, f2, r2)
        if tl.load(wanted_ptr + target) == 0:
            high0 = low0
        dtype: tl.constexpr = x_ptr.dtype.element_ty
        square, lane, row = (reach * reach).to(dtype), tl.arange(0, BLOCK), tl.zeros((), tl.int64)
        if FILL:
            row += tl.load(row_ptr + target - 1, target > 0, 0)
        if SINGLE:  # sources stay in registers for all images
            sx, sy, sz = offsets(x_ptr, first + lane, lane < sites, tx, ty, tz)
        for s0 in range(low0, high0):
            for s1 in range(low1, high1):
                for s2 in range(low2, high2):
                    away = lane * 0 + s0 * s0 + s1 * s1 + s2 * s2
                    ix, iy, iz = s0 * ax + s1 * bx + s2 * cx, s0 * ay + s1 * by + s2 * cy, s0 * az + s1 * bz + s2 * cz
                    for start in range(0, 1 if SINGLE else sites, BLOCK):
                        source = start + lane
                        if not SINGLE:
                            sx, sy, sz = offsets(x_ptr, first + source, source < sites, tx, ty, tz)
                        dx, dy, dz = sx + ix.to(dtype), sy + iy.to(dtype), sz + iz.to(dtype)
                        length = dx * dx + dy * dy + dz * dz
                        hit = (source < sites) & (length <= square) & ((source != local) | (away != 0))
                        number = hit.to(tl.int32)
                        if FILL:
                            at = row + tl.cumsum(number, 0) - 1
                            write_pairs(at, hit, first + source, target, s0, s1, s2, length, edge_ptr, shift_ptr, distance_ptr, total)
                        row += tl.sum(number, 0)
        if not FILL:
            tl.store(row_ptr + target, row)


@triton.jit
def squared_distances(
    x_ptr, row, first, lane, inside, period0, period1, period2, period3, P: tl.constexpr, BLOCK: tl.constexpr
):
    """Squared distances [BLOCK] of a row to the rows of its segment, by the operations of ``ops.distance`` in their order."""
    distance = tl.zeros((BLOCK,), tl.float64)
    for column in tl.static_range(P):
        own = tl.load(x_ptr + row * P + column)
        step = tl.abs(own - tl.load(x_ptr + (first + lane) * P + column, inside, 0.0))
        period = (period0 if column == 0 else period1 if column == 1 else period2 if column == 2 else period3) + own * 0.0
        step = tl.where(period > 0, tl.minimum(step, period - step), step)
        distance += step * step
    return distance


@triton.jit
def nearest_in_order(distance, lane, slots, K: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Lanes of the K smallest distances, −1 for none; of equal ones the smaller lane first."""
    found = tl.full((WIDTH,), -1, tl.int32)
    for slot in range(K):
        least = tl.min(distance, 0)
        place = tl.min(tl.where((distance == least) & (distance < float("inf")), lane, BLOCK), 0)
        found = tl.where(slots == slot, tl.where(place < BLOCK, place, -1), found)
        distance = tl.where(lane == place, float("inf"), distance)
    return found


@triton.jit
def nearest_places(
    table_ptr, x_ptr, bounds_ptr, owner_ptr, row_ptr, period0, period1, period2, period3, each,
    UNIFORM: tl.constexpr, K: tl.constexpr, WIDTH: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr,
):
    """Program of a row: its K nearest rows of the same segment. UNIFORM: all segments have ``each`` rows."""
    row = tl.program_id(0).to(tl.int64)
    if UNIFORM:
        segment = row // each
    else:
        row = tl.load(row_ptr + row)
        segment = tl.load(owner_ptr + row)
    first = tl.load(bounds_ptr + segment)
    lane, slots = tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    inside = lane < (tl.load(bounds_ptr + segment + 1) - first).to(tl.int32)
    there = inside & (first + lane != row)
    distance = squared_distances(x_ptr, row, first, lane, inside, period0, period1, period2, period3, P, BLOCK)
    distance = tl.where(there, distance, float("inf"))
    # Rounded to float32, cut short and packed with its place into 32 bits, a distance is found by one reduction. That keeps the
    # order of what it tells apart; a row in which it does not is done again in float64.
    far = tl.full((BLOCK,), float("inf"), tl.float32).to(tl.int32, bitcast=True) | lane
    key = (distance.to(tl.float32).to(tl.int32, bitcast=True) & -BLOCK) | lane
    end, before, found = tl.min(far, 0), tl.full((), -1, tl.int32), tl.full((WIDTH,), -1, tl.int32)
    doubtful = tl.max(tl.where(there & (distance > 3e38), 1, 0), 0)  # beyond what float32 holds
    for slot in range(K + 1):
        least = tl.min(key, 0)
        doubtful += (((least & -BLOCK) == before) & (least < end)).to(tl.int32)
        before = least & -BLOCK
        found = tl.where(slots == slot, tl.where(least < end, least & (BLOCK - 1), -1), found)
        key = tl.where(key == least, far, key)
    if doubtful > 0:
        found = nearest_in_order(distance, lane, slots, K, WIDTH, BLOCK)
    tl.store(table_ptr + row * K + slots, tl.where(found >= 0, first + found, -1), slots < K)


@triton.jit
def copy_runs(
    out_ptr, rows_ptr, start_ptr, bounds_ptr, add_ptr, stride, out_stride, WIDTH: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr
):
    """Program (run, line): rows from ``start`` on, WIDTH entries each, to where the run begins in the result; ADD makes them int64."""
    run, line = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    first = tl.load(bounds_ptr + run)
    size = ((tl.load(bounds_ptr + run + 1) - first) * WIDTH).to(tl.int32)
    source = rows_ptr + line * stride + tl.load(start_ptr + run) * WIDTH
    target = out_ptr + line * out_stride + first * WIDTH
    if ADD:
        more = tl.load(add_ptr + run)
    for at in range(0, size, BLOCK):
        lane = at + tl.arange(0, BLOCK)
        value = tl.load(source + lane, lane < size)
        if ADD:
            value = value.to(tl.int64) + more
        tl.store(target + lane, value, lane < size)
