"""torch-scatter's CSR reductions as a back end, bent to the specification where the two differ.

Differences that are bent: accumulation in half precision (done in float32), NaN and −inf in a maximum (torch-scatter skips
them) and ties (the first row gets the gradient).
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from geoembed.ops import backends
from geoembed.ops.segment import segment_ids


def _sum(x: Tensor, ptr: Tensor) -> Tensor:
    from torch_scatter import segment_csr

    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    total: Tensor = segment_csr(wide, ptr.expand(*x.shape[:-2], -1), reduce="sum")
    return total.to(x.dtype)


def _max(x: Tensor, ptr: Tensor) -> Tensor:
    from torch_scatter import segment_max_csr

    rows = x.shape[-2]
    if rows == 0:
        return x.new_zeros(*x.shape[:-2], ptr.shape[0] - 1, x.shape[-1])
    top, _ = segment_max_csr(x.detach(), ptr.expand(*x.shape[:-2], -1))
    top = top.where(top > torch.finfo(x.dtype).min, -torch.inf)  # it starts from the lowest finite number, above −inf
    ids = segment_ids(ptr, rows)
    index = ids.unsqueeze(-1).expand_as(x)
    place = torch.arange(rows, device=x.device).unsqueeze(-1).expand_as(x)
    # The first of the equal rows is the smallest place; a NaN goes before all of them.
    row = torch.where(x.isnan(), place - rows, place.where(x >= top.index_select(-2, ids), rows))
    first = torch.full(top.shape, rows, dtype=torch.int64, device=x.device).scatter_reduce(-2, index, row, "amin")
    first = first.where(first >= 0, first + rows)
    return x.gather(-2, first.clamp(max=rows - 1)).where(first < rows, 0.0)


if find_spec("torch_scatter") is not None:
    backends.register("torch_scatter", "segment_sum", _sum)
    backends.register("torch_scatter", "segment_max", _max)
