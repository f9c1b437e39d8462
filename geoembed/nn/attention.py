"""Attention inside ragged sets with a bias for each pair (after Qu, Li & Qian 2022, Particle Transformer)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from geoembed.nn.mlp import mlp

PairBias = Callable[[slice], Tensor]
"""Rows of queries -> additive bias [B, heads, q, n]."""


class BiasedAttentionBlock(nn.Module):
    """Pre-norm transformer block on padded sets: x [B, n, H], exists [B, n] -> [B, n, H].

    ``bias`` is asked for blocks of ``block`` query rows, so that a set of thousands never holds its whole pair matrix.
    """

    def __init__(self, hidden_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.mlp_norm = nn.LayerNorm(hidden_dim)
        self.mlp = mlp(hidden_dim, 4 * hidden_dim, hidden_dim, activation=nn.GELU)

    def forward(self, x: Tensor, exists: Tensor, bias: PairBias, block: int) -> Tensor:
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, heads, n, H/heads]
        hidden_keys = ~exists[:, None, None, :]
        blocks = []
        for low in (0,) if block >= x.shape[1] else range(0, x.shape[1], block):  # one block of rows in all but the largest sets
            rows = slice(low, low + block)
            pair = bias(rows).to(q.dtype).masked_fill(hidden_keys, -torch.inf)
            blocks.append(scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=pair))
        attended = torch.cat(blocks, dim=2).transpose(1, 2).flatten(2)  # [B, n, H]
        x = x + self.out(attended)
        update: Tensor = self.mlp(self.mlp_norm(x))
        return x + update
