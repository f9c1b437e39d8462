"""Gated graph convolution of crystals (after Xie & Grossman 2018, eq. 5), used on chains too."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from geoembed.ops import gated_sum


class CrystalGraphConv(nn.Module):
    """x_t + MLP[x_t, Σ_s x_s · sigmoid(MLP[x_s, x_t, e_st])]: x [..., N, H], edge_index [2, E], edge_attr [E, G] -> [..., N, H].

    Row 0 of ``edge_index`` is the source. Edges may come in any order; ``ptr`` [N+1], the bounds of each target's edges where
    they are sorted, spares the scatter and makes the sum deterministic on a GPU.
    """

    def __init__(self, hidden_dim: int, edge_dim: int) -> None:
        super().__init__()
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * hidden_dim + edge_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim), nn.Sigmoid()
        )
        self.node_mlp = nn.Sequential(nn.Linear(2 * hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, ptr: Tensor | None = None) -> Tensor:
        first, second = cast(nn.Linear, self.edge_mlp[0]), cast(nn.Linear, self.edge_mlp[2])
        received = gated_sum(x, edge_index, edge_attr, (first.weight, first.bias), (second.weight, second.bias), ptr)
        update: Tensor = self.node_mlp(torch.cat([x, received], dim=-1))
        return x + update
