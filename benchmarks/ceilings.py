"""What this card can do at best, measured beside what is compared with it: bytes copied, matrix products in three precisions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial

import torch

from benchmarks.gate import DTYPE, precision
from benchmarks.record import card_query
from benchmarks.timing import Call, in_turns

COPY_GB, SIDE = 1.0, 8192
UNDER_LOAD = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")


def ceilings(device: str = "cuda", quick: bool = False) -> dict[str, float | dict[str, str]]:
    """``copy`` [byte/s, read + written], ``bf16``, ``tf32``, ``fp32`` [FLOP/s], and the clocks seen while it multiplied.

    ``quick`` takes small problems, for a CPU or a test.
    """
    count, side, rounds = (1 << 20, 256, 3) if quick else (int(COPY_GB * 1e9) // 4, SIDE, 10)
    source = torch.rand(count, device=device)
    target = torch.empty_like(source)
    found: dict[str, float | dict[str, str]] = {}
    found["copy"] = 2 * source.nbytes / _seconds(lambda: target.copy_(source), rounds, device)
    for name in ("bf16", "tf32", "fp32"):
        with precision(name):
            a, b = (torch.randn(side, side, device=device, dtype=DTYPE[name]) for _ in range(2))
            found[name] = 2 * side**3 / _seconds(partial(torch.matmul, a, b), rounds, device)
    if device == "cuda":
        a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(600):  # about a second of work that is under way while the clocks are read
            a @ b
        found["under_load"] = card_query(UNDER_LOAD)
        torch.cuda.synchronize()
    return found


def floor_ms(flop: float, size: float, found: Mapping[str, object], name: str) -> float:
    """Milliseconds that ``flop`` operations in precision ``name`` or ``size`` bytes take at least at the measured ceilings.

    Three tf32 products count as three.
    """
    rate, times = ("tf32", 3.0) if name == "tf32x3" else (name, 1.0)
    return 1e3 * max(times * flop / float(str(found[rate])), size / float(str(found["copy"])))


def _seconds(call: Call, rounds: int, device: str) -> float:
    return max(statistics.median(in_turns({"": call}, rounds, device)[""]) / 1e3, 1e-9)
