"""The backward pass of the gated convolution over edges as one kernel, for Hopper: companion of :mod:`geoembed.ops.gated_tile`.

For the d-th edge of each of 64 targets the hidden rows are built again and multiplied, the gradient of the gate follows, and a second
product with the same weight in shared memory takes it back to the hidden rows. Four rows for every edge are written: hidden, the
gradients of z, of x at the source, and of the hidden rows before ReLU; the last is summed over the edges of a target in registers.
Kernels are untyped, as Triton compiles them itself; this module needs Triton.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mma_v2, warpgroup_mma, warpgroup_mma_wait

from geoembed.ops.gated_tile import _rows, _tanh


@gluon.jit
def gradient_tiles(
    into_proj, hidden_out, into_z, into_message, into_hidden, grad, proj, features, fold, weight, bias, x, x_stride, sources, bounds,
    order, nodes, tiles, H: gl.constexpr, SMALL: gl.constexpr, LARGE: gl.constexpr,
):
    """Edge rows [E, H] and the half of into_proj [N, 2H] that belongs to targets; other arguments as in ``gated_tiles``.

    weight and bias are halved, as there: z' = z / 2, sigmoid = (1 + tanh z') / 2, so the second product is doubled to undo it.
    """
    T: gl.constexpr = 64
    kind: gl.constexpr = proj.dtype.element_ty
    large: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 2], [16, H // 2, 16])
    small: gl.constexpr = gl.NVMMADistributedLayout([2, 0], [4, 2], [16, 8])
    left: gl.constexpr = gl.DotOperandLayout(0, small, 2)
    right: gl.constexpr = gl.DotOperandLayout(1, small, 2)
    plain: gl.constexpr = gl.BlockedLayout([1, 8], [256 // H, H // 8], [8, 1], [1, 0])
    row, column = gl.arange(0, H, gl.SliceLayout(1, plain)), gl.arange(0, H, gl.SliceLayout(0, plain))
    w = gl.allocate_shared_memory(kind, [H, H], gl.NVMMASharedLayout.get_default_for([H, H], kind))
    w.store(gl.load(weight + row[:, None] * H + column[None, :]))
    feature = gl.arange(0, 16, gl.SliceLayout(1, plain))
    c = gl.allocate_shared_memory(kind, [16, H], gl.SwizzledSharedLayout(8, 1, 8, [1, 0]))
    c.store(gl.load(fold + feature[:, None] * H + column[None, :]))
    h = gl.allocate_shared_memory(kind, [T, H], gl.NVMMASharedLayout.get_default_for([T, H], kind))
    dz = gl.allocate_shared_memory(kind, [T, H], gl.NVMMASharedLayout.get_default_for([T, H], kind))
    lane_p, col_p = gl.arange(0, T, gl.SliceLayout(1, SMALL)), gl.arange(0, H, gl.SliceLayout(0, SMALL))
    lane_x, col_x = gl.arange(0, T, gl.SliceLayout(1, LARGE)), gl.arange(0, H, gl.SliceLayout(0, LARGE))
    lane_f, col_f = gl.arange(0, T, gl.SliceLayout(1, left)), gl.arange(0, 16, gl.SliceLayout(0, left))
    col_b = gl.arange(0, H, gl.SliceLayout(0, large))
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        start_p, degree_p, target_p, _ = _rows(tile, lane_p, order, bounds, nodes)
        start_x, degree_x, target_x, there_x = _rows(tile, lane_x, order, bounds, nodes)
        start_f, degree_f, _, _ = _rows(tile, lane_f, order, bounds, nodes)
        at_target = (target_p * (2 * H) + H)[:, None] + col_p[None, :]
        at_grad = (target_x * H)[:, None] + col_x[None, :]
        total = gl.zeros([T, H], gl.float32, large)
        for step in range(0, gl.max(degree_p, 0)):
            live_p = step < degree_p
            edge_p = gl.where(live_p, start_p + step, 0)
            source = gl.load(sources + edge_p)
            f = gl.load(features + (gl.where(step < degree_f, start_f + step, 0) * 16)[:, None] + col_f[None, :])
            both = gl.load(proj + (source * (2 * H))[:, None] + col_p[None, :]) + gl.load(proj + at_target)
            both = both.reshape([T, H // 64, 2, 4, 4, 2]).permute([0, 1, 4, 2, 3, 5]).reshape([T, H])
            folded = mma_v2(f, c.load(right), gl.zeros([T, H], gl.float32, small))
            hidden = gl.maximum(folded.to(kind) + gl.convert_layout(both, small), 0.0).to(kind)
            h.store(hidden)
            fence_async_shared()
            live = step < degree_x
            edge = gl.where(live, start_x + step, 0)
            x_rows = gl.load(x + (gl.load(sources + edge) * x_stride)[:, None] + col_x[None, :], live[:, None], 0.0)
            grads = gl.load(grad + at_grad, live[:, None], 0.0)
            z = gl.zeros([T, H], gl.float32, large) + gl.load(bias + col_b)[None, :]
            token = warpgroup_mma(h, w, z, is_async=True)
            # Hidden rows leave for memory while the product runs, in the order of their units again.
            units = hidden.reshape([T, H // 64, 4, 2, 4, 2]).permute([0, 1, 3, 4, 2, 5]).reshape([T, H])
            gl.store(hidden_out + (edge_p * H)[:, None] + col_p[None, :], gl.convert_layout(units, SMALL), live_p[:, None])
            z = warpgroup_mma_wait(0, deps=[token])
            moved = grads.reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
            half = _tanh(z)
            message = gl.convert_layout(moved, large).to(gl.float32) * (half * 0.5 + 0.5)
            at_edge = (edge * H)[:, None] + col_x[None, :]
            rounded = message.to(kind).reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
            gl.store(into_message + at_edge, gl.convert_layout(rounded, LARGE), live[:, None])
            moved = x_rows.reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
            through = (message * gl.convert_layout(moved, large).to(gl.float32) * (0.5 - half * 0.5)).to(kind)
            dz.store(through)
            fence_async_shared()
            rounded = through.reshape([T, H // 32, 4, 4, 2]).permute([0, 1, 3, 2, 4]).reshape([T, H])
            gl.store(into_z + at_edge, gl.convert_layout(rounded, LARGE), live[:, None])
            back = warpgroup_mma(dz, w.permute([1, 0]), gl.zeros([T, H], gl.float32, large), use_acc=False, is_async=True)
            back = warpgroup_mma_wait(0, deps=[back])
            back = gl.where(h.load(large).to(gl.float32) > 0, 2 * back, 0.0)  # 0 where a target has no such edge: its gradient was 0
            total += back
            units = back.to(kind).reshape([T, H // 64, 4, 2, 4, 2]).permute([0, 1, 3, 4, 2, 5]).reshape([T, H])
            gl.store(into_hidden + at_edge, gl.convert_layout(units, LARGE), live[:, None])
        units = total.to(kind).reshape([T, H // 64, 4, 2, 4, 2]).permute([0, 1, 3, 4, 2, 5]).reshape([T, H])
        out = (target_x * (2 * H) + H)[:, None] + col_x[None, :]
        gl.store(into_proj + out, gl.convert_layout(units, LARGE), there_x[:, None])
