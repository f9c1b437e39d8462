"""Run by ``test_fused_segment`` with Triton's interpreter: the kernels of sums over segments against torch; prints what differs."""

from __future__ import annotations

import sys

import torch
from geoembed.ops import fused_segment, segment_mean, segment_sum


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


if __name__ == "__main__":
    fused_segment.PIECE, fused_segment._FAN = 8, 4  # long segments and a search of several steps, in few rows
    {"sums": sums, "gradients": gradients, "rules": rules}[sys.argv[1]]()
