"""No time without its error: outputs are compared with float64 before they are timed, in memory that was NaN before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

TOLERANCE = {"fp32": 1e-6, "tf32x3": 2e-6, "tf32": 1e-3, "bf16": 1e-2}
"""Largest relative norm of the error; ``tf32x3`` is float32 by three tf32 products."""

DTYPE = {"fp32": torch.float32, "tf32x3": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

GRADIENT = 5.0
"""Gradients may be this many times further off: rounding moves numbers across the kink of a ReLU, and their gradient jumps."""


@contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """Run the enclosed code with float32 products in tf32 (``tf32``) or in full (the others); yields the dtype of tensors."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield DTYPE[name]
    finally:
        torch.set_float32_matmul_precision(before)


def relative_error(out: Tensor, reference: Tensor) -> float:
    """|out − reference| / |reference| as norms over all entries, in float64; infinity where an entry is not finite.

    >>> relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0], dtype=torch.float64))
    0.1
    """
    wide = out.detach().double()
    if wide.shape != reference.shape or not bool(torch.isfinite(wide).all()):
        return float("inf")
    return float((wide - reference).norm() / reference.norm())


def gate(
    out: Tensor, reference: Tensor, name: str, *, what: str = "the output", gradient: bool = False, slack: float = 1.0
) -> float:
    """The relative error of ``out`` against a float64 reference; ``SystemExit`` with the error where it is beyond the precision.

    Args:
        name: a key of :data:`TOLERANCE`.
        what: named in the message.
        gradient: allow :data:`GRADIENT` times as much.
        slack: allow so many times as much besides, with a reason beside the call.
    """
    if reference.dtype != torch.float64:
        raise SystemExit(f"the reference of {what} is {reference.dtype}, not float64")
    error, most = relative_error(out, reference), TOLERANCE[name] * slack * (GRADIENT if gradient else 1.0)
    if not error <= most:
        raise SystemExit(f"{what} in {name} differs from float64 by {error:.2g}, more than {most:.0e}")
    return error


def poison(device: str, megabytes: int = 2048) -> None:
    """Fill memory that the next outputs will lie in with NaN: what a kernel does not write shows. Nothing to do on a CPU."""
    if device != "cuda":
        return
    torch.cuda.empty_cache()
    blocks = [torch.full((size,), float("nan"), device=device) for size in (megabytes * 250_000, *[100_000] * 100)]  # large and small pool
    del blocks  # the allocator hands them out again as they are


def bitwise(outcome: Callable[[], Tensor], repeats: int) -> bool:
    """Whether the outcome of a call has the same bits every time."""
    first = outcome().clone()
    return all(torch.equal(first, outcome()) for _ in range(repeats - 1))
