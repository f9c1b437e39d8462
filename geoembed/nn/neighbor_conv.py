"""Convolution over a neighbor table whose filter is a function of the edge's geometry: patch grids of any shape and holes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoembed.nn.mlp import mlp
from geoembed.ops import gather_neighbors


class NeighborConv(nn.Module):
    """x_i + MLP(norm[x_i, mean_j f(e_ij) · W x_j]): x [..., N, H], table [N, K], geometry [N, K, G] -> [..., N, H].

    f is a small network of the geometry, so that one layer serves borders and dropped patches, and a geometry of distance alone
    makes it isotropic. Neighbors that the table (−1) or ``mask`` [..., N] leaves out count neither in sum nor in mean.
    """

    def __init__(self, hidden_dim: int, geometry_dim: int) -> None:
        super().__init__()
        self.filter = mlp(geometry_dim, hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.norm = nn.LayerNorm(2 * hidden_dim)
        self.update = mlp(2 * hidden_dim, hidden_dim, hidden_dim)

    def forward(self, x: Tensor, table: Tensor, geometry: Tensor, mask: Tensor) -> Tensor:
        neighbors, exists = gather_neighbors(self.value(x), table)  # [..., N, K, H], [N, K, 1]
        seen = mask.index_select(-1, table.clamp(min=0).flatten()).reshape(*mask.shape[:-1], *table.shape, 1)
        present = exists & seen
        weighted = (neighbors * self.filter(geometry)).where(present, 0.0)
        mean = weighted.sum(-2) / present.sum(-2).clamp(min=1)
        update: Tensor = self.update(self.norm(torch.cat([x, mean], dim=-1)))
        return x + update
