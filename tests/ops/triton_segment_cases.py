"""Run by ``test_fused_segment`` and ``test_cgconv`` with Triton's interpreter: kernels against torch; prints what differs."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
import torch
from geoembed.errors import ValueRangeError
from geoembed.ops import GateWeights, cgconv, cgconv_launch, fused_segment, ptr_from_sorted, segment_mean, segment_sum

fused_cgconv = import_module("geoembed.ops.fused_cgconv")


def bounds(*sizes: int) -> torch.Tensor:
    return torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()])


RAGGED = {  # pieces have 8 rows here
    "short and empty": bounds(0, 3, 0, 0, 8, 1, 0),
    "one long from the first row": bounds(21),
    "long ones back to back, off the grid": bounds(5, 0, 12, 9, 8, 0, 27, 1),
    "long ones on the grid": bounds(8, 16, 8, 0, 24),
    "no rows": bounds(0, 0),
}


def sums() -> None:
    """Every raggedness, narrow and odd widths, leading axes, strides, dtypes: the sums and means of the specification."""
    generator = torch.Generator().manual_seed(0)
    for name, ptr in RAGGED.items():
        rows = int(ptr[-1])
        for number, (shape, dtype) in enumerate((((rows, 1), torch.float64), ((2, rows, 5), torch.float32), ((rows, 48), torch.float16), ((rows, 300), torch.float32))):
            x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
            mean = number % 2 == 1
            tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3}[dtype]
            found, expected = fused_segment._reduce(x, ptr, mean), (segment_mean if mean else segment_sum)(x, ptr)
            torch.testing.assert_close(found, expected, atol=tolerance * 5, rtol=tolerance, msg=f"{name} {shape}")
    ptr = RAGGED["short and empty"]
    x = torch.randn(3, 12, 2, generator=generator).permute(2, 1, 0)
    torch.testing.assert_close(fused_segment._reduce(x, ptr, False), segment_sum(x, ptr))
    torch.testing.assert_close(fused_segment._reduce(x[..., ::2], ptr.int(), False), segment_sum(x[..., ::2], ptr))
    row = torch.randn(1, 5, generator=generator).expand(12, 5)
    torch.testing.assert_close(fused_segment._reduce(row, ptr, False), segment_sum(row, ptr))


def gradients() -> None:
    """First and second derivatives are those of a linear map and its transpose."""
    for ptr in (RAGGED["short and empty"], RAGGED["long ones back to back, off the grid"]):
        x = torch.randn(int(ptr[-1]), 2, dtype=torch.float64, requires_grad=True)
        for mean, op in ((False, segment_sum), (True, segment_mean)):
            weight = torch.randn(len(ptr) - 1, 2, dtype=torch.float64)
            (found,) = torch.autograd.grad((fused_segment._reduce(x, ptr, mean) * weight).sum(), x)
            (expected,) = torch.autograd.grad((op(x, ptr) * weight).sum(), x)
            torch.testing.assert_close(found, expected, atol=0, rtol=1e-15)
    few = torch.randn(3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: fused_segment._reduce(x, bounds(1, 0, 2), True), (few,))
    assert torch.autograd.gradgradcheck(lambda x: fused_segment._reduce(x, bounds(1, 0, 2), True), (few,))


def rules() -> None:
    """NaN stays in its segment; bounds beyond the rows are cut; what runs before a kernel is first used finds nothing."""
    x = torch.tensor([[3.0], [torch.nan], [1.0], [4.0]])
    assert fused_segment._reduce(x, torch.tensor([0, 3, 4]), False).isnan().tolist() == [[True], [False]]
    assert fused_segment._reduce(x[2:], torch.tensor([-4, 1, 99]), False).tolist() == [[1.0], [4.0]]
    assert fused_segment.disagreement(torch.device("cpu")) == ""
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.geoembed.segment_reduce, (torch.randn(4, 1, requires_grad=True), bounds(1, 3), True), test_utils=tests)
    torch.library.opcheck(torch.ops.geoembed.segment_rows, (torch.randn(2, 1, requires_grad=True), bounds(1, 3), 4, False), test_utils=tests)


def graph(nodes: int, edges: int, width: int, depth: int, dtype: torch.dtype, *, ordered: bool) -> tuple[torch.Tensor, ...]:
    """Some nodes without edges, repeated edges and loops; edge_index, x, edge_attr, filter, core, biases."""
    generator = torch.Generator().manual_seed(edges + width)
    target = torch.randint(0, max(nodes - 2, 1), (edges,), generator=generator)
    edge_index = torch.stack([torch.randint(0, nodes, (edges,), generator=generator), target.sort().values if ordered else target])
    shapes = ((nodes, width), (edges, depth), (width, 2 * width + depth), (width, 2 * width + depth), (width,), (width,))
    values = [torch.randn(shape, generator=generator) / max(shape[-1], 1) ** 0.25 for shape in shapes]
    return edge_index, *(value.to(dtype).requires_grad_() for value in values)


def compared(nodes: int, edges: int, width: int, depth: int, dtype: torch.dtype, tolerance: float, **flags: bool) -> None:
    """Sums and all gradients against the specification in float64; twice the same bits."""
    ordered, bias, mean, residual, exact = (flags.get(name, True) for name in ("ordered", "bias", "mean", "residual", "exact"))
    edge_index, x, edge_attr, *maps = graph(nodes, edges, width, depth, dtype, ordered=ordered)
    ptr = ptr_from_sorted(edge_index[1], nodes) if ordered else None
    plan, number = fused_cgconv.plan_of(edge_index, nodes, ptr)
    used = [x, *([edge_attr] if depth else []), *maps[: None if bias else 2]]
    wide = [value.detach().double().requires_grad_() for value in used]
    biases = tuple(maps[2:]) if bias else (None, None)
    expected = cgconv(wide[0], edge_index, wide[1] if depth else None, GateWeights(*wide[2 if depth else 1 :]), ptr=ptr, mean=mean, residual=residual)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    right = [expected, *torch.autograd.grad((expected * weight).sum(), wide, allow_unused=True)]
    results = []
    for _ in range(2):
        out, _ = fused_cgconv._forward(x, edge_attr if depth else None, *maps[:2], *biases, edge_index, ptr, *plan, number, mean, residual, exact)
        results.append([out, *torch.autograd.grad((out * weight.to(dtype)).sum(), used)])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
    for place, (found, true) in enumerate(zip(results[0], right, strict=True)):
        error, size = float((found.double() - true).detach().norm()), float(true.detach().norm())
        assert error <= tolerance * size + 1e-30, (place, error / (size + 1e-30), nodes, edges, width, depth, dtype)


def messages() -> None:
    """Widths and depths with and without padding, ragged and empty, sums and means, any order of edges: values and gradients."""
    compared(20, 70, 32, 9, torch.float32, 2e-6)
    compared(9, 30, 48, 41, torch.float32, 2e-6, mean=False)  # two blocks of features, three of channels
    compared(9, 30, 16, 0, torch.float32, 2e-6, mean=False, bias=False)
    compared(9, 30, 16, 16, torch.float32, 2e-6, ordered=False, residual=False)
    compared(9, 30, 16, 17, torch.float32, 2e-3, exact=False, mean=False)
    compared(9, 30, 32, 5, torch.float16, 1e-2, exact=False)
    compared(5, 0, 16, 3, torch.float32, 1e-6)
    compared(1, 4, 16, 3, torch.float32, 2e-6)


def calls() -> None:
    """The public call on a card that runs the kernels: plans are kept while edges stay as they are; a second derivative is torch's."""
    fused_cgconv.serves = lambda x, edge_attr: True
    edge_index, x, edge_attr, *maps = graph(9, 30, 16, 3, torch.float32, ordered=True)
    weights, ptr = GateWeights(*maps), ptr_from_sorted(edge_index[1], 9)
    call = lambda **more: fused_cgconv.fused_cgconv(x, edge_index, edge_attr, weights, **more)  # noqa: E731
    torch.testing.assert_close(call(ptr=ptr), cgconv(x, edge_index, edge_attr, weights), atol=2e-6, rtol=1e-5)
    kept = fused_cgconv.edges_of(edge_index, 9, ptr)
    assert fused_cgconv.edges_of(edge_index, 9, ptr) is kept
    edge_index[0, 0] = 8 - edge_index[0, 0]
    assert fused_cgconv.edges_of(edge_index, 9, ptr) is not kept
    assert fused_cgconv.edges_of(edge_index, 9, ptr.clone()) is not kept
    torch.testing.assert_close(call(), cgconv(x, edge_index, edge_attr, weights), atol=2e-6, rtol=1e-5)
    for edges, said in ((torch.tensor([[0], [9]]), "target: found nodes 9"), (torch.tensor([[-1], [0]]), "source: found nodes -1")):
        with pytest.raises(ValueRangeError, match=said):
            fused_cgconv.fused_cgconv(x, edges, edge_attr[:1], weights)
    slope = []
    for function in (fused_cgconv.fused_cgconv, cgconv):
        (force,) = torch.autograd.grad(function(x, edge_index, edge_attr, weights).square().sum(), edge_attr, create_graph=True)
        slope.append(torch.autograd.grad(force.square().sum(), [x, maps[0]]))
    for found, expected in zip(*slope, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    inputs = (x, edge_attr, *maps, edge_index, None, *kept.plan, None, True, True, True)
    torch.library.opcheck(torch.ops.geoembed.cgconv, inputs, test_utils=tests)
    assert fused_cgconv.disagreement(torch.device("cpu")) == ""


if __name__ == "__main__":
    fused_segment.PIECE, fused_segment._FAN = 8, 4  # long segments and a search of several steps, in few rows
    cgconv_launch.TARGETS = 16
    {"sums": sums, "gradients": gradients, "rules": rules, "messages": messages, "calls": calls}[sys.argv[1]]()
