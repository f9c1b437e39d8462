"""How near to the copy rate are sums of segments, with the same bits every time and float32 inside?

1,048,576 rows of 256 columns in 87,381 segments: 12 rows each; ragged with one empty in 50; sizes by a power law, up to
7,799 rows. Rivals: ``index_add_``, ``scatter_add_``, ``torch.segment_reduce``, torch-scatter where it is installed, ``index_add_``
compiled. ``of_roof`` is the share of the copy rate of this run. Run: ``python -m benchmarks.segment [--only PART …] [--cpu]``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from geoembed.ops import segment_sum
from torch import Tensor

from benchmarks.contest import Candidate, Case, Goal, contest
from benchmarks.gate import DTYPE
from benchmarks.script import Part, Run, compiled, run_parts

ROWS, COLUMNS, MEAN = 1 << 20, 256, 12
BF16_IN_FLOAT = 2.5e-3
"""Error of bfloat16 that is summed in float32 and rounded once; sums in bfloat16 are at 4e-3."""
SHARE = {"fixed": 0.97, "ragged": 0.97, "power": 0.85}


def sizes_of(kind: str, rows: int) -> Tensor:
    """Rows of each segment, about :data:`MEAN` in the mean: all equal, ragged with empty ones, or by a power law."""
    count = rows // MEAN
    if kind == "fixed":
        return torch.full((count,), MEAN)
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    weight = uniform**3 if kind == "ragged" else uniform.clamp(min=1e-6) ** (-1 / 1.3)
    weight[::50] = 0
    ends = (weight.cumsum(0) / weight.sum() * rows).round().long()
    return ends.diff(prepend=ends.new_zeros(1))


def rivals_of(run: Run, x: Tensor, sizes: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Other ways to the same sums."""
    count, width = len(sizes), x.shape[1]
    index = torch.repeat_interleave(sizes)
    wide = index.unsqueeze(-1).expand_as(x)

    def added() -> Tensor:
        return x.new_zeros(count, width).index_add_(0, index, x)

    ways: dict[str, Callable[[], Tensor]] = {
        "index_add_": added,
        "scatter_add_": lambda: x.new_zeros(count, width).scatter_add_(0, wide, x),
        "torch.segment_reduce": lambda: torch.segment_reduce(x, "sum", lengths=sizes, unsafe=True),
    }
    ways |= {f"index_add_, {name}": way for name, way in compiled(run, added, tuned=False).items()}
    if find_spec("torch_scatter"):
        from torch_scatter import segment_csr

        ptr = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
        ways["torch-scatter segment_csr"] = lambda: segment_csr(x, ptr, reduce="sum")
    return ways


def candidate(name: str, way: Callable[[], Tensor]) -> Candidate:
    """A way to sum, bare and replayed."""
    call = torch.no_grad()(way)
    return Candidate(name, call, call, call)


def rows_of(run: Run, kind: str) -> list[dict[str, object]]:
    """Rows of one distribution of sizes, in both precisions."""
    rows, columns = (4096, 32) if run.small else (ROWS, COLUMNS)
    sizes = sizes_of(kind, rows).to(run.device)
    ptr = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
    segment = torch.repeat_interleave(sizes)
    table = []
    for precision in ("fp32", "bf16"):
        x = torch.randn(len(segment), columns, device=run.device, dtype=DTYPE[precision])
        reference = torch.zeros(len(sizes), columns, device=run.device, dtype=torch.float64).index_add_(0, segment, x.double())
        size = float(x.nbytes + len(sizes) * columns * x.element_size())
        goal = Goal(f"≥ {SHARE[kind]:.0%} of the copy rate, same bits, float32 inside", least_of_roof=SHARE[kind], bitwise=True,
                    most_error=BF16_IN_FLOAT)
        shape = {"rows": len(x), "columns": columns, "segments": len(sizes), "largest": int(sizes.max()), "sizes": kind}
        question = f"segment sum, {len(x):,} × {columns}, {kind} sizes"
        case = Case(question, kind, precision, shape, float(x.numel()), size, int(size), "bytes", goal)
        ours = candidate("ours", partial(segment_sum, x, ptr))
        rivals = [candidate(name, way) for name, way in rivals_of(run, x, sizes).items()]
        table += contest(case, ours, rivals, reference, run.roofs, device=run.device, **run.few)
    return table


def fixed(run: Run) -> list[dict[str, object]]:
    """12 rows a segment."""
    return rows_of(run, "fixed")


def ragged(run: Run) -> list[dict[str, object]]:
    """Uneven segments, one in 50 empty."""
    return rows_of(run, "ragged")


def power(run: Run) -> list[dict[str, object]]:
    """Sizes by a power law."""
    return rows_of(run, "power")


PARTS: dict[str, Part] = {"fixed": fixed, "ragged": ragged, "power": power}


if __name__ == "__main__":
    run_parts("segment", __doc__, PARTS)
