"""Softmax inside segments, safe for half precision and for segments that are masked as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from geoembed.ops.segment import segment_ids, segment_sum


def segment_softmax(logits: Tensor, ptr: Tensor) -> Tensor:
    """Weights that sum to 1 over the rows of each segment: logits [..., N, F], ptr [S+1] -> [..., N, F].

    A row of −inf gets weight 0; a segment of −inf only gets zeros, with gradient 0. Half precision is computed in float32.

    >>> segment_softmax(torch.tensor([[0.], [0.], [7.]]), torch.tensor([0, 2, 3])).tolist()
    [[0.5], [0.5], [1.0]]
    """
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    ids = segment_ids(ptr, logits.shape[-2])
    fixed = wide.detach()
    top = fixed.new_full((*fixed.shape[:-2], ptr.shape[0] - 1, fixed.shape[-1]), -torch.inf)
    top = top.scatter_reduce(-2, ids.unsqueeze(-1).expand_as(fixed), fixed, "amax")
    top = top.where(torch.isfinite(top), 0.0)
    weights = (wide - top.index_select(-2, ids)).exp()
    total = segment_sum(weights, ptr)
    total = total.where(total > 0, 1.0)  # a segment of −inf only: 0 / 1, not 0 / 0
    return (weights / total.index_select(-2, ids)).to(logits.dtype)
