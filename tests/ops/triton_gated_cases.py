"""Run by ``test_gated_conv`` with Triton's interpreter: kernels of the gated convolution against torch in float64."""

from __future__ import annotations

import sys

import torch
from geoembed.ops import fused_gated, fused_layers, gated_plan
from geoembed.ops.gated_conv import gated_from_projections

CPU = torch.device("cpu")


def check() -> None:
    """What runs before the kernels are first used finds nothing: forward and every gradient on a ragged graph."""
    assert fused_gated.disagreement(CPU) == ""


def order() -> None:
    """The kernel puts targets of a window in the order that torch's sort gives, also in the last, short one."""
    degrees = torch.randint(0, 9, (1500,), generator=torch.Generator().manual_seed(0))
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)]).int()
    found = gated_plan.order_into(torch.full((1500,), -1, dtype=torch.int32), bounds)
    assert torch.equal(found, gated_plan.by_degree(bounds))


def half() -> None:
    """float16, a width that is no power of two, features of two blocks: the sums of float64 within its rounding."""
    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor([3, 0, 17, 1, 5] * 14)
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    n, e, h, g = len(degrees), int(ptr[-1]), 80, 32
    edge_index = torch.stack([torch.randint(n, (e,), generator=generator), torch.repeat_interleave(degrees)])
    shapes = ((n, h), (n, 2 * h), (e, g), (g, h), (h, h), (h,))
    values = [(torch.randn(shape, generator=generator) / 4).half() for shape in shapes]
    plan = gated_plan.plan_edges(edge_index, ptr, gradients=False)
    found = fused_gated.gated_sum_op(*values, list(plan))
    expected = gated_from_projections(*(value.double() for value in values), edge_index, ptr)
    assert float((found - expected).norm() / expected.norm()) < 2e-3


def nodes() -> None:
    """Products of rows with one or two left sides, with a base and with ReLU."""
    generator = torch.Generator().manual_seed(0)
    a, b, base = (torch.randn(100, width, generator=generator) for width in (48, 32, 80))
    weight, bias = torch.randn(80, 80, generator=generator), torch.randn(80, generator=generator)
    for relu in (False, True):
        found = fused_layers.node_product(a, weight, bias, b=b, base=base, relu=relu)
        expected = torch.cat([a, b], 1).double() @ weight.double() + bias.double() + base.double()
        torch.testing.assert_close(found.double(), expected.relu() if relu else expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fused_layers.node_product(a, weight[:48].contiguous(), bias), a @ weight[:48] + bias, atol=1e-4, rtol=1e-4)


if __name__ == "__main__":
    {"check": check, "order": order, "half": half, "nodes": nodes}[sys.argv[1]]()
