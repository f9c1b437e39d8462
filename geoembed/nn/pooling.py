"""Pooling of nodes to graphs: the one place in ``nn`` that knows flat and stacked batches apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoembed.nn.mlp import mlp
from geoembed.ops import segment_softmax, segment_sum


def weighted_mean(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    """Σ w x / Σ w a graph: x [N_total, H] or stacked [B, N, H], weight [...] alike (0 = left out) -> [B, H]; nothing = 0.

    >>> weighted_mean(torch.tensor([[2.], [4.], [9.]]), torch.tensor([0, 2, 2, 3]), torch.tensor([1., 3., 1.])).tolist()
    [[3.5], [0.0], [9.0]]
    """
    share = weight.to(x.dtype).expand(x.shape[:-1]).reshape(-1, 1)
    flat = x.reshape(-1, x.shape[-1])
    total = segment_sum(share, ptr)
    return segment_sum(flat.where(share > 0, 0.0) * share, ptr) / total.where(total > 0, 1.0)


class AttentionPooling(nn.Module):
    """Each head weighs the nodes of a graph by a learned score and averages its share of the channels: [N, H] -> [B, H]."""

    def __init__(self, hidden_dim: int, heads: int) -> None:
        super().__init__()
        self.score = mlp(hidden_dim, hidden_dim, heads, activation=nn.Tanh)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.heads = heads

    def forward(self, x: Tensor, ptr: Tensor, mask: Tensor | None = None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        logits = self.score(flat)  # [N, heads]
        if mask is not None:
            logits = logits.masked_fill(~mask.reshape(-1, 1), -torch.inf)
        weights = segment_softmax(logits, ptr)
        value = self.value(flat).unflatten(-1, (self.heads, -1))
        return segment_sum((value * weights.unsqueeze(-1)).flatten(-2), ptr)
